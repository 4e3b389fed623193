"""Kitchen timers: several at once, kept across a restart, announced where they were set until somebody says stop.

Two clocks. While the hub runs, a timer counts on a steady clock that nobody sets but that goes on while the machine
sleeps. What is stored is the wall clock's time of its end; when the wall clock is set (a board without a battery gets
the time from the network after it booted) all ends are stored anew, so that a set clock ends no timer.

Several hubs may share one store (`hub.ledger_timers`): each then knows all timers, and one rings each.
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
from hub.timer_book import Running, Timer, TimerBook, TimerEvent
from swarm.errors import MycoswarmError, StorageError

MAX_TIMERS = 50
MAX_DURATION_S = 100 * 3600.0
ANNOUNCE_TIMEOUT_S = 60.0
"""Longer than any announcement takes to speak; a satellite that hangs delays the next timer no longer than this."""
MAX_KNOWN = 200
"""Timers of all hubs together."""
CLOCK_CHECK_S = 30.0
CLOCK_JUMP_S = 2.0

_log = logging.getLogger(__name__)

Announce = Callable[[str, str], Awaitable[bool]]
"""`await announce(satellite, text)`: speak there, everywhere when the name is empty. False: nobody was there."""


class TimerStore(Protocol):
    """Where timers are kept. Each raises `StorageError` when it cannot."""

    async def save_timer(self, timer: Mapping[str, Any]) -> None:
        """Insert under its `id`, or replace the one that is there. Holds only what JSON can."""

    async def delete_timer(self, timer_id: str) -> None:
        """Forget one; nothing happens when there is none."""

    async def timers(self) -> Sequence[Mapping[str, Any]]:
        """All that are stored, as they were saved."""


class Sharing(Protocol):
    """How several hubs that have one store share its timers."""

    here: str
    """This hub's id."""

    def is_mine(self, timer_id: str, hub: str) -> bool:
        """Whether this hub rings a timer that was set at `hub`. One hub says so, but for moments."""

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after a change of the store, whoever made it; returns what ends that."""


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


@dataclass(frozen=True)
class Kept:
    """A timer after a change."""

    timer: Timer
    left_s: float
    saved: bool
    """False when the database could not be written: it counts, but a restart loses it."""


class Timers:
    """The home's timers. Methods act at once; `run` announces."""

    def __init__(self, store: TimerStore, clock: Clock | None = None, *, sharing: Sharing | None = None) -> None:
        """`sharing` when other hubs have the same store."""
        self.on_change: list[Callable[[TimerEvent, Timer, float], None]] = []
        """Called with what this hub did to a timer, and the seconds left."""
        self._store = store
        self._sharing = sharing
        self._unsaved: set[str] = set()
        """Not in the store, or not as they are here; they count all the same."""
        self._removed: set[str] = set()
        """Gone here, and perhaps still in the store."""
        self._store_changed = False
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
        here = self._sharing.here if self._sharing is not None else ""
        timer = Timer(uuid.uuid4().hex, duration_s, 0.0, name, satellite, area, None, language, here)
        return await self._keep(timer, duration_s, "started")

    def all(self) -> tuple[tuple[Timer, float], ...]:
        """All that have not ended, each with the seconds left, in the order in which they were set."""
        now = self._clock.steady()
        return tuple((running.timer, running.left(now)) for running in self._book.counting())

    async def cancel(self, timer_id: str) -> None:
        """End a timer without a sound."""
        running = self._book.get(timer_id)
        self._book.drop(timer_id)
        if running is not None:
            self._tell("stopped" if running.ended else "cancelled", running.timer, running.left(self._clock.steady()))
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
        changed = msgspec.structs.replace(running.timer, duration_s=duration, paused_left_s=paused)
        return await self._keep(changed, left, "changed")

    async def pause(self, timer_id: str) -> Kept | None:
        """Let it stand still; None when it is gone."""
        running = self._counting(timer_id)
        if running is None:
            return None
        left = running.left(self._clock.steady())
        return await self._keep(msgspec.structs.replace(running.timer, paused_left_s=left), left, "paused")

    async def unpause(self, timer_id: str) -> Kept | None:
        """Let it go on; None when it is gone."""
        running = self._counting(timer_id)
        if running is None:
            return None
        left = running.left(self._clock.steady())
        return await self._keep(msgspec.structs.replace(running.timer, paused_left_s=None), left, "resumed")

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
        end = self._sharing.subscribe(self._note_change) if self._sharing is not None else lambda: None
        try:
            await self._run(announce)
        finally:
            end()

    async def _run(self, announce: Announce) -> None:
        while True:
            self._changed.clear()
            if self._store_changed:
                self._store_changed = False
                await self._load(again=True)
            await self._follow_wall_clock()
            for running in self._book.end_due(self._clock.steady()):
                if not self._is_mine(running.timer):
                    self._book.leave_to_its_owner(running.timer.id, self._clock.steady())
                # One announcement takes seconds: meanwhile somebody may have stopped the next.
                elif self._book.get(running.timer.id) is not None:
                    if running.rings == 0:
                        self._tell("ended", running.timer, 0.0)
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

    def _is_mine(self, timer: Timer) -> bool:
        return self._sharing is None or self._sharing.is_mine(timer.id, timer.hub)

    def _note_change(self) -> None:
        self._store_changed = True
        self._changed.set()

    async def _load(self, *, again: bool = False) -> None:
        """Take up what is stored; `again`: other hubs may have changed and removed some."""
        try:
            stored = await self._store.timers()
        except StorageError as error:
            _log.error("stored timers are not known: %s", error)
            return
        now, wall = self._clock.steady(), self._clock.wall()
        known: set[str] = set()
        for row in stored[:MAX_KNOWN]:
            try:
                timer = msgspec.convert(row, Timer)
            except msgspec.ValidationError as error:
                _log.error("a stored timer is damaged and is ignored: %s", error)
                continue
            known.add(timer.id)
            here = self._book.get(timer.id)
            if timer.id in self._removed or timer.id in self._unsaved or (here is not None and here.timer == timer):
                continue
            ends = now + timer.ends_at - wall
            missed = timer.paused_left_s is None and ends <= now
            self._book.put(Running(timer, ends, next_ring=now if missed else None, missed=missed))
        if again:
            for timer_id in self._book.ids():
                if timer_id not in known and timer_id not in self._unsaved:
                    self._book.drop(timer_id)

    def _counting(self, timer_id: str) -> Running | None:
        running = self._book.get(timer_id)
        return None if running is None or running.ended else running

    def _tell(self, change: TimerEvent, timer: Timer, left_s: float) -> None:
        for each in self.on_change:
            each(change, timer, left_s)

    async def _keep(self, timer: Timer, left_s: float, change: TimerEvent) -> Kept:
        stored = msgspec.structs.replace(timer, ends_at=self._clock.wall() + left_s)
        self._book.put(Running(stored, self._clock.steady() + left_s))
        self._changed.set()
        self._tell(change, stored, left_s)
        return Kept(stored, left_s, await self._save(stored))

    async def _follow_wall_clock(self) -> None:
        offset = self._clock.wall() - self._clock.steady()
        if abs(offset - self._offset) <= CLOCK_JUMP_S:
            return
        _log.info("the wall clock was set by %+.0f s: timers keep their time", offset - self._offset)
        self._offset = offset
        for timer_id in [running.timer.id for running in self._book.counting()]:
            running = self._counting(timer_id)
            if running is not None and self._sharing is not None and running.timer.hub != self._sharing.here:
                # Its end was stored by a clock that nobody set.
                self._book.put(replace(running, ends=running.timer.ends_at - offset))
            elif running is not None:  # saving waits for the disk: meanwhile it may have been cancelled
                timer = msgspec.structs.replace(running.timer, ends_at=running.ends + offset)
                self._book.put(replace(running, timer=timer))
                await self._save(timer)

    async def _save(self, timer: Timer) -> bool:
        self._unsaved.add(timer.id)
        try:
            await self._store.save_timer(msgspec.to_builtins(timer))
        except StorageError as error:
            _log.error("a timer could not be saved: %s", error)
            return False
        self._unsaved.discard(timer.id)
        return True

    async def _forget(self, timer_id: str) -> None:
        self._removed.add(timer_id)
        try:
            await self._store.delete_timer(timer_id)
        except StorageError as error:
            _log.error("a timer could not be removed from the database: %s", error)
            return
        self._removed.discard(timer_id)
