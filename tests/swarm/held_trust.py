"""A `swarm.trust.Trust` that a test sets as it likes, kept in two files so that another process can read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from swarm.certificates import AuthorityCertificate, Bundle, NodeId, bundle_of, parse_bundle
from swarm.private_file import read_private, write_private


class _Kept(msgspec.Struct):
    swarm_id: str
    members: dict[str, str] = {}
    revoked: list[str] = []
    retired: str = ""


class HeldTrust:
    """Changes are in force, and on disk, when they return."""

    def __init__(self, folder: Path, kept: _Kept, current: tuple[AuthorityCertificate, ...]) -> None:
        self._folder = folder
        self._kept = kept
        self.swarm_id = kept.swarm_id
        self._subscribers: list[Callable[[], None]] = []
        self._bundle = bundle_of(current, parse_bundle(kept.retired))

    def bundle(self) -> Bundle:
        return self._bundle

    def is_revoked(self, node_id: NodeId) -> bool:
        return node_id in self._kept.revoked

    def is_member(self, node_id: NodeId) -> bool:
        return node_id in self._kept.members and node_id not in self._kept.revoked

    def members(self) -> dict[NodeId, str]:
        return {each: name for each, name in self._kept.members.items() if each not in self._kept.revoked}

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed) if changed in self._subscribers else None

    async def admit(self, node_id: NodeId, name: str, roles: tuple[str, ...] = ()) -> None:
        self._kept.members[node_id] = name
        self._changed(tuple(self._bundle.current.values()))

    async def revoke(self, node_id: NodeId) -> None:
        """If it is an enroller, it admits nobody any more."""
        gone = tuple(each for each in self._bundle.current.values() if each.enroller == node_id)
        self._kept.members.pop(node_id, None)
        self._kept.revoked.append(node_id)
        self._kept.retired += "".join(each.pem for each in gone)
        self._changed(tuple(each for each in self._bundle.current.values() if each not in gone))

    async def add_authority(self, authority: AuthorityCertificate) -> None:
        """Honour another enroller."""
        self._changed((*self._bundle.current.values(), authority))

    def _changed(self, current: tuple[AuthorityCertificate, ...]) -> None:
        self._bundle = bundle_of(current, parse_bundle(self._kept.retired))
        for changed in tuple(self._subscribers):
            changed()
        self.write()

    def write(self) -> None:
        write_private(self._folder / "roster.json", msgspec.json.encode(self._kept))
        write_private(self._folder / "held.pem", "".join(each.pem for each in self._bundle.current.values()).encode())


def create_trust(folder: Path, swarm_id: str, authorities: tuple[AuthorityCertificate, ...]) -> HeldTrust:
    """Begin to believe these authorities."""
    trust = HeldTrust(folder, _Kept(swarm_id), authorities)
    trust.write()
    return trust


def load_trust(folder: Path) -> HeldTrust | None:
    """What `folder` holds."""
    data, bundle = read_private(folder / "roster.json"), read_private(folder / "held.pem")
    if data is None or bundle is None:
        return None
    return HeldTrust(folder, msgspec.json.decode(data, type=_Kept), parse_bundle(bundle.decode()))
