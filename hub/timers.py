"""Kitchen timers: several at once, kept across a restart, announced where they were set until somebody says stop.

Two clocks. While the hub runs, a timer counts on a steady clock that nobody sets but that goes on while the machine
sleeps. What is stored is the wall clock's time of its end; when the wall clock is set (a board without a battery gets
the time from the network after it booted) all ends are stored anew, so that a set clock ends no timer.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from hub.answers import wording
from swarm.errors import MycoswarmError, StorageError

MAX_TIMERS = 50
MAX_DURATION_S = 100 * 3600.0
MAX_RINGS = 3
RING_EVERY_S = 15.0
"""From the end of one announcement to the next."""
ANNOUNCE_TIMEOUT_S = 60.0
"""Longer than any announcement takes to speak; a satellite that hangs delays the next timer no longer than this."""
CLOCK_CHECK_S = 30.0
CLOCK_JUMP_S = 2.0

_log = logging.getLogger(__name__)

Announce = Callable[[str, str], Awaitable[bool]]
"""`await announce(satellite, text)`: speak there, everywhere when the name is empty. False: nobody was there."""


class Timer(msgspec.Struct, frozen=True):
    """One timer as it is stored."""

    id: str
    duration_s: float
    """What it was set for, with what was added and taken off since."""
    ends_at: float
    """Unix seconds of the wall clock; without meaning while paused."""
    name: str = ""
    satellite: str = ""
    """Where it was set; empty: by typed text, announced everywhere."""
    area: str = ""
    paused_left_s: float | None = None
    """Seconds left when it was paused; None while it runs."""
    language: str = "en"

    @property
    def named(self) -> tuple[str, float]:
        """Its name and duration, as `TimerWords` takes it."""
        return self.name, self.duration_s


class TimerStore(Protocol):
    """Where timers are kept. Each raises `StorageError` when it cannot."""

    async def save_timer(self, timer: Mapping[str, Any]) -> None:
        """Insert under its `id`, or replace the one that is there. Holds only what JSON can."""

    async def delete_timer(self, timer_id: str) -> None:
        """Forget one; nothing happens when there is none."""

    async def timers(self) -> Sequence[Mapping[str, Any]]:
        """All that are stored, as they were saved."""


class Clock(Protocol):
    """Time, given from outside."""

    def wall(self) -> float:
        """Unix seconds, as people set them."""

    def steady(self) -> float:
        """Seconds that nobody sets; they go on while the machine sleeps."""

    async def wait(self, event: asyncio.Event, timeout_s: float) -> None:
        """Return when `event` is set or `timeout_s` has passed."""


class SystemClock:
    """The machine's clocks."""

    def wall(self) -> float:
        """See `Clock`."""
        return time.time()

    def steady(self) -> float:
        """See `Clock`."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def wait(self, event: asyncio.Event, timeout_s: float) -> None:
        """See `Clock`."""
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass


# ---- the pure part: all times are seconds of the steady clock, given by the caller


@dataclass(frozen=True)
class Running:
    """A timer and where it stands on the steady clock."""

    timer: Timer
    ends: float
    """When it ends; while it rings, when it ended."""
    rings: int = 0
    """Announcements made."""
    next_ring: float | None = None
    """When to announce (again); None while it has not ended."""
    everywhere: bool = False
    """It is announced at all satellites, since the one that set it is gone."""
    missed: bool = False
    """It ended while the hub was not running: said once."""

    def left(self, now: float) -> float:
        """Seconds until it ends."""
        paused = self.timer.paused_left_s
        return paused if paused is not None else max(0.0, self.ends - now)

    @property
    def ended(self) -> bool:
        """It rings."""
        return self.next_ring is not None


class TimerBook:
    """All timers, in the order in which they were set. Decides what is due; does nothing by itself."""

    def __init__(self) -> None:
        self._all: dict[str, Running] = {}

    def put(self, running: Running) -> None:
        """Insert or replace."""
        self._all[running.timer.id] = running

    def drop(self, timer_id: str) -> None:
        """Forget one."""
        self._all.pop(timer_id, None)

    def get(self, timer_id: str) -> Running | None:
        """One by its id."""
        return self._all.get(timer_id)

    def counting(self) -> tuple[Running, ...]:
        """Those that have not ended, paused ones too."""
        return tuple(running for running in self._all.values() if not running.ended)

    def ringing(self) -> tuple[Running, ...]:
        """Those that have ended and were not stopped."""
        return tuple(running for running in self._all.values() if running.ended)

    def end_due(self, now: float) -> tuple[Running, ...]:
        """Let those end whose time has come; the ones to announce now, first ended first."""
        for running in self.counting():
            if running.timer.paused_left_s is None and running.ends <= now:
                self.put(replace(running, next_ring=now))
        due = [running for running in self.ringing() if running.next_ring is not None and running.next_ring <= now]
        return tuple(sorted(due, key=lambda running: running.ends))

    def announced(self, timer_id: str, now: float) -> bool:
        """Note an announcement; True when it was the last and the timer is gone."""
        running = self._all.get(timer_id)
        if running is None:
            return True
        if running.missed or running.rings + 1 >= MAX_RINGS:
            self.drop(timer_id)
            return True
        self.put(replace(running, rings=running.rings + 1, next_ring=now + RING_EVERY_S))
        return False

    def next_due(self) -> float | None:
        """When something is to be done next; None when nothing counts or rings."""
        times = [running.ends for running in self.counting() if running.timer.paused_left_s is None]
        times += [running.next_ring for running in self.ringing() if running.next_ring is not None]
        return min(times, default=None)


# ---- the part that waits, stores and announces


@dataclass(frozen=True)
class Kept:
    """A timer after a change."""

    timer: Timer
    left_s: float
    saved: bool
    """False when the database could not be written: it counts, but a restart loses it."""


class Timers:
    """The home's timers. Methods act at once; `run` announces."""

    def __init__(self, store: TimerStore, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._book = TimerBook()
        self._changed = asyncio.Event()
        self._offset = self._clock.wall() - self._clock.steady()

    async def start(
        self, duration_s: float, *, name: str = "", satellite: str = "", area: str = "", language: str = "en"
    ) -> Kept | None:
        """Set a timer; None when there are `MAX_TIMERS` already. `duration_s`: over 0, at most `MAX_DURATION_S`."""
        if not 0 < duration_s <= MAX_DURATION_S:
            raise ValueError(f"a timer cannot run for {duration_s} s")
        if len(self._book.counting()) >= MAX_TIMERS:
            return None
        timer = Timer(uuid.uuid4().hex, duration_s, 0.0, name, satellite, area, None, language)
        return await self._keep(timer, duration_s)

    def all(self) -> tuple[tuple[Timer, float], ...]:
        """All that have not ended, each with the seconds left, in the order in which they were set."""
        now = self._clock.steady()
        return tuple((running.timer, running.left(now)) for running in self._book.counting())

    async def cancel(self, timer_id: str) -> None:
        """End a timer without a sound."""
        self._book.drop(timer_id)
        await self._forget(timer_id)
        self._changed.set()

    async def change(self, timer_id: str, by_s: float) -> Kept | None:
        """Add or take off time. None, and nothing changes, when it is gone, or would end or grow too long by that."""
        running = self._counting(timer_id)
        left = running.left(self._clock.steady()) + by_s if running else 0.0
        if running is None or not 0 < left <= MAX_DURATION_S:
            return None
        paused = None if running.timer.paused_left_s is None else left
        duration = max(running.timer.duration_s + by_s, left)
        return await self._keep(msgspec.structs.replace(running.timer, duration_s=duration, paused_left_s=paused), left)

    async def pause(self, timer_id: str) -> Kept | None:
        """Let it stand still; None when it is gone."""
        running = self._counting(timer_id)
        if running is None:
            return None
        left = running.left(self._clock.steady())
        return await self._keep(msgspec.structs.replace(running.timer, paused_left_s=left), left)

    async def unpause(self, timer_id: str) -> Kept | None:
        """Let it go on; None when it is gone."""
        running = self._counting(timer_id)
        if running is None:
            return None
        left = running.left(self._clock.steady())
        return await self._keep(msgspec.structs.replace(running.timer, paused_left_s=None), left)

    async def silence(self, satellite: str) -> int:
        """Stop those that ring at `satellite` or everywhere (empty name: all that ring); how many it were."""
        stopped = [
            running.timer.id
            for running in self._book.ringing()
            if not satellite or running.everywhere or running.timer.satellite in ("", satellite)
        ]
        for timer_id in stopped:
            await self.cancel(timer_id)
        return len(stopped)

    async def run(self, announce: Announce) -> None:
        """Take up what is stored, then announce each timer that ends; runs until cancelled."""
        await self._load()
        while True:
            self._changed.clear()
            await self._follow_wall_clock()
            for running in self._book.end_due(self._clock.steady()):
                # One announcement takes seconds: meanwhile somebody may have stopped the next.
                if self._book.get(running.timer.id) is not None:
                    await self._announce(running, announce)
                    if self._book.announced(running.timer.id, self._clock.steady()):
                        await self._forget(running.timer.id)
            due = self._book.next_due()
            wait = CLOCK_CHECK_S if due is None else due - self._clock.steady()
            await self._clock.wait(self._changed, min(max(wait, 0.0), CLOCK_CHECK_S))

    async def _announce(self, running: Running, announce: Announce) -> None:
        timer = running.timer
        words = wording(timer.language).timers
        if running.missed:
            text = words.ended_before(timer.named, self._clock.steady() - running.ends)
        else:
            text = words.ended(timer.named)
        try:
            async with asyncio.timeout(ANNOUNCE_TIMEOUT_S):
                heard = await announce(timer.satellite, text)
                ringing = self._book.get(timer.id)
                if not heard and timer.satellite and ringing is not None:
                    self._book.put(replace(ringing, everywhere=True))
                    heard = await announce("", text)
            if not heard:
                _log.warning("no satellite is there to say: %s", text)
        except TimeoutError:
            _log.warning("announcing took over %.0f s: %s", ANNOUNCE_TIMEOUT_S, text)
        except MycoswarmError as error:
            _log.warning("could not announce %r: %s", text, error)

    async def _load(self) -> None:
        now, wall = self._clock.steady(), self._clock.wall()
        try:
            stored = await self._store.timers()
        except StorageError as error:
            _log.error("timers set before the restart are not known: %s", error)
            return
        for row in stored[:MAX_TIMERS]:
            try:
                timer = msgspec.convert(row, Timer)
            except msgspec.ValidationError as error:
                _log.error("a stored timer is damaged and is ignored: %s", error)
                continue
            if self._book.get(timer.id) is not None:
                continue  # it was set since the start
            ends = now + timer.ends_at - wall
            missed = timer.paused_left_s is None and ends <= now
            self._book.put(Running(timer, ends, next_ring=now if missed else None, missed=missed))

    def _counting(self, timer_id: str) -> Running | None:
        running = self._book.get(timer_id)
        return None if running is None or running.ended else running

    async def _keep(self, timer: Timer, left_s: float) -> Kept:
        stored = msgspec.structs.replace(timer, ends_at=self._clock.wall() + left_s)
        self._book.put(Running(stored, self._clock.steady() + left_s))
        self._changed.set()
        return Kept(stored, left_s, await self._save(stored))

    async def _follow_wall_clock(self) -> None:
        offset = self._clock.wall() - self._clock.steady()
        if abs(offset - self._offset) <= CLOCK_JUMP_S:
            return
        _log.info("the wall clock was set by %+.0f s: timers keep their time", offset - self._offset)
        self._offset = offset
        for timer_id in [running.timer.id for running in self._book.counting()]:
            running = self._counting(timer_id)
            if running is not None:  # saving waits for the disk: meanwhile it may have been cancelled
                timer = msgspec.structs.replace(running.timer, ends_at=running.ends + offset)
                self._book.put(replace(running, timer=timer))
                await self._save(timer)

    async def _save(self, timer: Timer) -> bool:
        try:
            await self._store.save_timer(msgspec.to_builtins(timer))
        except StorageError as error:
            _log.error("a timer could not be saved: %s", error)
            return False
        return True

    async def _forget(self, timer_id: str) -> None:
        try:
            await self._store.delete_timer(timer_id)
        except StorageError as error:
            _log.error("a timer could not be removed from the database: %s", error)
