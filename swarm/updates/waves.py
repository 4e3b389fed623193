"""Who may install now. Pure: everything that it decides on is handed in.

::

    one node first, one that is no hub if there is such ── good ──► all others, hubs one after the other
                                                       └─ failed ──► nobody else, until a person offers again

A node gets its go when the bundle is there and it has nothing else to do; while somebody speaks there, or a task is
under way, it waits. Nodes that are off get theirs when they are back. A node that got its go keeps it: whoever plans
next sees in the ledger who is at it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from swarm.certificates import NodeId
from swarm.updates.shared import State

AT_ONCE = 8
"""Nodes that install at a time, once one proved that it can be done."""
OUT_S = 1800.0
"""A node that got its go and is not heard of for so long after did not survive it: 330 MB onto a slow card take ten
minutes, three starts that fail five."""

ON_ITS_WAY = "the bundle is on its way to it"


@dataclass(frozen=True)
class NodeNow:
    """One node that belongs to the swarm, as far as is known."""

    node: NodeId
    alive: bool
    hub: bool = False
    edge: bool = False
    remembered: bool = True
    """It was heard of in the last ten minutes (`swarm.membership.FORGET_S`), so that it may be back in a moment."""
    offer: str = ""
    """What it is to run; empty: nothing else than it does."""
    state: State = "idle"
    """About that offer."""
    reason: str = ""
    go_at: float | None = None
    """When it got its go for that offer; None: it has none."""
    busy: str = ""
    """Why it should not be taken away now, or cannot get the bundle; empty: nothing speaks against it."""

    @property
    def out(self) -> bool:
        """It is at it: it may be gone for a while at any moment."""
        return self.go_at is not None and self.state in ("idle", "ready", "installing", "restarting")

    def lost(self, now: float) -> bool:
        """It is at it, and did not come back."""
        return self.out and not self.alive and self.go_at is not None and now - self.go_at > OUT_S


@dataclass(frozen=True)
class Plan:
    """What is to happen."""

    go: tuple[NodeId, ...] = ()
    """They get their go now."""
    waits: Mapping[NodeId, str] = field(default_factory=dict)
    """Why the others that are to install do not, for people, without a full stop."""
    stopped: Mapping[str, str] = field(default_factory=dict)
    """Offers that nobody else installs, and why."""


def who_may(nodes: Sequence[NodeNow], now: float) -> Plan:
    """The plan. The same whatever the order of `nodes`."""
    go: list[NodeId] = []
    waits: dict[NodeId, str] = {}
    stopped: dict[str, str] = {}
    free = AT_ONCE - sum(each.out for each in nodes)
    hub_free = not any(each.hub and each.out for each in nodes)
    for offer in sorted({each.offer for each in nodes if each.offer}):
        meant = [each for each in nodes if each.offer == offer]
        asking = sorted((each for each in meant if each.go_at is None and each.state in ("idle", "ready")), key=_first)
        why = _why_stopped(meant, now)
        if why:
            stopped[offer] = why
            waits |= {each.node: why for each in asking}
            continue
        proved = any(each.state == "good" for each in meant)
        trying = any(each.out for each in meant)
        for each in asking:
            why = _why_not(each, nodes, hub_free=hub_free)
            if not proved and not trying and why == ON_ITS_WAY and not each.busy:
                trying = True  # it is the one to try, in a moment: the others wait for it, not for whoever is ready
            elif not why and not proved and trying:
                why = "one node tries it first"
            if not why and free <= 0:
                why = f"{AT_ONCE} others are at it"
            if why:
                waits[each.node] = why
                continue
            go.append(each.node)
            free, trying, hub_free = free - 1, True, hub_free and not each.hub
    return Plan(tuple(go), waits, stopped)


def _why_stopped(meant: Iterable[NodeNow], now: float) -> str:
    for each in sorted(meant, key=lambda each: each.node):
        if each.state == "failed":
            return f"it failed at {each.node}: {each.reason}"
        if each.lost(now):
            return f"{each.node} did not come back from it within {OUT_S / 60:g} minutes"
    return ""


def _why_not(node: NodeNow, nodes: Sequence[NodeNow], *, hub_free: bool) -> str:
    """What speaks against this node, whatever others of its kind do."""
    if not node.alive:
        return "it is off"
    if node.state != "ready":
        return ON_ITS_WAY
    if node.busy:
        return node.busy
    if not node.hub:
        return ""
    if not hub_free:
        return "another hub is at it"
    others = [each for each in nodes if each.hub and each.node != node.node]
    if not any(each.alive for each in others) and any(each.remembered for each in others):
        return "the other hub is away"
    return ""


def _first(node: NodeNow) -> tuple[bool, bool, NodeId]:
    """Who is the first to try: whose loss would be noticed least."""
    return node.hub, node.edge, node.node
