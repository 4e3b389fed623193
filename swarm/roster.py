"""Who belongs to the swarm, as this node knows it, and the few ways in which that changes.

`swarm.trust` decides by it whom to believe. What keeps it is bound to its place here, in `load_roster`, and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from swarm.certificates import AuthorityCertificate, NodeId
from swarm.errors import MycoswarmError
from swarm.trust import Trust, load_trust

MIN_PREFIX = 4
"""Characters of an id that a person must type at least."""


class Roster(Trust, Protocol):
    """A node's knowledge of its swarm, and the changes that it may make to it. Every change is in force when it is
    called and on disk when it returns; each may raise `StorageError`."""

    def members(self) -> Mapping[NodeId, str]:
        """Names by id, without those revoked."""

    async def admit(self, node_id: NodeId, name: str) -> None:
        """A new member."""

    async def revoke(self, node_id: NodeId) -> None:
        """Believe the node no more; if it is an enroller, it admits nobody any more."""

    async def add_authority(self, authority: AuthorityCertificate) -> None:
        """Honour another enroller. Raises `BadCertificate` when it is not of this swarm."""


def load_roster(folder: Path) -> Roster | None:
    """What the identity folder holds, None when the node belongs to no swarm. Raises `StorageError`,
    `BadCertificate`."""
    return load_trust(folder)


def is_enroller(trust: Trust, node_id: NodeId) -> bool:
    """Whether the node may admit others."""
    return any(each.enroller == node_id for each in trust.bundle().current.values())


def find_member(members: Mapping[NodeId, str], text: str) -> NodeId:
    """The member that a person means by its name, its id, or the beginning of its id. Raises `MycoswarmError`."""
    wanted = text.strip()
    by_name = [node for node, name in members.items() if name == wanted]
    by_id = [node for node in members if len(wanted) >= MIN_PREFIX and node.startswith(wanted.lower())]
    found = sorted(set(by_name) | set(by_id))
    if len(found) == 1:
        return found[0]
    if found:
        raise MycoswarmError(
            f"{len(found)} nodes are called {wanted:.64}", hint=f"say which by its id: {', '.join(found[:8])}"
        )
    known = ", ".join(sorted(set(members.values()))[:16])
    raise MycoswarmError(
        f"no node of this swarm is called {wanted:.64}",
        hint=f"known here: {known or 'none'}; mycoswarm nodes lists them",
    )
