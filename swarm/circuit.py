"""Remembers which peers failed lately, so that not every task must find out anew. Pure.

A closed circuit lets tasks through. After a failure it opens for a while, twice as long with each failure in a row;
then it lets tasks through again, and the first success closes it (Nygard, Release It!, 2007).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FIRST_S = 1.0
"""Longer than it takes to notice a death by a refused connection, so that a dead node costs one failed try."""
LONGEST_S = 30.0
MAX_PEERS = 1024


@dataclass
class _Circuit:
    failures: int
    open_until: float
    why: str


class Circuits:
    """The circuits of one sender to all peers."""

    def __init__(self) -> None:
        self._circuits: dict[str, _Circuit] = {}

    def failed(self, node: str, why: str, now: float) -> None:
        """A task could not be handed to `node`, or was lost there."""
        circuit = self._circuits.pop(node, None)
        if circuit is not None and now < circuit.open_until:
            self._circuits[node] = circuit  # tasks that were under way together fail together: that is one failure
            return
        failures = circuit.failures + 1 if circuit else 1
        if len(self._circuits) >= MAX_PEERS:
            del self._circuits[next(iter(self._circuits))]
        self._circuits[node] = _Circuit(failures, now + min(FIRST_S * 2 ** min(failures - 1, 10), LONGEST_S), why)

    def worked(self, node: str) -> None:
        """It took a task, or has started anew."""
        self._circuits.pop(node, None)

    def open(self, now: float) -> Mapping[str, str]:
        """Whom to avoid now, with the reason for people."""
        if not self._circuits:
            return _NONE
        return {
            node: f"failed {circuit.failures} times in a row: {circuit.why}"
            if circuit.failures > 1
            else f"failed a moment ago: {circuit.why}"
            for node, circuit in self._circuits.items()
            if now < circuit.open_until
        }


_NONE: Mapping[str, str] = {}
