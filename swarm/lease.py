"""Who does the work that must have one owner at a time: home automation, timers, each job. Pure.

There is no vote and no message. Every hub ranks the live hubs for a role by rendezvous hashing (Thaler and Ravishankar
1998: the highest hash of role and node wins), and the first owns it. All hubs that see the same hubs name the same
owner; when one dies, only its roles move, spread over the rest. While hubs see different hubs (a partition, the seconds
in which a death is noticed) a role may have two owners or, shortly, none. Both do no harm: what owners do is idempotent
(a command names the state to reach, a timer fires under its id), and it heals as soon as they see each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from swarm.capability import Member

SETTLE_S = 2.0
"""A hub that has just started hears the others within two beats: until then it claims nothing, or each restart of any
hub would make second owners."""


def rank(role: str, nodes: Iterable[str]) -> list[str]:
    """All nodes, the owner of the role first; the same on every node, whatever the order of `nodes`."""
    return sorted(nodes, key=lambda node: (_weight(role, node), node), reverse=True)


def live_hubs(members: Sequence[Member]) -> tuple[str, ...]:
    """Who can own a role. A suspect still can: a role does not move for two lost beats."""
    return tuple(member.node for member in members if "hub" in member.roles and member.state != "dead")


class LeaseChange(msgspec.Struct, frozen=True):
    """A role came to this node or went from it."""

    role: str
    change: Literal["gained", "lost"]
    owner: str
    """Who owns it now; empty when nobody does."""


class Leases:
    """The roles of this node. Roles may be added and dropped at any time: each job is one."""

    def __init__(self, me: str, roles: Iterable[str] = (), *, started_at: float) -> None:
        self._me = me
        self._started_at = started_at
        self._owners: dict[str, str] = dict.fromkeys(roles, "")

    def add(self, role: str) -> None:
        """Have an owner for this role from the next `update` on."""
        self._owners.setdefault(role, "")

    def drop(self, role: str) -> None:
        """The role is no more: its job is done."""
        self._owners.pop(role, None)

    def owner(self, role: str) -> str:
        """As of the last `update`; empty when no hub lives."""
        return self._owners.get(role, "")

    def mine(self) -> tuple[str, ...]:
        """The roles that this node owns."""
        return tuple(role for role, owner in self._owners.items() if owner == self._me)

    def update(self, hubs: Iterable[str], now: float) -> tuple[LeaseChange, ...]:
        """Look again who lives; `hubs` holds this node when it is a hub. Losses come first: stop, then start."""
        alive = set(hubs)
        if now - self._started_at < SETTLE_S:
            alive.discard(self._me)
        changes = []
        for role, before in self._owners.items():
            owner = max(alive, key=lambda node: (_weight(role, node), node), default="")
            if owner != before:
                self._owners[role] = owner
                if self._me in (owner, before):
                    changes.append(LeaseChange(role, "gained" if owner == self._me else "lost", owner))
        return tuple(sorted(changes, key=lambda change: change.change == "gained"))


def _weight(role: str, node: str) -> bytes:
    return hashlib.blake2b(node.encode() + b"\0" + role.encode(), digest_size=16).digest()
