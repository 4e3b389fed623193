"""Which hub's broker is the bus, as one node sees it. Pure: every call takes `now` (seconds).

Every hub runs a broker, and the bus is that of the live hub which `swarm.lease` ranks first: all nodes that see the
same hubs choose the same one, with no message about it. When it dies, the next in rank is chosen at once, and stays
when the first comes back: a hub that carries the bus, and says so, comes before one that could. Only when several do,
after a partition, the rank decides among them. There nobody hurries: a hub has to be there for `STEADY_S`, and longer
after each time that it went, so that one which comes and goes does not pull the house after it.

::

    hub first in rank   ──────────┐ dies        ┌── back, follows the second
    the bus is          first     │ second at once
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swarm.certificates import NodeId
from swarm.lease import rank

ROLE = "bus"
RETRY_S = (0.2, 5.0)
"""First and longest pause before a hub is tried again; doubled each time."""
STEADY_S = (5.0, 60.0)
"""How long a hub must have been there before it takes the bus back; doubled each time that it went. Not longer: until
then a node that started in between may have chosen it, and is alone there."""
FORGIVEN_S = 300.0
"""A hub that was there for so long has its earlier losses forgiven."""


@dataclass
class _Hub:
    there_since: float
    """When it appeared, or failed last."""
    retry_at: float
    pause_s: float = RETRY_S[0]
    steady_s: float = 0.0
    """How long it must have been there to be preferred; 0 for one that never went."""


class BusChoice:
    """One node's view. Not thread-safe."""

    def __init__(self, me: NodeId) -> None:
        """A hub takes the bus back in half of the time, so that it is in charge when the others come."""
        self._me = me
        self._hubs: dict[NodeId, _Hub] = {}
        self._went: dict[NodeId, tuple[float, float]] = {}
        """When hubs went, and how long they have to be steady next time."""
        self._current: NodeId | None = None
        self._carrying: frozenset[NodeId] = frozenset()

    def update(self, hubs: Iterable[NodeId], now: float, *, carrying: Iterable[NodeId] = ()) -> None:
        """These hubs live and have a broker for nodes; those in `carrying` say that theirs is the bus."""
        alive = set(hubs)
        self._carrying = frozenset(carrying) & alive
        for node in tuple(self._hubs):
            if node not in alive:
                self._went[node] = now, self._longer(self._hubs.pop(node), now)
        for node, (since, _) in tuple(self._went.items()):
            if now - since > FORGIVEN_S:
                del self._went[node]
        for node in alive:
            if node not in self._hubs:
                _, steady_s = self._went.pop(node, (0.0, 0.0))
                self._hubs[node] = _Hub(now, now, steady_s=steady_s)

    def next(self, now: float) -> NodeId | None:
        """The hub to connect to now; None when none may be tried yet."""
        ready = [node for node in self._ranked(now) if self._hubs[node].retry_at <= now]
        return ready[0] if ready else None

    def connected(self, node: NodeId) -> None:
        """Its broker took the connection."""
        self._current = node
        if node in self._hubs:
            self._hubs[node].pause_s = RETRY_S[0]

    def failed(self, node: NodeId, now: float) -> None:
        """Its broker did not take the connection, or the connection was lost."""
        if node == self._current:
            self._current = None
        hub = self._hubs.get(node)
        if hub is not None:
            hub.retry_at = now + hub.pause_s
            hub.pause_s = min(2 * hub.pause_s, RETRY_S[1])
            hub.steady_s = self._longer(hub, now)
            hub.there_since = now

    def left(self) -> None:
        """The connection was given up for a better one."""
        self._current = None

    def is_better_elsewhere(self, now: float) -> bool:
        """Whether to leave the broker that this node is connected to."""
        if self._current is None:
            return False
        if self._current not in self._hubs:
            return bool(self._hubs)  # dead, whatever the connection pretends; but better than none
        return self._ranked(now)[0] != self._current and self.next(now) not in (None, self._current)

    def lives(self, node: NodeId) -> bool:
        """Whether the hub is among those that live."""
        return node in self._hubs

    def _ranked(self, now: float) -> list[NodeId]:
        """Steady ones first, and those that carry the bus before all others of them, each group by rank; the current
        one is steady enough to stay."""

        def worth(node: NodeId) -> tuple[bool, bool]:
            return not self._is_steady(node, now), node not in self._carrying

        return sorted(rank(ROLE, self._hubs), key=worth)

    def _is_steady(self, node: NodeId, now: float) -> bool:
        hub = self._hubs[node]
        return node == self._current or now - hub.there_since >= hub.steady_s * (0.5 if node == self._me else 1.0)

    def _longer(self, hub: _Hub, now: float) -> float:
        if hub.steady_s == 0.0 or now - hub.there_since > FORGIVEN_S:
            return STEADY_S[0]
        return min(2 * hub.steady_s, STEADY_S[1])
