"""Whom this node believes: the swarm's authorities, its members, and who was revoked.

`judge` is the one decision about a certificate; TLS, requests and open connections all ask it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Protocol

import msgspec

from swarm.certificates import (
    RENEWABLE_AFTER_END_S,
    AuthorityCertificate,
    BadCertificate,
    Bundle,
    NodeCertificate,
    NodeId,
    bundle_of,
    parse_bundle,
)
from swarm.errors import StorageError
from swarm.private_file import read_private, write_private

MAX_MEMBERS = 4_096
"""Members, and as many revoked; beyond, no more are admitted."""


class Trust(Protocol):
    """What a node knows of its swarm. Every method answers from memory."""

    @property
    def swarm_id(self) -> str:
        """The swarm's id."""

    def bundle(self) -> Bundle:
        """Its authorities; the same object until they change."""

    def is_revoked(self, node_id: NodeId) -> bool:
        """Whether the node was revoked or has left: nothing of it is accepted, for good."""

    def is_member(self, node_id: NodeId) -> bool:
        """Whether the roster has it. A node admitted a moment ago may not have reached this roster yet: a valid
        certificate is enough to speak; what outlives the certificate (renewal) needs membership."""

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed`, in the event loop, after each change; returns what ends that."""


Standing = Literal[
    "admitted", "renew_only", "other_swarm", "revoked", "unknown_authority", "not_yet_valid", "expired", "not_itself"
]
"""`renew_only`: a member whose certificate ended while it was off. `not_itself`: another node than the expected one."""

REASONS: dict[Standing, str] = {
    "renew_only": "its certificate has ended; it may only renew it",
    "other_swarm": "it belongs to another swarm",
    "revoked": "it was revoked",
    "unknown_authority": "no enroller of this swarm admitted it",
    "not_yet_valid": "its certificate is not valid yet: one of the two clocks is wrong",
    "expired": "its certificate has ended, or one of the two clocks is wrong",
    "not_itself": "it is another node than the one expected there",
}


def judge(certificate: NodeCertificate, trust: Trust, now: float) -> Standing:
    """How the owner of a certificate, whose signature was verified against the bundle, stands with us at `now`."""
    bundle = trust.bundle()
    member = trust.is_member(certificate.node_id)
    if certificate.swarm_id != trust.swarm_id:
        return "other_swarm"
    if trust.is_revoked(certificate.node_id):
        return "revoked"
    if certificate.issuer not in bundle.current and not (certificate.issuer in bundle.retired and member):
        return "unknown_authority"
    if now < certificate.not_before:
        return "not_yet_valid"
    if now >= certificate.not_after:
        return "renew_only" if member and now < certificate.not_after + RENEWABLE_AFTER_END_S else "expired"
    return "admitted"


class _Roster(msgspec.Struct, frozen=True):
    swarm_id: str
    members: Annotated[dict[str, str], msgspec.Meta(max_length=MAX_MEMBERS)] = {}
    """Name by node id."""
    revoked: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_MEMBERS)] = ()
    retired: str = ""
    """Authorities that admit nobody any more, PEM."""


class FileTrust:
    """`Trust` kept in two files of the identity folder, `bundle.pem` and `roster.json`."""

    def __init__(self, folder: Path, roster: _Roster, current: tuple[AuthorityCertificate, ...]) -> None:
        """See `create_trust` and `load_trust`."""
        self._folder = folder
        self._subscribers: list[Callable[[], None]] = []
        self._writing = asyncio.Lock()
        self._take(roster, current)

    @property
    def swarm_id(self) -> str:
        """The swarm's id."""
        return self._roster.swarm_id

    def bundle(self) -> Bundle:
        """Its authorities; the same object until they change."""
        return self._bundle

    def is_revoked(self, node_id: NodeId) -> bool:
        """Whether the node was revoked."""
        return node_id in self._revoked

    def is_member(self, node_id: NodeId) -> bool:
        """Whether it was admitted and not revoked."""
        return node_id in self._roster.members and node_id not in self._revoked

    def members(self) -> dict[NodeId, str]:
        """Names by id, without those revoked."""
        return {each: name for each, name in self._roster.members.items() if each not in self._revoked}

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after each change; returns what ends that."""
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed) if changed in self._subscribers else None

    async def admit(self, node_id: NodeId, name: str) -> None:
        """A new member, on disk when this returns. Raises `StorageError`, for a full roster too."""
        roster = self._roster
        if node_id not in roster.members and len(roster.members) >= MAX_MEMBERS:
            raise StorageError(f"the roster has {MAX_MEMBERS} members and takes no more")
        await self._change(msgspec.structs.replace(roster, members={**roster.members, node_id: name}))

    async def revoke(self, node_id: NodeId) -> None:
        """Believe the node no more, at once; if it is an enroller, it admits nobody any more.

        In force when this is called, on disk when it returns. Raises `StorageError` if only the latter failed.
        """
        gone = tuple(each for each in self._bundle.current.values() if each.enroller == node_id)
        retired = (*self._bundle.retired.values(), *gone)
        roster = msgspec.structs.replace(
            self._roster,
            members={each: name for each, name in self._roster.members.items() if each != node_id},
            revoked=tuple(dict.fromkeys((*self._roster.revoked, node_id))),
            retired="".join(each.pem for each in retired),
        )
        await self._change(roster, tuple(each for each in self._bundle.current.values() if each not in gone))

    async def add_authority(self, authority: AuthorityCertificate) -> None:
        """Honour another enroller. Raises `BadCertificate` when it is not of this swarm, `StorageError`."""
        if authority.swarm_id != self.swarm_id:
            raise BadCertificate(f"the authority {authority.authority_id} is of another swarm")
        await self._change(self._roster, (*self._bundle.current.values(), authority))

    async def _change(self, roster: _Roster, current: tuple[AuthorityCertificate, ...] | None = None) -> None:
        self._take(roster, tuple(self._bundle.current.values()) if current is None else current)
        for changed in tuple(self._subscribers):
            changed()
        async with self._writing:  # the newest state is written last
            await asyncio.to_thread(_write, self._folder, self._roster, self._bundle)

    def _take(self, roster: _Roster, current: tuple[AuthorityCertificate, ...]) -> None:
        bundle = bundle_of(current, parse_bundle(roster.retired))
        self._roster = roster
        self._revoked = frozenset(roster.revoked)
        self._bundle = bundle


def create_trust(folder: Path, swarm_id: str, authorities: tuple[AuthorityCertificate, ...]) -> FileTrust:
    """Begin to believe these authorities; replaces what `folder` held. Raises `StorageError`, `BadCertificate`."""
    for each in authorities:
        if each.swarm_id != swarm_id:
            raise BadCertificate(f"the authority {each.authority_id} is of another swarm")
    trust = FileTrust(folder, _Roster(swarm_id), authorities)
    _write(folder, trust._roster, trust._bundle)
    return trust


def load_trust(folder: Path) -> FileTrust | None:
    """What `folder` holds, None when the node belongs to no swarm. Raises `StorageError`, `BadCertificate`."""
    data, bundle = read_private(folder / "roster.json"), read_private(folder / "bundle.pem")
    if data is None or bundle is None:
        return None
    try:
        roster = msgspec.json.decode(data, type=_Roster)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # Going on with an empty one would let those in again who were revoked.
        raise StorageError(
            f"{folder / 'roster.json'} cannot be read: {error}", hint="restore it, or let the node join again"
        ) from error
    return FileTrust(folder, roster, parse_bundle(bundle.decode("ascii", "replace")))


def _write(folder: Path, roster: _Roster, bundle: Bundle) -> None:
    # The roster first: whoever was revoked stays so when the power goes between the two writes.
    write_private(folder / "roster.json", msgspec.json.encode(roster))
    write_private(folder / "bundle.pem", "".join(each.pem for each in bundle.current.values()).encode())
