"""Which hub serves the satellite of a node that is no hub itself. Pure.

It stays with the hub that served it last, as long as that one lives. Else it takes the hub that speaks for the home
(`swarm.lease`, the role `home`): that one is the first to know what devices say. The rest follow in the order in which
they would take over that role, so that all satellites of a home find together again at the same hub.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from swarm.capability import Member
from swarm.lease import rank

ROLE = "home"
FRESH_S = 1.4
"""While somebody waits, only a hub that was heard for so long ago is tried: nodes speak every 0.8 s, and where this
machine's own cable was pulled, no time is lost with hubs that are as silent as the first."""


@dataclass(frozen=True)
class Chosen:
    """A hub, and why it."""

    node: str
    name: str
    because: str


def choose_hubs(
    members: Iterable[Member], now: float, *, before: str = "", avoid: Collection[str] = (), urgent: bool = False
) -> tuple[Chosen, ...]:
    """Live hubs, the one to take first. `before` served last; those in `avoid` were tried a moment ago; `urgent`:
    somebody waits. `now` is on the clock of `Member.heard_at`."""
    hubs = {
        member.node: member
        for member in members
        if "hub" in member.roles and member.state == "alive" and not member.here and member.node not in avoid
    }
    if urgent:
        hubs = {node: member for node, member in hubs.items() if now - member.heard_at < FRESH_S}
    ranked = rank(ROLE, hubs)
    first = ranked[0] if ranked else ""
    ranked.sort(key=lambda node: node != before)
    return tuple(Chosen(node, hubs[node].name, _because(node, before, first)) for node in ranked)


def _because(node: str, before: str, first: str) -> str:
    if node == before:
        return "it served before"
    return "it speaks for the home" if node == first else "it is the next in rank"
