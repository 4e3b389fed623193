import asyncio
import contextlib
import shutil
import sqlite3
import stat
from pathlib import Path

import msgspec
import pytest

from swarm.ledger.errors import DamagedLedger, LedgerError, NotEntitled
from swarm.ledger.ledger import VIEWS, Ledger
from swarm.ledger.operation import MAX_PAYLOAD_BYTES, Operation, decode_payload, encode_payload
from swarm.ledger.snapshot import restored
from tests.swarm.ledger.nodes import Key, Swarm, meet


class Counter:
    """A view of another kind than entries."""

    name, version = "jobs", 1

    def __init__(self) -> None:
        self.number = self.applied = 0

    def apply(self, operation: Operation) -> None:
        self.applied += 1
        self.number += decode_payload(operation.payload, int) or 0

    def snapshot(self) -> bytes:
        return encode_payload(self.number)

    def restore(self, snapshot: bytes) -> None:
        self.number = msgspec.msgpack.decode(snapshot, type=int)


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        swarm = Swarm(tmp_path)
        async with swarm:
            ledger = await swarm.found()
            await ledger.put("settings", "volume", {"kitchen": 40})
            await ledger.put("timers", "t1", {"ends": 12.5}, lane="private")
            await ledger.put("jobs", "j1", 1)
            await ledger.put("jobs", "j1", 2)
            await ledger.remove("timers", "t1")
            await ledger.remove("timers", "never was")
        async with Swarm(tmp_path) as again:
            again.id = swarm.id
            ledger = await again.open(swarm.founder)
            assert ledger.settings.get("volume") == {"kitchen": 40}
            assert len(ledger.timers) == 0
            assert (ledger.jobs.get("j1"), len(ledger.jobs.writes("j1"))) == (2, 1)
            assert ledger.roster.members[ledger.node].may_enrol
            before = await ledger.verify()
            await ledger.put("jobs", "j2", 1)
            assert await ledger.verify() == before + 1
        assert stat.S_IMODE((tmp_path / f"{swarm.founder.node_id}.db").stat().st_mode) == 0o600

    asyncio.run(main())


def test_many_writers_are_written_together_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with Swarm(tmp_path) as swarm:
            ledger = await swarm.found()
            ids = await asyncio.gather(*(ledger.append("jobs.put", {"key": f"{n}", "value": n}) for n in range(2000)))
            assert [each.sequence for each in ids] == list(range(1, 2001))
            assert len(ledger.jobs) == 2000
            signed = await ledger.read(lambda storage: storage._sql.execute("SELECT count(*) FROM signed").fetchone())
            assert signed[0] < 200
            assert await ledger.verify() == 2001

    asyncio.run(main())


def test_changes_are_told_when_the_views_have_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with Swarm(tmp_path) as swarm:
            ledger = await swarm.found()
            told: list[tuple[frozenset[str], object]] = []
            end = ledger.subscribe(lambda names: told.append((names, ledger.settings.get("x"))))
            await ledger.put("settings", "x", 1)
            await ledger.enrol(Key().node_id, name="n")
            end()
            await ledger.put("settings", "x", 2)
            assert told == [(frozenset({"settings"}), 1), (frozenset({"roster"}), 1)]

    asyncio.run(main())


def test_what_may_not_be_written_is_refused_and_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with Swarm(tmp_path) as swarm:
            stranger = await swarm.open()
            with pytest.raises(NotEntitled, match="not in the roster"):
                await stranger.append("jobs.put", 1)
            with pytest.raises(NotEntitled, match="does not found"):
                await stranger.found(swarm.founding.pem, name="me")
            ledger = await swarm.found()
            with pytest.raises(LedgerError, match="founded already"):
                await ledger.found(swarm.founding.pem, name="again")
            with pytest.raises(LedgerError, match="bytes"):
                await ledger.append("jobs.put", b"x" * (MAX_PAYLOAD_BYTES + 1))
            with pytest.raises(LedgerError, match="is none"):
                await ledger.append("Jobs put", 1)
            with pytest.raises(LedgerError, match="does not belong"):
                await ledger.append("roster.enrol", 1)
            with pytest.raises(TypeError):
                await ledger.append("jobs.put", object())
            with pytest.raises(LedgerError, match="no node id"):
                await ledger.enrol("me", name="")
            with pytest.raises(LedgerError, match="not in the roster"):
                await ledger.revoke(Key().node_id)
            edge = Key()
            worker = await swarm.join(ledger, edge, roles=("edge",))
            with pytest.raises(NotEntitled, match="only hubs"):
                await ledger.grant(edge.node_id, edge.authority(swarm.id).certificate.pem)
            for refused in (worker.enrol(Key().node_id, name=""), worker.revoke(ledger.node)):
                with pytest.raises(NotEntitled, match="may not change the roster"):
                    await refused
            await ledger.revoke(edge.node_id)
            with pytest.raises(NotEntitled, match="final"):
                await ledger.enrol(edge.node_id, name="")
            assert await ledger.verify() == 3

    asyncio.run(main())


def test_who_left_or_was_revoked_writes_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with Swarm(tmp_path) as swarm:
            first = await swarm.found()
            leaver = await swarm.join(first)
            await leaver.put("jobs", "mine", 1)
            await leaver.leave()
            assert leaver.jobs.get("mine") == 1
            with pytest.raises(NotEntitled, match="has left"):
                await leaver.put("jobs", "late", 1)
            await meet(leaver, first) if leaver.roster.serves(first.node) else None
            assert leaver.node not in first.roster.members
            assert first.jobs.get("mine") == 1

    asyncio.run(main())


def test_views_start_from_a_snapshot_and_are_equal_without_it(tmp_path: Path) -> None:
    async def main() -> None:
        swarm = Swarm(tmp_path)
        path = tmp_path / "n.db"

        async def number(*, further: int = 0) -> tuple[int, int]:
            async with Ledger(path, swarm.founder, swarm.id, views=(Counter,)) as ledger:
                if not ledger.roster.founders:
                    await ledger.found(swarm.founding.pem, name="first")
                counter = ledger.view("jobs")
                assert isinstance(counter, Counter)
                at_start = counter.applied
                for _ in range(further):
                    await ledger.append("jobs.add", 2)
                return counter.number, at_start

        assert await number(further=5) == (10, 0)
        assert await number() == (10, 0)
        assert await number(further=1) == (12, 0)
        with contextlib.closing(sqlite3.connect(path)) as sql, sql:
            sql.execute("UPDATE snapshots SET content = x'c1' WHERE view = 'jobs'")
        assert await number() == (12, 6)

    asyncio.run(main())


def damage(path: Path, what: str) -> None:
    if what == "emptied":
        path.write_bytes(b"")
    elif what == "overwritten":
        data = bytearray(path.read_bytes())
        data[4096 : len(data) - 4096] = b"\xaa" * (len(data) - 8192)
        path.write_bytes(data)
    elif what == "no database":
        path.write_bytes(b"hello" * 1000)
    elif what == "cut short":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        with contextlib.closing(sqlite3.connect(path)) as sql, sql:
            sql.execute(what)


def test_a_snapshot_that_has_more_of_a_log_than_counts_is_not_used(tmp_path: Path) -> None:
    async def main() -> None:
        swarm = Swarm(tmp_path)
        async with swarm:
            ledger = await swarm.found()
            for each in range(4):
                await ledger.put("jobs", f"{each}", each)
            log = ledger.jobs.writes("0")[0].tag.log
        async with Ledger(ledger.path, swarm.founder, swarm.id) as again:
            whole, _ = await again.read(lambda storage: restored(storage, VIEWS, {log: 4}))
            none, _ = await again.read(lambda storage: restored(storage, VIEWS, {log: 3}))
            assert (whole, none) == ({log: 4}, {})

    asyncio.run(main())


@pytest.mark.parametrize(
    "what",
    [
        "emptied",
        "overwritten",
        "no database",
        "cut short",
        "DELETE FROM operations WHERE sequence = 30",
        "UPDATE operations SET body = CAST(body || x'00' AS BLOB) WHERE sequence = 30",
        "UPDATE logs SET position = 29 WHERE lane = 'home'",
        "DELETE FROM signed WHERE position = 30",
        "UPDATE signed SET signature = zeroblob(64) WHERE position = 30",
    ],
)
def test_a_damaged_file_is_an_error_and_never_a_shorter_ledger(tmp_path: Path, what: str) -> None:
    async def main() -> None:
        swarm = Swarm(tmp_path)
        async with swarm:
            ledger = await swarm.found()
            for each in range(30):
                await ledger.put("jobs", f"{each}", "x" * 500)
        damage(ledger.path, what)
        again = Ledger(ledger.path, swarm.founder, swarm.id)
        with pytest.raises(DamagedLedger, match=r"damaged.*") as caught:
            await again.open()
        assert "move the file away" in caught.value.hint

    asyncio.run(main())


def test_a_changed_operation_in_the_middle_is_found_by_verify(tmp_path: Path) -> None:
    async def main() -> None:
        swarm = Swarm(tmp_path)
        async with swarm:
            ledger = await swarm.found()
            for each in range(5):
                await ledger.put("settings", "x", each)
        with contextlib.closing(sqlite3.connect(ledger.path)) as sql, sql:
            (body,) = sql.execute("SELECT body FROM operations WHERE sequence = 3").fetchone()
            sql.execute("UPDATE operations SET body = ? WHERE sequence = 3", (body.replace(b"\x02", b"\x03"),))
        async with Ledger(ledger.path, swarm.founder, swarm.id) as again:
            with pytest.raises(DamagedLedger, match="not what was signed"):
                await again.verify()

    asyncio.run(main())


def test_the_ledger_of_another_swarm_is_not_opened(tmp_path: Path) -> None:
    async def main() -> None:
        swarm = Swarm(tmp_path)
        async with swarm:
            ledger = await swarm.found()
        with pytest.raises(LedgerError, match="of the swarm"):
            await Ledger(ledger.path, swarm.founder, Key().node_id).open()

    asyncio.run(main())


def test_a_copy_of_the_file_writes_new_logs(tmp_path: Path) -> None:
    async def main() -> None:
        swarm = Swarm(tmp_path)
        async with swarm:
            ledger = await swarm.found()
            one = await ledger.append("jobs.put", {"key": "x", "value": 1})
        shutil.copy(ledger.path, tmp_path / "copy.db")
        async with Ledger(tmp_path / "copy.db", swarm.founder, swarm.id) as copy:
            other = await copy.append("jobs.put", {"key": "y", "value": 1})
            assert other.log.epoch != one.log.epoch
        async with Ledger(ledger.path, swarm.founder, swarm.id) as again:
            assert (await again.append("jobs.put", {"key": "y", "value": 1})).log == one.log

    asyncio.run(main())


def test_an_append_that_cannot_be_written_fails_and_the_next_one_works(tmp_path: Path) -> None:
    async def main() -> None:
        async with Swarm(tmp_path) as swarm:
            ledger = await swarm.found()
            await ledger.put("jobs", "a", 1)
            blocker = sqlite3.connect(ledger.path, isolation_level=None)
            pages = blocker.execute("PRAGMA page_count").fetchone()[0]
            blocker.close()
            writing = ledger._writing
            assert writing is not None
            writing._journal.storage._sql.execute(f"PRAGMA max_page_count = {pages}")
            with pytest.raises(LedgerError, match=r"cannot write.*full"):
                for each in range(50):
                    await ledger.append("jobs.put", {"key": f"big{each}", "value": "x" * 16000})
            writing._journal.storage._sql.execute("PRAGMA max_page_count = 1000000")
            await ledger.put("jobs", "b", 2)
            assert (ledger.jobs.get("a"), ledger.jobs.get("b")) == (1, 2)
            await ledger.verify()

    asyncio.run(main())


def test_a_closed_ledger_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        swarm = Swarm(tmp_path)
        async with swarm:
            ledger = await swarm.found()
        with pytest.raises(LedgerError, match="not open"):
            await ledger.put("jobs", "a", 1)

    asyncio.run(main())
