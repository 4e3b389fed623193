import asyncio
import logging
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm.errors import StorageError
from swarm.messages import Mark, Trace
from swarm.store import MAX_TRACES, MAX_TRACES_IN_MEMORY, Store


def a_trace(number: int, *, answer: str = "") -> Trace:
    return Trace(
        utterance_id=f"u{number}",
        started_at="2026-01-01T10:00:00.000+01:00",
        source="voice",
        transcript="turn on the lamp",
        answer=answer,
        marks=(Mark("wake", "node", 0.0), Mark("intent", "node", 12.5)),
    )


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    timer = {"id": "t1", "name": "pizza", "ends_at": 12.5, "paused_remaining_s": None}

    async def write() -> None:
        store = Store(tmp_path / "node.db")
        await store.open()
        await store.save_trace(a_trace(1))
        await store.set_setting("volume", {"kitchen": 40})
        await store.save_timer(timer)
        await store.save_timer({"id": "t2"})
        await store.delete_timer("t2")
        await store.delete_timer("never was")
        await store.close()

    async def read() -> None:
        store = Store(tmp_path / "node.db")
        await store.open()
        assert await store.trace("u1") == a_trace(1)
        assert await store.trace("u2") is None
        assert await store.setting("volume") == {"kitchen": 40}
        assert await store.setting("unset") is None
        assert await store.timers() == [timer]
        await store.close()

    asyncio.run(write())
    asyncio.run(read())
    with sqlite3.connect(tmp_path / "node.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    connection.close()


def test_database_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    async def write() -> None:
        store = Store(tmp_path / "state" / "node.db")
        await store.open()
        await store.close()

    asyncio.run(write())
    assert stat.S_IMODE((tmp_path / "state" / "node.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_newest_traces_come_first_and_a_later_save_replaces(tmp_path: Path) -> None:
    async def check() -> None:
        store = Store(tmp_path / "node.db")
        await store.open()
        for number in range(5):
            await store.save_trace(a_trace(number))
        await store.save_trace(a_trace(3, answer="Done."))
        assert [trace.utterance_id for trace in await store.traces(3)] == ["u4", "u3", "u2"]
        assert [trace.answer for trace in await store.traces(3)] == ["", "Done.", ""]
        await store.close()

    asyncio.run(check())


def test_oldest_traces_are_forgotten_beyond_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "node.db"

    async def fill(numbers: range) -> list[Trace]:
        store = Store(path)
        await store.open()
        for number in numbers:
            await store.save_trace(a_trace(number))
        traces = await store.traces(2 * MAX_TRACES)
        await store.close()
        return traces

    asyncio.run(fill(range(1)))
    with sqlite3.connect(path) as connection:
        _, *rest = connection.execute("SELECT * FROM traces").fetchone()
        marks = ", ".join("?" for _ in range(1 + len(rest)))
        copies = ((f"u{n}", *rest) for n in range(1, MAX_TRACES))
        connection.executemany(f"INSERT INTO traces VALUES ({marks})", copies)
    connection.close()
    traces = asyncio.run(fill(range(MAX_TRACES, MAX_TRACES + 3)))
    assert len(traces) == MAX_TRACES
    assert traces[0].utterance_id == f"u{MAX_TRACES + 2}"
    assert traces[-1].utterance_id == "u3"


@pytest.mark.parametrize("damage", ["no database", "torn page"])
def test_damaged_database_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = tmp_path / "node.db"

    async def session() -> list[Trace]:
        store = Store(path)
        await store.open()
        before = await store.traces(10)
        await store.save_trace(a_trace(len(before)))
        await store.set_setting("volume", 3)
        assert await store.trace(f"u{len(before)}") is not None
        await store.close()
        return before

    asyncio.run(session())
    if damage == "no database":
        path.write_bytes(b"this is no database at all " * 400)
    else:
        content = bytearray(path.read_bytes())
        content[4096:] = b"\x55" * (len(content) - 4096)
        path.write_bytes(content)
    assert asyncio.run(session()) == []
    assert path.with_suffix(".damaged").exists()
    assert "is damaged" in caplog.text
    assert len(asyncio.run(session())) == 1


def test_database_damaged_while_open_does_not_stop_the_node(tmp_path: Path) -> None:
    path = tmp_path / "node.db"

    async def check() -> None:
        store = Store(path)
        await store.open()
        await store.save_trace(a_trace(1))
        await store.close()
        await store_again()

    async def store_again() -> None:
        store = Store(path)
        await store.open()
        content = bytearray(path.read_bytes())
        content[4096:] = b"\x55" * (len(content) - 4096)
        path.write_bytes(content)
        for number in range(2, 5):
            await store.save_trace(a_trace(number))
        assert "u4" in [trace.utterance_id for trace in await store.traces(10)]
        await store.close()

    asyncio.run(check())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("a disk of its own needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_fails_explicit_writes_and_keeps_traces_in_memory(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0

    async def check() -> None:
        nonlocal now
        store = Store(small_disk / "node.db", clock=lambda: now)
        await store.open()
        await store.set_setting("before", 1)
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(b"\0" * 1_000_000)

        with pytest.raises(StorageError, match=r"node\.db") as refused:
            await store.set_setting("volume", "x" * 50_000)
        assert "free some space" in refused.value.hint
        caplog.clear()
        for number in range(MAX_TRACES_IN_MEMORY + 5):
            await store.save_trace(a_trace(number, answer="x" * 2_000))
        assert caplog.text.count("only kept in memory") == 1
        kept = await store.traces(1_000)
        assert kept[0].utterance_id == f"u{MAX_TRACES_IN_MEMORY + 4}"
        assert len(kept) >= MAX_TRACES_IN_MEMORY
        now += 61.0
        await store.save_trace(a_trace(999, answer="x" * 2_000))
        assert caplog.text.count("only kept in memory") == 2

        filler.unlink()
        await store.set_setting("after", 2)
        assert await store.setting("before") == 1
        assert await store.setting("after") == 2
        await store.close()

    asyncio.run(check())


def test_state_folder_that_cannot_be_used_leaves_the_node_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")

    async def check() -> None:
        store = Store(tmp_path / "state" / "node.db")
        await store.open()
        await store.save_trace(a_trace(1))
        assert await store.traces(5) == [a_trace(1)]
        assert await store.trace("u1") == a_trace(1)
        for refused in (store.set_setting("a", 1), store.timers(), store.setting("a")):
            with pytest.raises(StorageError):
                await refused
        with pytest.raises(StorageError):
            await store.save_timer({"id": "lost"})
        with pytest.raises(StorageError):
            await store.delete_timer("lost")
        (tmp_path / "state").unlink()
        await store.save_timer({"id": "t"})
        assert await store.timers() == [{"id": "t"}]
        await store.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(check())
    assert "nothing survives a restart" in caplog.text


def test_event_loop_goes_on_while_the_disk_is_slow(tmp_path: Path) -> None:
    path = tmp_path / "node.db"

    async def check() -> None:
        store = Store(path)
        await store.open()
        lock = sqlite3.connect(path, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        saving = asyncio.create_task(store.set_setting("volume", 1))
        await asyncio.sleep(0)
        assert not saving.done()
        lock.execute("COMMIT")
        lock.close()
        await saving
        assert await store.setting("volume") == 1
        await store.close()

    asyncio.run(check())
