"""Who is on the bus: what each node says of itself there, and a table of it that no repeated message fools. Pure.

A node's presence is retained by the broker, so whoever connects learns of everybody at once. It is replaced when
something changes that lasts (models, addresses, roles), and by its Last Will when the node is lost. What changes with
every task is in its health and, between nodes that work together, in their beats (`swarm.membership`).

Each presence carries the node's incarnation (a number that grows with every start of its daemon), the number of the
connection to a broker within it, and a number within the connection. The Last Will of a connection comes after all else
of it and before everything of the next one. So the order of any two is known, whatever broker kept them for how long:
what is old, repeated or recorded changes nothing.

Presence is a hint, like all of discovery: the node's certificate proves it when somebody connects there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

import msgspec

from swarm.bus_rules import presence_topic
from swarm.capability import PROTOCOL, Capability
from swarm.certificates import NodeId
from swarm.errors import MalformedMessage
from swarm.hardware import Hardware
from swarm.health import Health
from swarm.membership import MAX_ADDRESSES
from swarm.task import Name, Privacy

MAX_BYTES = 48 * 1024
"""Of one presence; 64 capabilities and 16 GPUs have 30 kB."""
MAX_NODES = 256
SETTLE_S = 10.0
"""After a connection to a broker, whoever has not been heard of there by then is not there."""

Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
LAST = 2**53
"""The number of a Last Will within its connection."""


class Document(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node is and offers, as it changes now and then."""

    name: Name = ""
    """For people."""
    roles: Annotated[tuple[Name, ...], msgspec.Meta(max_length=8)] = ()
    addresses: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_ADDRESSES)] = ()
    """`host:port` of its nodes' port."""
    capabilities: Annotated[tuple[Capability, ...], msgspec.Meta(max_length=64)] = ()
    accepts: Annotated[tuple[Privacy, ...], msgspec.Meta(max_length=3)] = ("home", "shared")
    hardware: Hardware | None = None
    tier: Name = ""
    version: Name = ""
    """Of the package."""
    protocol: int = PROTOCOL


class Presence(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node's presence topic holds."""

    node: Name
    incarnation: Number
    connection: Number
    sequence: Number
    document: Document | None = None
    """None when the node is gone."""

    @property
    def order(self) -> tuple[int, int, int]:
        """The larger one is the newer."""
        return self.incarnation, self.connection, self.sequence


def lasting(document: Document) -> Document:
    """The document without what changes from one task, or one minute, to the next."""
    hardware = document.hardware
    if hardware is not None:
        hardware = msgspec.structs.replace(
            hardware,
            ram_available_bytes=0,
            cpu_temperature_c=None,
            disks=tuple(msgspec.structs.replace(disk, free_bytes=0) for disk in hardware.disks),
            gpus=tuple(
                msgspec.structs.replace(gpu, memory_used_bytes=0, busy_percent=None, temperature_c=None, power_w=None)
                for gpu in hardware.gpus
            ),
            battery=None,
            throttling=None,
        )
    capabilities = tuple(
        msgspec.structs.replace(each, running=0, waiting=0, backlog_s=(), prefixes=()) for each in document.capabilities
    )
    return msgspec.structs.replace(document, hardware=hardware, capabilities=capabilities)


def encode_presence(presence: Presence) -> bytes:
    """The bus message."""
    return _encoder.encode(presence)


def decode_presence(data: bytes, node: NodeId) -> Presence:
    """What came on the presence topic of `node`; raises `MalformedMessage`."""
    if len(data) > MAX_BYTES:
        raise MalformedMessage(f"a presence of {len(data)} bytes exceeds the limit of {MAX_BYTES}")
    try:
        presence = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not a node's presence: {error}") from error
    if presence.node != node:
        raise MalformedMessage(f"a presence of {presence.node:.40} on the topic of {node}")
    return presence


class OwnPresence:
    """This node's. Numbers it so that everybody knows the order."""

    def __init__(self, node: NodeId, incarnation: int, document: Document) -> None:
        """`incarnation` is larger than at any start before, whatever the clock says."""
        self.topic = presence_topic(node)
        self._node = node
        self._incarnation = incarnation
        self._connection = 0
        self._sequence = 0
        self._document = lasting(document)

    def change(self, document: Document) -> bool:
        """The node is and offers this from now on; True when that is news for others."""
        document = lasting(document)
        changed, self._document = document != self._document, document
        return changed

    def last_will(self) -> bytes:
        """Of a connection that begins now."""
        self._connection += 1
        self._sequence = 0
        return encode_presence(Presence(self._node, self._incarnation, self._connection, LAST))

    def here(self) -> bytes:
        """The presence to publish now."""
        self._sequence += 1
        return encode_presence(
            Presence(self._node, self._incarnation, self._connection, self._sequence, self._document)
        )

    def is_disturbed_by(self, presence: Presence) -> bool:
        """Whether the broker keeps something of this node that is not true now: an old Last Will that came late, or
        what somebody recorded."""
        return presence.order != (self._incarnation, self._connection, self._sequence)


@dataclass
class _Known:
    presence: Presence
    confirmed: bool = True
    """Heard of on this connection."""
    missing: bool = False
    """Not heard of on this connection for so long that it is not there."""
    health: Health | None = None
    health_at: float = 0.0


class PresenceTable:
    """Everybody on the bus but this node. Not thread-safe."""

    def __init__(self) -> None:
        self._known: dict[NodeId, _Known] = {}
        self._settles_at: float | None = None

    def connected(self, now: float) -> None:
        """There is a connection to a broker, maybe another one than before: it says anew who is there."""
        for known in self._known.values():
            known.confirmed = False
        self._settles_at = now + SETTLE_S

    def heard(self, presence: Presence) -> bool:
        """Whether it is news: what `present` says has changed."""
        known = self._known.get(presence.node)
        if known is None:
            if len(self._known) >= MAX_NODES and not self._make_room():
                return False
            self._known[presence.node] = _Known(presence)
            return presence.document is not None
        if presence.order < known.presence.order:
            return False
        if presence.order == known.presence.order and not known.missing:
            known.confirmed = True
            return False
        before = None if known.missing else known.presence.document
        known.presence, known.confirmed, known.missing = presence, True, False
        if presence.document is None:
            known.health = None
        return presence.document is not None or before is not None

    def heard_health(self, node: NodeId, health: Health, now: float) -> None:
        """How a node is; of nodes that are present only."""
        known = self._known.get(node)
        if known is not None and known.presence.document is not None and not known.missing:
            known.health, known.health_at = health, now

    def settle(self, now: float) -> tuple[NodeId, ...]:
        """Who turns out to be gone, because the broker did not mention it since the connection."""
        if self._settles_at is None or now < self._settles_at:
            return ()
        self._settles_at = None
        gone = []
        for node, known in self._known.items():
            if not known.confirmed and not known.missing and known.presence.document is not None:
                known.missing, known.health = True, None  # its numbers stay: an older presence must not bring it back
                gone.append(node)
        return tuple(gone)

    def present(self) -> Mapping[NodeId, Document]:
        """All nodes that are on the bus, as they describe themselves."""
        return MappingProxyType(
            {
                node: known.presence.document
                for node, known in self._known.items()
                if known.presence.document is not None and not known.missing
            }
        )

    def health(self, node: NodeId) -> tuple[Health, float] | None:
        """The latest, and when it came; None when the node is not there or has not said yet."""
        known = self._known.get(node)
        return None if known is None or known.health is None else (known.health, known.health_at)

    def forget(self, node: NodeId) -> None:
        """It is no node of ours any more."""
        self._known.pop(node, None)

    def _make_room(self) -> bool:
        for node, known in self._known.items():
            if known.presence.document is None or known.missing:
                del self._known[node]
                return True
        return False


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Presence)
