"""Disks that were copied or set back."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from swarm.ledger.errors import SyncError
from swarm.peer_session import PeerRefused
from tests.swarm.ledger.nodes import Key, Swarm, meet, meet_all, with_swarm


def test_a_copied_disk_is_found_frozen_and_both_operations_are_kept(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        other, twin = await swarm.join(first), Key()
        original = await swarm.join(first, twin)
        for each in range(30):
            await original.put("jobs", f"common{each}", 1)
        await original.close()
        copied = tmp_path / "copied.db"
        shutil.copy(original.path, copied)
        with contextlib.closing(sqlite3.connect(copied)) as sql, sql:  # as on a copied disk, not a copied file
            sql.execute("UPDATE own SET inode = ?", (copied.stat().st_ino,))
        original, copy = await swarm.open(twin), await swarm.open(twin, name="copied")
        for each in range(40):
            await original.put("jobs", f"original{each}", 1)
            await copy.put("jobs", f"copy{each}", 1)
        await meet(original, first)
        await meet(copy, other)
        assert (await meet(first, other)).forks
        await meet_all(first, other)
        for each_ in (first, other):
            assert each_.roster.members[twin.node_id].frozen
            assert sorted(key for key, _ in each_.jobs.items()) == sorted(f"common{each}" for each in range(30))
        (log,) = first.roster.forks
        assert (log.origin, first.roster.forks[log]) == (twin.node_id, 31)
        with pytest.raises(PeerRefused, match="not in the roster"):
            await meet(first, copy)
        with pytest.raises(SyncError, match="not believed"):
            await meet(copy, first)
        assert (await meet(first, other)).operations == (await meet(other, first)).operations == 0
        new = await swarm.join(first)
        assert new.roster == first.roster
        assert len(new.jobs) == 30

    with_swarm(tmp_path, test)


def test_a_disk_that_was_set_back_gets_its_own_back_and_writes_new_logs(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        key = Key()
        node = await swarm.join(first, key)
        await node.put("jobs", "old", 1)
        await node.close()
        saved = node.path.read_bytes()
        node = await swarm.open(key)
        await node.put("jobs", "lost", 1)
        await meet(node, first)
        await node.close()
        node.path.write_bytes(saved)  # the same inode
        node = await swarm.open(key)
        assert "lost" not in node.jobs
        await meet(first, node)
        assert node.jobs.get("lost") == 1
        await node.put("jobs", "new", 1)
        assert node.jobs.writes("new")[0].tag.log != node.jobs.writes("lost")[0].tag.log
        await meet(node, first)
        assert {key for key, _ in first.jobs.items()} == {"old", "lost", "new"}
        assert not first.roster.forks

    with_swarm(tmp_path, test)
