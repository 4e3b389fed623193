"""Hybrid logical time: wall clock where clocks agree, and never against cause and effect. Pure but for the clock given.

A time is one integer: milliseconds since 1970, shifted by 16 bits, plus a counter (Kulkarni and others, "Logical
Physical Clocks", 2014). A time far ahead of the own clock is not followed: one node with a wrong or lying clock would
drag all others along, to the end of the numbers if it wants. What must come after another operation names it instead
(`swarm.ledger.entries`).
"""

from __future__ import annotations

from collections.abc import Callable

MAX_AHEAD_S = 86_400.0
"""A clock that is wrong by hours (time zone, summer time) is followed."""
_COUNTER_BITS = 16


def hybrid_time(seconds: float, counter: int = 0) -> int:
    """The hybrid time of that moment; a clock before 1970 counts as 1970."""
    return (max(0, int(seconds * 1000)) << _COUNTER_BITS) + counter


def seconds_of(time: int) -> float:
    """Seconds since 1970."""
    return (time >> _COUNTER_BITS) / 1000


class HybridClock:
    """Gives rising times. Not thread-safe."""

    def __init__(self, clock: Callable[[], float], last: int = 0) -> None:
        """`clock` gives seconds since 1970; `last` is the newest time given before a restart."""
        self._clock = clock
        self._last = last

    def next(self) -> int:
        """Later than every time given or followed before."""
        self._last = max(hybrid_time(self._clock()), self._last + 1)
        return self._last

    def follow(self, time: int) -> None:
        """Times given from now on are later than this one, seen on another node, unless it is too far ahead."""
        if time > self._last and time <= hybrid_time(self._clock() + MAX_AHEAD_S):
            self._last = time
