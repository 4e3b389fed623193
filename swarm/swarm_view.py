"""What the people's port tells of the swarm."""

from __future__ import annotations

from typing import Literal

import msgspec

from swarm.capability import Capability

KEY_HEADER = "X-Mycoswarm-Key"
"""Carries the key of `node.json` to what changes the swarm."""


class NodeView(msgspec.Struct, frozen=True):
    """One node of the swarm."""

    node: str
    """Its id."""
    name: str
    roles: tuple[str, ...] = ()
    tier: str = ""
    """See `swarm.tier`; empty while it is not known."""
    addresses: tuple[str, ...] = ()
    """`host:port` of its nodes' port."""
    state: Literal["alive", "suspect", "dead", "unknown", "revoked"] = "unknown"
    """`unknown`: it belongs to the swarm and was not heard since this node started."""
    seen_s: float | None = None
    """Seconds since it spoke last."""
    capabilities: tuple[Capability, ...] = ()
    admits: bool = False
    """It is an enroller."""
    bus: bool = False
    """It carries the bus, as far as the asked node knows."""
    bus_port: int = 0
    """Of a hub, for the other nodes; 0 when it has none, or while it is not known."""
    served_by: str = ""
    """Of a satellite that is no hub: the name of the hub that serves it, its own where it works alone."""
    here: bool = False
    """It is the node that was asked."""


class SwarmView(msgspec.Struct, frozen=True):
    """The asked node's own part in the swarm; all empty when it belongs to none."""

    swarm_id: str = ""
    node_id: str = ""
    admits: bool = False
    enrolment_port: int = 0
    """0 while it is closed."""
    certificate_left_s: int = 0
    tier: str = ""
    tier_because: str = ""
    tier_missing: str = ""
    bus: str = ""
    """Id of the hub that carries the bus; empty while it is looked for."""
    bus_waits: str = ""
    """Why there is no bus, without a full stop."""


class TokenView(msgspec.Struct, frozen=True):
    """An invitation, made a moment ago."""

    token: str
    id: str
    valid_s: float
    addresses: tuple[tuple[str, int], ...]


class InvitationView(msgspec.Struct, frozen=True):
    """An invitation, without what would let somebody in."""

    id: str
    left_s: int
    """Below 0: expired."""
    used_by: str = ""
    """Id of the node that used it."""


class PendingView(msgspec.Struct, frozen=True):
    """A machine that asks to be let in."""

    code: str
    name: str
    node: str
    address: str


class CodesView(msgspec.Struct, frozen=True):
    """All that ask, and where."""

    pending: tuple[PendingView, ...]
    port: int
    """0 while the enrolment port is not open yet."""
