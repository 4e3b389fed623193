"""When a sample was captured, told from when audio arrived. Pure."""

from __future__ import annotations

from swarm.engine import RATE

_DRIFT = 5e-4
"""How far a sound card's clock may run slow against ours: 500 ppm, ten times what cards do."""


class AudioClock:
    """Maps positions in the audio to monotonic time.

    Audio may arrive late (a busy event loop) but never before it was captured: the earliest arrival tells where the
    stream began. That estimate is let go slowly, as the two clocks drift apart.
    """

    def __init__(self) -> None:
        self._origin: float | None = None
        self._seen_at = 0.0

    def arrived(self, position: int, now: float) -> None:
        """All samples before `position` are here at `now`."""
        origin = now - position / RATE
        if self._origin is not None:
            origin = min(origin, self._origin + (now - self._seen_at) * _DRIFT)
        self._origin, self._seen_at = origin, now

    def ms_ago(self, position: float, now: float) -> float:
        """How long before `now` the sample at `position` was captured; never negative."""
        if self._origin is None:
            return 0.0
        return max(0.0, round((now - self._origin - position / RATE) * 1000, 1))
