from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from hub.timer_book import RING_EVERY_S, Running, Timer, TimerBook
from hub.timers import MAX_TIMERS, SystemClock, Timers
from swarm.errors import EngineError, StorageError


class VirtualClock:
    """Time stands still until `advance`."""

    def __init__(self, wall: float = 1_000_000.0, steady: float = 50.0) -> None:
        self._wall, self._steady = wall, steady
        self._waits: list[tuple[float, asyncio.Event]] = []

    def wall(self) -> float:
        return self._wall

    def steady(self) -> float:
        return self._steady

    def set_wall(self, by_s: float) -> None:
        self._wall += by_s

    async def wait(self, event: asyncio.Event, timeout_s: float) -> None:
        woken = asyncio.Event()
        self._waits.append((self._steady + timeout_s, woken))
        first = [asyncio.ensure_future(woken.wait()), asyncio.ensure_future(event.wait())]
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waits = [wait for wait in self._waits if wait[1] is not woken]
            for future in first:
                future.cancel()

    async def advance(self, seconds: float) -> None:
        """Let time pass, stopping wherever somebody waits for it."""
        end = self._steady + seconds
        while True:
            await settle()
            due = min((at for at, _ in self._waits if at <= end), default=None)
            step = (end if due is None else max(due, self._steady)) - self._steady
            self._steady += step
            self._wall += step
            if due is None:
                return
            for at, woken in self._waits:
                if at <= self._steady:
                    woken.set()


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(30):
        await asyncio.sleep(0)


class MemoryStore:
    def __init__(self) -> None:
        self.rows: dict[str, Mapping[str, Any]] = {}
        self.full = False

    async def save_timer(self, timer: Mapping[str, Any]) -> None:
        if self.full:
            raise StorageError("disk full")
        self.rows[timer["id"]] = timer

    async def delete_timer(self, timer_id: str) -> None:
        self.rows.pop(timer_id, None)

    async def timers(self) -> Sequence[Mapping[str, Any]]:
        if self.full:
            raise StorageError("disk full")
        return list(self.rows.values())


class Kitchen:
    """Timers that run, and what was announced."""

    def __init__(self, store: MemoryStore | None = None, clock: VirtualClock | None = None) -> None:
        self.store = store or MemoryStore()
        self.clock = clock or VirtualClock()
        self.timers = Timers(self.store, self.clock)
        self.heard: list[tuple[str, str]] = []
        self.connected = {"kit", "sofa"}

    async def announce(self, satellite: str, text: str) -> bool:
        self.heard.append((satellite, text))
        return satellite in self.connected or (satellite == "" and bool(self.connected))

    async def during(self, scene: Callable[[], Awaitable[None]]) -> None:
        running = asyncio.create_task(self.timers.run(self.announce))
        try:
            await settle()
            await scene()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


def test_a_timer_is_announced_where_it_was_set_three_times() -> None:
    kitchen = Kitchen()

    async def scene() -> None:
        kept = await kitchen.timers.start(300, name="pizza", satellite="kit")
        assert kept is not None
        assert kept.saved
        await kitchen.clock.advance(299)
        assert kitchen.heard == []
        assert [left for _, left in kitchen.timers.all()] == [1]
        await kitchen.clock.advance(1)
        assert kitchen.heard == [("kit", "Your pizza timer is done.")]
        assert kitchen.timers.all() == ()
        assert len(kitchen.store.rows) == 1  # a restart now would still tell of it
        await kitchen.clock.advance(10 * RING_EVERY_S)
        assert kitchen.heard == [("kit", "Your pizza timer is done.")] * 3
        assert kitchen.store.rows == {}

    asyncio.run(kitchen.during(scene))


def test_stop_ends_the_ringing_here_only() -> None:
    kitchen = Kitchen()

    async def scene() -> None:
        await kitchen.timers.start(10, satellite="kit")
        await kitchen.timers.start(10, satellite="sofa")
        await kitchen.timers.start(60, satellite="kit")
        await kitchen.clock.advance(10)
        assert await kitchen.timers.silence("kit") == 1
        await kitchen.clock.advance(40)
        assert [satellite for satellite, _ in kitchen.heard] == ["kit", "sofa", "sofa", "sofa"]
        assert len(kitchen.timers.all()) == 1  # what has not ended is not stopped
        assert await kitchen.timers.silence("") == 0

    asyncio.run(kitchen.during(scene))


def test_when_its_satellite_is_gone_all_announce_it_and_any_can_stop_it() -> None:
    kitchen = Kitchen()
    kitchen.connected = {"sofa"}

    async def scene() -> None:
        await kitchen.timers.start(60, satellite="kit")
        await kitchen.clock.advance(60)
        assert kitchen.heard == [("kit", "Your timer for 1 minute is done."), ("", "Your timer for 1 minute is done.")]
        assert await kitchen.timers.silence("sofa") == 1
        await kitchen.clock.advance(100)
        assert len(kitchen.heard) == 2

    asyncio.run(kitchen.during(scene))


def test_a_timer_that_is_stopped_while_another_is_announced_stays_silent() -> None:
    kitchen = Kitchen()

    async def announce(satellite: str, text: str) -> bool:
        kitchen.heard.append((satellite, text))
        await kitchen.timers.silence("")
        return True

    async def scene() -> None:
        running = asyncio.create_task(kitchen.timers.run(announce))
        await settle()
        await kitchen.timers.start(5, name="tea", satellite="kit")
        await kitchen.timers.start(5, name="egg", satellite="kit")
        await kitchen.clock.advance(60)
        assert kitchen.heard == [("kit", "Your tea timer is done.")]
        running.cancel()

    asyncio.run(scene())


def test_a_failing_announcement_stops_no_other_timer() -> None:
    kitchen = Kitchen()

    async def announce(satellite: str, text: str) -> bool:
        if satellite == "kit":
            raise EngineError("no voice")
        return await kitchen.announce(satellite, text)

    async def scene() -> None:
        running = asyncio.create_task(kitchen.timers.run(announce))
        await settle()
        await kitchen.timers.start(5, satellite="kit")
        await kitchen.timers.start(6, satellite="sofa")
        await kitchen.clock.advance(6)
        assert [satellite for satellite, _ in kitchen.heard] == ["sofa"]
        running.cancel()

    asyncio.run(scene())


def test_timers_survive_a_restart_and_missed_ones_are_told_once() -> None:
    store = MemoryStore()

    async def before() -> None:
        first = Kitchen(store)

        async def scene() -> None:
            await first.timers.start(60, name="egg", satellite="kit")
            await first.timers.start(600, satellite="sofa")
            paused = await first.timers.start(60, name="rest")
            assert paused is not None
            await first.timers.pause(paused.timer.id)

        await first.during(scene)

    async def after() -> None:
        # The node was down for 6 minutes; its steady clock began anew.
        second = Kitchen(store, VirtualClock(wall=1_000_360.0, steady=3.0))

        async def scene() -> None:
            assert second.heard == [("kit", "Your egg timer ended 5 minutes ago.")]
            assert [(timer.name, round(left)) for timer, left in second.timers.all()] == [("", 240), ("rest", 60)]
            await second.clock.advance(240)
            assert second.heard[1:] == [("sofa", "Your timer for 10 minutes is done.")]
            assert "egg" not in {row["name"] for row in store.rows.values()}

        await second.during(scene)

    asyncio.run(before())
    asyncio.run(after())


def test_a_clock_that_is_set_ends_no_timer_and_the_new_end_is_stored() -> None:
    kitchen = Kitchen()

    async def scene() -> None:
        await kitchen.timers.start(600, satellite="kit")
        kitchen.clock.set_wall(86_400.0)
        await kitchen.clock.advance(60)
        assert kitchen.heard == []
        (row,) = kitchen.store.rows.values()
        assert row["ends_at"] == pytest.approx(kitchen.clock.wall() + 540)
        kitchen.store.rows.clear()
        await kitchen.clock.advance(100)
        assert kitchen.store.rows == {}  # stored once, not at every look
        await kitchen.clock.advance(440)
        assert len(kitchen.heard) == 1

    asyncio.run(kitchen.during(scene))


def test_a_full_disk_and_damaged_rows_stop_nothing() -> None:
    store = MemoryStore()
    store.rows["x"] = {"id": "x", "duration_s": "long"}
    store.rows["y"] = msg = {"id": "y", "duration_s": 60.0, "ends_at": 1_000_030.0}
    kitchen = Kitchen(store)

    async def scene() -> None:
        assert [timer.id for timer, _ in kitchen.timers.all()] == [msg["id"]]
        store.full = True
        kept = await kitchen.timers.start(10)
        assert kept is not None
        assert not kept.saved
        await kitchen.clock.advance(10)
        assert len(kitchen.heard) == 1

    asyncio.run(kitchen.during(scene))

    unreadable = MemoryStore()
    unreadable.full = True
    second = Kitchen(unreadable)

    async def still_works() -> None:
        await second.timers.start(1)
        await second.clock.advance(1)
        assert len(second.heard) == 1

    asyncio.run(second.during(still_works))


def test_the_number_and_length_of_timers_are_bounded() -> None:
    async def scene() -> None:
        timers = Timers(MemoryStore(), VirtualClock())
        for _ in range(MAX_TIMERS):
            assert await timers.start(60) is not None
        assert await timers.start(60) is None
        for wrong in (0.0, -5.0, 1e9, float("nan")):
            with pytest.raises(ValueError, match="cannot run"):
                await timers.start(wrong)

    asyncio.run(scene())


def test_a_cancelled_timer_is_forgotten_and_changing_it_does_nothing() -> None:
    async def scene() -> None:
        store = MemoryStore()
        timers = Timers(store, VirtualClock())
        kept = await timers.start(60)
        assert kept is not None
        await timers.cancel(kept.timer.id)
        assert store.rows == {}
        assert await timers.change(kept.timer.id, 5) is None
        assert await timers.pause(kept.timer.id) is None
        assert await timers.unpause(kept.timer.id) is None
        assert store.rows == {}

    asyncio.run(scene())


def test_the_book_tells_what_is_due_and_when_to_look_again() -> None:
    book = TimerBook()
    assert book.next_due() is None
    book.put(Running(Timer("a", 10, 0), ends=10))
    book.put(Running(Timer("b", 5, 0), ends=5))
    book.put(Running(Timer("c", 5, 0, paused_left_s=1), ends=1))
    assert book.next_due() == 5
    assert [running.timer.id for running in book.end_due(12)] == ["b", "a"]
    assert book.announced("a", 12) is False
    assert [running.timer.id for running in book.end_due(13)] == ["b"]
    book.announced("b", 13)
    assert book.next_due() == 12 + RING_EVERY_S


def test_the_machines_clock_wakes_for_an_event_before_its_time() -> None:
    async def scene() -> None:
        clock, event = SystemClock(), asyncio.Event()
        async with asyncio.timeout(5):
            await clock.wait(event, 0.0)
            waiting = asyncio.create_task(clock.wait(event, 3600))
            await asyncio.sleep(0)
            event.set()
            await waiting
        assert clock.steady() <= clock.steady()

    asyncio.run(scene())
