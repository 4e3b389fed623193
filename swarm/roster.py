"""Who belongs to the swarm, as this node knows it, and the few ways in which that changes.

`swarm.trust` decides by it whom to believe. It is kept in the ledger: what one node changes reaches all others
(`swarm.ledger_following`), and each works it out for itself from what enrollers signed.

::

    identity/ledger.db     the ledger
    identity/bundle.pem    the introduction: the swarm's authorities as the enroller told them that let this node in

A node believes the introduction only until the ledger says that the node is a member, a moment after it joined.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from swarm.certificates import AuthorityCertificate, BadCertificate, Bundle, NodeId, bundle_of, parse_bundle
from swarm.errors import MycoswarmError
from swarm.identity import Identity
from swarm.ledger.ledger import Ledger
from swarm.private_file import read_private, write_private
from swarm.trust import Trust

LEDGER, INTRODUCTION = "ledger.db", "bundle.pem"
"""In the identity folder, so that both go when the node forgets who it was."""
MIN_PREFIX = 4
"""Characters of an id that a person must type at least."""


class Roster:
    """A `Trust`, and the changes that this node may make to it. Belongs to one event loop.

    A change is in force and on disk when the method returns; the other nodes hear of it at once if they can be
    reached, else when they are back. Each raises `LedgerError`, and `NotEntitled` when it is not this node's to decide.
    """

    def __init__(self, ledger: Ledger, introduction: tuple[AuthorityCertificate, ...]) -> None:
        """`ledger` is open."""
        self.ledger = ledger
        self._introduction = introduction
        self._subscribers: list[Callable[[], None]] = []
        self._bundle = self._bundle_now()
        ledger.subscribe(self._follow)

    # ---- what it says, all from memory

    @property
    def swarm_id(self) -> str:
        """See `Trust`."""
        return self.ledger.swarm_id

    @property
    def is_known_here(self) -> bool:
        """Whether the ledger has come to this node, and names it."""
        return self.ledger.node in self.ledger.roster.admitted

    def bundle(self) -> Bundle:
        """See `Trust`."""
        return self._bundle

    def is_revoked(self, node_id: NodeId) -> bool:
        """See `Trust`. A node that was caught writing two histories is no better."""
        member = self.ledger.roster.admitted.get(node_id)
        return self.ledger.roster.is_revoked(node_id) or (member is not None and member.frozen)

    def is_member(self, node_id: NodeId) -> bool:
        """See `Trust`."""
        if self.ledger.roster.serves(node_id) is not None:
            return True
        introduced = node_id == self.ledger.node or any(each.enroller == node_id for each in self._introduction)
        return introduced and not self.is_known_here and not self.is_revoked(node_id)

    def members(self) -> Mapping[NodeId, str]:
        """Names by id, without those revoked."""
        return {node: member.name or node for node, member in self.ledger.roster.members.items()}

    def roles(self, node_id: NodeId) -> tuple[str, ...]:
        """What a member said that it is, as an enroller wrote it down; empty for everybody else."""
        member = self.ledger.roster.serves(node_id)
        return member.roles if member is not None else ()

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See `Trust`."""
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed) if changed in self._subscribers else None

    # ---- changing it

    async def admit(self, node_id: NodeId, name: str, roles: Iterable[str]) -> None:
        """A new member, or another name and other roles for one."""
        known, roles = self.ledger.roster.members.get(node_id), tuple(roles)
        if known is not None and known.authorities and "hub" not in roles:
            roles = ("hub", *roles)  # the right to admit others stays with it, whatever it does now
        if known is None:
            await self.ledger.enrol(node_id, name=name, roles=roles)
        elif (known.name, known.roles) != (name, roles):
            await self.ledger.enrol(node_id, name=name, roles=roles, accepts=known.accepts)

    async def grant(self, authority: AuthorityCertificate) -> None:
        """Let the hub that has this authority admit others. Raises `BadCertificate` when it is of another swarm."""
        if authority.swarm_id != self.swarm_id:
            raise BadCertificate(f"the authority {authority.authority_id} is of another swarm")
        await self.ledger.grant(authority.enroller, authority.pem)

    async def revoke(self, node_id: NodeId) -> None:
        """Believe the node no more, for good; if it is an enroller, it admits nobody any more."""
        await self.ledger.revoke(node_id)

    async def leave(self) -> None:
        """This node belongs to the swarm no more."""
        await self.ledger.leave()

    # ---- how it follows the ledger

    def _follow(self, changed: frozenset[str]) -> None:
        if "roster" not in changed:
            return
        bundle = self._bundle_now()
        if bundle != self._bundle:  # the same object as long as it says the same
            self._bundle = bundle
        for each in tuple(self._subscribers):
            each()

    def _bundle_now(self) -> Bundle:
        known = self.ledger.roster.bundle
        if self.is_known_here:
            return known
        return bundle_of((*self._introduction, *known.current.values()), tuple(known.retired.values()))


def introduced(folder: Path) -> tuple[AuthorityCertificate, ...]:
    """The introduction that the identity folder holds, empty when the machine belongs to no swarm.

    Raises `StorageError`, `BadCertificate`.
    """
    path = folder / INTRODUCTION
    data = read_private(path)
    if data is None:
        return ()
    authorities = parse_bundle(data.decode("ascii", "replace"))
    if len({each.swarm_id for each in authorities}) != 1:
        raise BadCertificate(f"{path} holds no authorities of one swarm", hint="restore it, or let the node join again")
    return authorities


def introduce(folder: Path, authorities: Iterable[AuthorityCertificate]) -> None:
    """Belong to the swarm of these authorities from now on. Raises `StorageError`."""
    write_private(folder / INTRODUCTION, "".join(each.pem for each in authorities).encode())


@asynccontextmanager
async def open_roster(identity: Identity) -> AsyncIterator[Roster]:
    """The roster of this node, which was introduced. One at a time may be open for a folder.

    Raises `LedgerError`, `StorageError`, `BadCertificate`.
    """
    introduction = introduced(identity.folder)
    if not introduction:
        raise MycoswarmError("this machine belongs to no swarm", hint="mycoswarm init begins one")
    async with Ledger(identity.folder / LEDGER, identity, introduction[0].swarm_id) as ledger:
        yield Roster(ledger, introduction)


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
