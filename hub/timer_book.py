"""Timers and when each is to be announced. Pure: all times are seconds of the steady clock, given by the caller."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import msgspec

MAX_RINGS = 3
RING_EVERY_S = 15.0
"""From the end of one announcement to the next."""
OWNER_CHECK_S = 1.0
"""How often a hub looks whether a timer that another one should ring has become its own."""


TimerEvent = Literal["started", "changed", "paused", "resumed", "cancelled", "ended", "stopped"]
"""`stopped`: somebody said stop while it rang."""


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
    hub: str = ""
    """Id of the node at which it was set, where hubs share timers."""

    @property
    def named(self) -> tuple[str, float]:
        """Its name and duration, as `TimerWords` takes it."""
        return self.name, self.duration_s


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

    def ids(self) -> tuple[str, ...]:
        """All."""
        return tuple(self._all)

    def end_due(self, now: float) -> tuple[Running, ...]:
        """Let those end whose time has come; the ones to announce now, first ended first."""
        for running in self.counting():
            if running.timer.paused_left_s is None and running.ends <= now:
                self.put(replace(running, next_ring=now))
        due = [running for running in self.ringing() if running.next_ring is not None and running.next_ring <= now]
        return tuple(sorted(due, key=lambda running: running.ends))

    def leave_to_its_owner(self, timer_id: str, now: float) -> None:
        """Another hub announces it; look again soon."""
        running = self._all.get(timer_id)
        if running is not None:
            self.put(replace(running, next_ring=now + OWNER_CHECK_S))

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
