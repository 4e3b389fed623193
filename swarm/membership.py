"""Which nodes there are and which of them live, from what was heard of them. Pure: every call takes `now` (seconds).

A node speaks every `BEAT_S`. Each beat carries the node's *incarnation*, a number that grows with every start of its
daemon (kept on its disk, so that a clock set back does no harm), and a sequence number within it. Only a beat newer
than the newest one known counts: what was delayed, repeated or recorded raises no ghost, and a restarted node replaces
its former self at once. As in SWIM (Das, Gupta, Motivala 2002) a silent node is first suspected, then dead; unlike
there, everybody hears everybody, which a home's ten to fifty nodes can afford (300 bytes a beat).

::

    silent for    0 s ........ 2 s ........ 3 s ...... 600 s
                  alive        suspect      dead       forgotten
    connection refused, or said goodbye:    dead at once, until it starts anew or is heard for a second time
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from swarm.capability import PROTOCOL, Capability, Member, MemberState
from swarm.task import Name, Privacy

BEAT_S = 0.8
"""Three fit into `DEAD_S` with room for delay: one lost beat changes nothing, two make a suspect."""
SUSPECT_S = 2.0
DEAD_S = 3.0
HOLD_S = 1.0
"""After a refused connection or a goodbye, for so long beats of the same incarnation may be late ones from before."""
BACK_S = 3.0
"""A node that has just died may be back within this: one that got another address as soon as the old connection is
given up (`swarm.link_transport.SILENT_S`), one that starts anew too."""
FORGET_S = 600.0
"""The dead are remembered against late beats, and so that a person can see that a node is missing."""
MAX_MEMBERS = 256
MAX_ADDRESSES = 8


class Beat(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node says of itself, at its start, every `BEAT_S`, and with `leaving` at its end."""

    node: Name
    incarnation: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    sequence: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    name: Name = ""
    roles: Annotated[tuple[Name, ...], msgspec.Meta(max_length=8)] = ()
    addresses: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_ADDRESSES)] = ()
    capabilities: Annotated[tuple[Capability, ...], msgspec.Meta(max_length=64)] = ()
    accepts: Annotated[tuple[Privacy, ...], msgspec.Meta(max_length=3)] = ("home", "shared")
    protocol: int = PROTOCOL
    tier: Name = ""
    """See `swarm.tier`; for people."""
    bus_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    """Of a hub, where others reach its broker; 0: it has none for them."""
    home_broker: bool = False
    """That broker is the home's own, to which devices are connected, and not one that the node started."""
    carries_bus: bool = False
    """That broker is the bus now."""
    served_by: Name = ""
    """Of a satellite that is no hub: the id of the hub that serves it, its own where it works alone."""
    leaving: bool = False


@dataclass
class _Known:
    addresses: tuple[str, ...]
    beat: Beat | None = None
    """The newest; None for a node that was only hinted at."""
    heard_at: float = 0.0
    hinted_at: float = 0.0
    ended_at: float | None = None
    """When it refused a connection or said goodbye; None while neither is the last that is known."""
    last_state: MemberState = field(default="dead")


class Membership:
    """Everybody but this node. Not thread-safe."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._known: dict[str, _Known] = {}
        self._members: tuple[Member, ...] | None = None

    def heard(self, beat: Beat, now: float) -> bool:
        """A beat that came from the node itself, by a connection or topic that proves it. True when it was news:
        the node was unknown, not alive, or has started anew."""
        if beat.node == self._me:
            return False
        known = self._known.get(beat.node)
        if known is None:
            if not self._make_room(now):
                return False
            known = self._known[beat.node] = _Known(beat.addresses)
        if known.beat is not None:
            old = known.beat
            if (beat.incarnation, beat.sequence) <= (old.incarnation, old.sequence):
                return False
            restarted = beat.incarnation > old.incarnation
        else:
            restarted = True
        was = _state(known, now)
        held = known.ended_at is not None and not restarted and now - known.ended_at < HOLD_S
        known.beat, self._members = beat, None
        if beat.addresses:
            known.addresses = beat.addresses
        if beat.leaving:
            known.ended_at = now
            return was != "dead"
        if held:
            return False
        known.ended_at, known.heard_at = None, now
        return restarted or was != "alive"

    def hinted(self, node: str, addresses: tuple[str, ...], now: float) -> bool:
        """Somebody unproved (mDNS, a retained message, an old note) says where a node may be. It is no member by that,
        but `to_probe` lists it. True when it is not alive already: it is worth a look now."""
        if node == self._me:
            return False
        known = self._known.get(node)
        if known is None:
            if not self._make_room(now):
                return False
            known = self._known[node] = _Known(addresses[:MAX_ADDRESSES])
        elif _state(known, now) == "alive":
            return False  # the node's own word about its addresses is better
        known.hinted_at, self._members = now, None
        known.addresses = tuple(dict.fromkeys((*addresses, *known.addresses)))[:MAX_ADDRESSES]
        return True

    def refused(self, node: str, now: float) -> None:
        """Nobody listens at any of its addresses: its machine runs and its daemon does not."""
        known = self._known.get(node)
        if known is not None:
            known.ended_at, self._members = now, None

    def revoked(self, node: str) -> None:
        """It is no node of ours any more: forget it. Its beats come no further than its certificate."""
        if self._known.pop(node, None):
            self._members = None

    def state(self, node: str, now: float) -> MemberState:
        """Of one node; `dead` when it is unknown."""
        known = self._known.get(node)
        return "dead" if known is None else _state(known, now)

    def addresses(self, node: str) -> tuple[str, ...]:
        """Where it may be reached, the likeliest first."""
        known = self._known.get(node)
        return known.addresses if known else ()

    def roles(self, node: str) -> tuple[str, ...]:
        """What it said of itself last; nothing when it never spoke."""
        known = self._known.get(node)
        return known.beat.roles if known is not None and known.beat is not None else ()

    def members(self, now: float) -> tuple[Member, ...]:
        """All that ever spoke and are not forgotten, the dead too."""
        changed = self._members is None
        for known in self._known.values():
            state = _state(known, now)
            if state != known.last_state:
                known.last_state, changed = state, True
        if changed or self._members is None:
            self._members = tuple(
                _member(known.beat, known) for known in self._known.values() if known.beat is not None
            )
        return self._members

    def to_probe(self, now: float) -> tuple[str, ...]:
        """Whom to send a beat: the living, the lately dead (they may be back) and those that were hinted at lately."""
        return tuple(
            node
            for node, known in self._known.items()
            if known.addresses and now - max(known.heard_at, known.hinted_at) < FORGET_S
        )

    def _make_room(self, now: float) -> bool:
        if len(self._known) < MAX_MEMBERS:
            return True
        dead = [node for node, known in self._known.items() if _state(known, now) == "dead"]
        if not dead:
            return False
        del self._known[min(dead, key=lambda node: max(self._known[node].heard_at, self._known[node].hinted_at))]
        self._members = None
        return True

    def forget(self, now: float) -> None:
        """Drop those that were not heard or hinted at for `FORGET_S`."""
        old = [n for n, known in self._known.items() if now - max(known.heard_at, known.hinted_at) >= FORGET_S]
        for node in old:
            del self._known[node]
            self._members = None


def may_be_back(member: Member, now: float) -> bool:
    """It died so lately that whoever needs it should wait a moment."""
    return member.state == "dead" and now - member.heard_at < DEAD_S + BACK_S


def _state(known: _Known, now: float) -> MemberState:
    if known.beat is None or known.ended_at is not None:
        return "dead"
    silent = now - known.heard_at
    return "alive" if silent < SUSPECT_S else "suspect" if silent < DEAD_S else "dead"


def _member(beat: Beat, known: _Known) -> Member:
    return Member(
        node=beat.node,
        name=beat.name or beat.node,
        state=known.last_state,
        capabilities=beat.capabilities,
        roles=beat.roles,
        addresses=known.addresses,
        accepts=beat.accepts,
        protocol=beat.protocol,
        tier=beat.tier,
        bus_port=beat.bus_port,
        home_broker=beat.home_broker,
        carries_bus=beat.carries_bus,
        served_by=beat.served_by,
        heard_at=known.heard_at,
    )
