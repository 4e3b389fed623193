"""What a newer version left behind, when the one before starts again after an update that was no good.

A newer version is made here of this one: with a table, a column, a key, a field, a kind of operation more. The rule is
in CONTRIBUTING.md, "Going back".
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from swarm import __version__, store
from swarm.capability import Speed
from swarm.config import parse_config
from swarm.errors import ConfigError, StorageError
from swarm.ledger.entries import Entries, View
from swarm.ledger.journal import Draft
from swarm.ledger.ledger import VIEWS, Ledger
from swarm.ledger.operation import encode_payload
from swarm.measured_speeds import read_speeds, write_speeds
from swarm.messages import Trace
from swarm.newest_version import newest_version, note_version
from swarm.node_state import NodeState, decode_state
from swarm.store import Store
from tests.swarm.ledger.nodes import Key, Swarm, meet

NEWER = "99.0"


# ---- the configuration


def text(folder: Path) -> str:
    return f"""
[node]
state_dir = "{folder}"
name = "attic"
mood = "sunny"

[weather]
source = "window"

[bus]
announce = "telepathy"
port = 1884

[[routing.rule]]
type = "chat"
model = "small"
phase_of_moon = "full"
"""


def test_configuration_of_a_newer_version_is_read_as_far_as_it_is_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note_version(tmp_path, NEWER)
    config = parse_config(text(tmp_path), origin="config.toml")
    assert (config.node.name, config.bus.port, config.bus.announce) == ("attic", 1884, "components")
    assert config.routing.rule[0].model == "small"
    told = [record.getMessage() for record in caplog.records]
    for key in ("node.mood", "weather", "bus.announce", "routing.rule.0.phase_of_moon"):
        assert any(f" {key} is left out" in line and NEWER in line for line in told), told


def test_where_no_newer_version_ran_it_is_a_persons_mistake(tmp_path: Path) -> None:
    note_version(tmp_path, __version__)
    with pytest.raises(ConfigError, match=r"config.toml:5: node.mood: no such key"):
        parse_config(text(tmp_path), origin="config.toml")


def test_what_cannot_be_read_at_all_is_told_whoever_wrote_it(tmp_path: Path) -> None:
    note_version(tmp_path, NEWER)
    with pytest.raises(ConfigError, match="is no wake word"):
        parse_config(f'node.state_dir = "{tmp_path}"\nsatellite.wake_words = ["hey"]', origin="config.toml")


def test_newest_version_is_remembered_when_an_older_one_runs(tmp_path: Path) -> None:
    assert newest_version(tmp_path) == ""
    for version in ("0.9.1", "0.10.0", "0.9.2"):
        note_version(tmp_path, version)
    assert newest_version(tmp_path) == "0.10.0"


# ---- the database


def test_database_with_more_in_it_is_used_and_what_is_more_stays(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    trace = Trace("u1", "2026-01-01T00:00:00", source="text", satellite="")

    async def use(name: str) -> list[Trace]:
        opened = Store(path)
        await opened.open()
        await opened.save_trace(msgspec.structs.replace(trace, utterance_id=name))
        await opened.set_setting("volume", 3)
        await opened.save_timer({"id": "t1", "left": 5, "colour": "red"})
        found = await opened.traces(10)
        assert (await opened.timers())[0]["colour"] == "red"
        await opened.close()
        return found

    asyncio.run(use("u1"))
    with sqlite3.connect(path) as newer:
        (version,) = newer.execute("PRAGMA user_version").fetchone()
        newer.execute("CREATE TABLE moods (id TEXT PRIMARY KEY, body TEXT)")
        newer.execute("INSERT INTO moods VALUES ('attic', 'sunny')")
        newer.execute("ALTER TABLE traces ADD COLUMN mood TEXT NOT NULL DEFAULT ''")
        newer.execute(f"PRAGMA user_version = {version + 1}")
    newer.close()
    assert [each.utterance_id for each in asyncio.run(use("u2"))] == ["u2", "u1"]
    with sqlite3.connect(path) as newer:
        assert newer.execute("PRAGMA user_version").fetchone() == (version + 1,)
        assert newer.execute("SELECT body FROM moods").fetchone() == ("sunny",)
        assert newer.execute("SELECT mood FROM traces").fetchall() == [("",), ("",)]
    newer.close()
    assert not path.with_suffix(".damaged").exists()


def test_schema_changes_only_add() -> None:
    adds = re.compile(
        r"CREATE (TABLE|INDEX) IF NOT EXISTS |ALTER TABLE \w+ ADD COLUMN \w+ \w+( NOT NULL DEFAULT \S+)?$"
    )
    for statements in store._MIGRATIONS:
        for statement in statements:
            assert adds.match(statement), statement


def test_migration_that_loses_power_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "node.db"

    async def use() -> None:
        opened = Store(path)
        await opened.open()
        await opened.set_setting("volume", 3)
        await opened.close()

    asyncio.run(use())
    more = ("ALTER TABLE traces ADD COLUMN mood TEXT", "ALTER TABLE gone ADD COLUMN mood TEXT")
    before = store._MIGRATIONS
    monkeypatch.setattr(store, "_MIGRATIONS", (*before, more))  # the second statement fails as a power cut would
    with pytest.raises(StorageError):
        asyncio.run(use())
    monkeypatch.setattr(store, "_MIGRATIONS", (*before, more[:1]))
    asyncio.run(use())


# ---- the ledger

FUTURE: tuple[Callable[[], View], ...] = (*VIEWS, partial(Entries, "moods"))


def newer(folder: Path, key: Key, swarm: Swarm) -> Ledger:
    return Ledger(folder / f"{key.node_id}.db", key, swarm.id, views=FUTURE, clock=swarm.clock)


def test_operations_of_a_kind_that_is_not_known_are_kept_handed_on_and_understood_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Swarm(tmp_path) as swarm:
            first = await swarm.found()
            writer, older, reader = Key(), Key(), Key()
            for key in (writer, older, reader):
                await first.enrol(key.node_id, name=key.node_id[:4], roles=("worker", "oracle"))
            async with newer(tmp_path, writer, swarm) as one:
                await meet(first, one)
                await one.put("moods", "attic", {"is": "sunny"})
                await one.put("settings", "volume", 3)
                await one.append("settings.tint", {"key": "volume"})  # a new kind of a view that is known
                between = await swarm.open(older)
                await meet(one, between)
            assert between.settings.get("volume") == 3
            assert between.roster.members[older.node_id].roles == ("worker", "oracle")
            async with newer(tmp_path, reader, swarm) as other:
                await meet(between, other)
                assert other.entries("moods").get("attic") == {"is": "sunny"}

    asyncio.run(scenario())


def test_ledger_goes_back_and_forth_with_its_snapshots(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Swarm(tmp_path) as swarm:
            first, key = await swarm.found(), Key()
            await first.enrol(key.node_id, name="node", roles=("worker",))
            async with newer(tmp_path, key, swarm) as ledger:
                await meet(first, ledger)
                await ledger.put("moods", "attic", "sunny")
                await ledger.put("settings", "volume", 3)
            older = await swarm.open(key)  # from the newer one's snapshot
            assert older.settings.get("volume") == 3
            await older.put("settings", "volume", 4)
            await older.close()  # its snapshot knows nothing of moods
            async with newer(tmp_path, key, swarm) as ledger:
                assert ledger.entries("moods").get("attic") == "sunny"
                assert ledger.settings.get("volume") == 4

    asyncio.run(scenario())


def test_roster_operation_of_a_kind_that_is_not_known_takes_nothing_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Swarm(tmp_path) as swarm:
            first, key, gone = await swarm.found(), Key(), Key()
            for each in (key, gone):
                await first.enrol(each.node_id, name="node", roles=("worker",))
            await first._thread.append(Draft("roster", "roster.praise", encode_payload({"node": key.node_id})))
            other = await swarm.open(key)
            await meet(first, other)
            assert set(other.roster.members) == {first.node, key.node_id, gone.node_id}
            await first.revoke(gone.node_id)
            await meet(first, other)
            assert set(other.roster.members) == {first.node, key.node_id}

    asyncio.run(scenario())


def test_ledger_file_with_more_in_it_is_used(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Swarm(tmp_path) as swarm:
            ledger = await swarm.found()
            await ledger.put("settings", "volume", 3)
            await ledger.close()
            with sqlite3.connect(ledger.path) as newer:
                newer.execute("CREATE TABLE moods (id TEXT NOT NULL) STRICT")
                newer.execute("PRAGMA user_version = 2")
            newer.close()
            again = await swarm.open(swarm.founder)
            assert again.settings.get("volume") == 3
            await again.put("settings", "volume", 4)
            assert await again.verify() == 3

    asyncio.run(scenario())


# ---- files and messages


def test_files_with_more_fields_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "speeds.json"
    write_speeds(path, {("chat", "small"): Speed(runs=3)})
    entries = json.loads(path.read_bytes())
    path.write_text(json.dumps([{**entry, "mood": "sunny"} for entry in entries]))
    with caplog.at_level(logging.WARNING):
        assert read_speeds(path)[("chat", "small")].runs == 3
    assert caplog.text == ""
    assert decode_state(b'{"name": "attic", "version": "99", "mood": {"is": "sunny"}}') == NodeState("attic", "99")
