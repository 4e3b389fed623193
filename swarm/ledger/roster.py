"""Who belongs to the swarm and who may admit others: a pure function of the set of roster operations.

The order in which operations arrive says nothing. What counts is who wrote them:

- The *founder* proves itself with the founding authority, whose id is the swarm's id.
- An *enroller* is a node that was given an authority of its own by an enroller. It has a rank: the founder's is first,
  then by distance from the founder, then by the time of the grant. Only hubs get one.
- An enroller admits nodes (`enrol`, which also renames), and revokes any node; every node may revoke itself (leave).
- A revocation is final. It says how far its author knew the revoked node's logs (*cut*); what lies beyond is ignored
  in every view. Of several cuts the shortest counts.
- Of two enrollers that revoke each other without knowing it, the higher rank stays. Else anybody who is revoked for
  good reason could write an older-looking revocation of everybody else. The lower rank's revocation of a higher one
  stands whenever the higher one did not revoke it.
- A log with two operations in one place (`fork`, proved by both) counts up to there, and its node is frozen: it is
  believed no more until a person revokes it and lets it join anew.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Annotated, TypeAlias

import msgspec

from swarm.certificates import (
    MAX_CERTIFICATE_BYTES,
    AuthorityCertificate,
    BadCertificate,
    Bundle,
    NodeId,
    bundle_of,
    parse_authority,
)
from swarm.ledger.operation import (
    MAX_LOG_OPERATIONS,
    Epoch,
    Lane,
    LogId,
    NodeIdText,
    Operation,
    Position,
    decode_payload,
)
from swarm.ledger.run import Evidence, is_fork
from swarm.task import Name, Privacy

NO_LIMIT = MAX_LOG_OPERATIONS
Roles: TypeAlias = Annotated[tuple[Name, ...], msgspec.Meta(max_length=8)]
Accepts: TypeAlias = Annotated[tuple[Privacy, ...], msgspec.Meta(max_length=3)]
Pem: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_CERTIFICATE_BYTES)]

FOUND, ENROL, REVOKE, FORK = "roster.found", "roster.enrol", "roster.revoke", "roster.fork"


class Enrol(msgspec.Struct, frozen=True, omit_defaults=True):
    """`node` belongs to the swarm and is called so; with `authority` it may admit others. Also what a founder says of
    itself."""

    node: NodeIdText
    name: Name = ""
    roles: Roles = ()
    accepts: Accepts = ("home", "shared")
    """Lanes that it may be given."""
    authority: Pem = ""
    """Certificate of its own authority."""


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """How far one log of a node counts."""

    epoch: Epoch
    lane: Lane
    position: Position


class Revoke(msgspec.Struct, frozen=True, omit_defaults=True):
    """`node` belongs to the swarm no more. Its logs that are not in `cuts` do not count at all."""

    node: NodeIdText
    cuts: Annotated[tuple[Cut, ...], msgspec.Meta(max_length=256)] = ()
    reason: Name = ""


@dataclass(frozen=True)
class Member:
    """A node that was admitted."""

    node: NodeId
    name: str
    roles: tuple[str, ...]
    accepts: tuple[Privacy, ...]
    authorities: tuple[AuthorityCertificate, ...] = ()
    """Its own; with any, it admits others."""
    frozen: bool = False
    """It gave one number to two operations."""

    @property
    def may_enrol(self) -> bool:
        """Whether it admits and revokes others."""
        return bool(self.authorities) and not self.frozen


@dataclass(frozen=True)
class Roster:
    """What the roster operations come to."""

    founders: frozenset[NodeId] = frozenset()
    """One, unless the founding authority's key was stolen."""
    admitted: Mapping[NodeId, Member] = field(default_factory=dict)
    """With those who were revoked since."""
    cuts: Mapping[NodeId, Mapping[tuple[bytes, Lane], int]] = field(default_factory=dict)
    """How far each revoked node's logs count."""
    forks: Mapping[LogId, int] = field(default_factory=dict)
    """Sequence of the first operation that stands there twice."""
    named: frozenset[NodeId] = frozenset()
    """Whom anybody with a right ever named, revocations left aside: their roster logs go to every node, so that all
    nodes decide from the same operations."""

    @cached_property
    def members(self) -> Mapping[NodeId, Member]:
        """Those who belong to the swarm now."""
        return {node: member for node, member in self.admitted.items() if node not in self.cuts}

    def is_revoked(self, node: NodeId) -> bool:
        """Whether it was revoked or has left."""
        return node in self.cuts

    def serves(self, node: NodeId) -> Member | None:
        """The member, if it may be given operations."""
        member = self.members.get(node)
        return None if member is None or member.frozen else member

    @cached_property
    def bundle(self) -> Bundle:
        """The swarm's authorities."""
        current = [each for member in self.members.values() if member.may_enrol for each in member.authorities]
        every = [each for member in self.admitted.values() for each in member.authorities]
        return bundle_of(tuple(current), tuple(each for each in every if each not in current))

    def limit(self, log: LogId) -> int:
        """How far that log counts in views; of a roster log, how far it is kept."""
        limit = self.forks.get(log, NO_LIMIT + 1) - 1
        if log.lane == "roster":
            return limit if log.origin in self.named else 0
        if log.origin not in self.admitted:
            return 0
        cuts = self.cuts.get(log.origin)
        return limit if cuts is None else min(limit, cuts.get((log.epoch, log.lane), 0))


def resolve(swarm_id: str, operations: Iterable[Operation]) -> Roster:
    """The roster of these operations, in whatever order they come."""
    return _Resolution(swarm_id, operations).roster()


def founds(swarm_id: str, operation: Operation) -> bool:
    """Whether it is the founder's first word, which proves itself."""
    content = decode_payload(operation.payload, Enrol) if operation.kind == FOUND else None
    return content is not None and content.node == operation.id.log.origin and _founding(swarm_id, content)


# ---- how it is decided

_Rank: TypeAlias = tuple[int, int, NodeId]
"""Distance from the founder, hybrid time of the grant, id; the least is the highest."""
_NO_RANK: _Rank = (1 << 30, 0, "")


class _Resolution:
    def __init__(self, swarm_id: str, operations: Iterable[Operation]) -> None:
        self._swarm_id = swarm_id
        self._enrols: defaultdict[NodeId, list[tuple[Operation, Enrol]]] = defaultdict(list)
        self._revokes: list[tuple[Operation, Revoke]] = []
        self._forks: dict[LogId, int] = {}
        self._cuts: dict[NodeId, dict[tuple[bytes, Lane], int]] = {}
        founding: list[tuple[Operation, Enrol]] = []
        for operation in operations:
            origin = operation.id.log.origin
            if operation.kind in (ENROL, FOUND):
                enrol = decode_payload(operation.payload, Enrol)
                if enrol is None:
                    continue
                if operation.kind == ENROL:
                    self._enrols[origin].append((operation, enrol))
                elif enrol.node == origin and _founding(swarm_id, enrol):
                    founding.append((operation, enrol))
            elif operation.kind == REVOKE:
                revoke = decode_payload(operation.payload, Revoke)
                if revoke is not None:
                    self._revokes.append((operation, revoke))
            elif operation.kind == FORK:
                evidence = decode_payload(operation.payload, Evidence)
                if evidence is not None and _is_fork(evidence):
                    log = evidence.one.log
                    self._forks[log] = min(evidence.one.sequence, self._forks.get(log, evidence.one.sequence))
        self._founding = [each for each in founding if not self._is_forked(each[0])]

    def roster(self) -> Roster:
        named = self._named()
        self._accept_revocations()
        ranks = self._ranks()
        newest: dict[NodeId, tuple[Operation, Enrol]] = {}
        authorities: defaultdict[NodeId, dict[str, AuthorityCertificate]] = defaultdict(dict)
        for operation, enrol in self._effective(ranks):
            known = newest.get(enrol.node)
            if known is None or operation.order > known[0].order:
                newest[enrol.node] = (operation, enrol)
            if self._grants(enrol) and enrol.node in ranks:
                authority = _authority(enrol.authority)
                assert authority is not None
                authorities[enrol.node][authority.authority_id] = authority
        frozen = {log.origin for log in self._forks}
        return Roster(
            founders=frozenset(operation.id.log.origin for operation, _ in self._founding),
            admitted={
                node: Member(
                    node=node,
                    name=enrol.name,
                    roles=enrol.roles,
                    accepts=enrol.accepts,
                    authorities=tuple(authorities[node][each] for each in sorted(authorities[node])),
                    frozen=node in frozen,
                )
                for node, (_, enrol) in sorted(newest.items())
            },
            cuts=self._cuts,
            forks=self._forks,
            named=named,
        )

    def _effective(self, ranks: Mapping[NodeId, _Rank]) -> Iterable[tuple[Operation, Enrol]]:
        # No cut reaches the founder's first word: without it there is no swarm.
        yield from self._founding
        for author in ranks:
            yield from (each for each in self._enrols.get(author, ()) if self._counts(each[0]))

    def _named(self) -> frozenset[NodeId]:
        """Grows with every operation and never shrinks but for forks: what is asked of others must not depend on what
        came first."""
        named = {operation.id.log.origin for operation, _ in self._founding}
        waiting, granted = list(named), set(named)
        while waiting:
            for operation, enrol in self._enrols.get(waiting.pop(), ()):
                if self._is_forked(operation):
                    continue
                named.add(enrol.node)
                if enrol.node not in granted and self._grants(enrol):
                    granted.add(enrol.node)
                    waiting.append(enrol.node)
        return frozenset(named)

    def _ranks(self) -> dict[NodeId, _Rank]:
        """The enrollers, as far as the cuts of now allow: shortest distance first, as Dijkstra does."""
        ranks: dict[NodeId, _Rank] = {}
        waiting: list[_Rank] = [(0, operation.time, operation.id.log.origin) for operation, _ in self._founding]
        heapq.heapify(waiting)
        while waiting:
            rank = heapq.heappop(waiting)
            if rank[2] in ranks:
                continue
            ranks[rank[2]] = rank
            for operation, enrol in self._enrols.get(rank[2], ()):
                if enrol.node not in ranks and self._grants(enrol) and self._counts(operation):
                    heapq.heappush(waiting, (rank[0] + 1, operation.time, enrol.node))
        return ranks

    def _accept_revocations(self) -> None:
        """The highest rank first; one that was accepted stays, whatever is accepted after it."""
        left = self._revokes
        changed = True
        while changed and left:
            changed = False
            ranks = self._ranks()
            left.sort(key=lambda each: (ranks.get(each[0].id.log.origin, _NO_RANK), each[0].order))
            waiting: list[tuple[Operation, Revoke]] = []
            for index, (operation, revoke) in enumerate(left):
                author = operation.id.log.origin
                if not (author in ranks or author == revoke.node) or not self._counts(operation):
                    waiting.append((operation, revoke))
                    continue
                self._cut(revoke)
                if revoke.node in ranks:  # who has a right, and which rank, is another question now
                    waiting += left[index + 1 :]
                    changed = True
                    break
            left = waiting

    def _cut(self, revoke: Revoke) -> None:
        cuts: dict[tuple[bytes, Lane], int] = {}
        for each in revoke.cuts:
            place = (each.epoch, each.lane)
            cuts[place] = min(each.position, cuts.get(place, each.position))
        before = self._cuts.get(revoke.node)
        if before is not None:
            cuts = {place: min(cuts[place], before[place]) for place in cuts.keys() & before.keys()}
        self._cuts[revoke.node] = cuts

    def _counts(self, operation: Operation) -> bool:
        log = operation.id.log
        cuts = self._cuts.get(log.origin)
        within = cuts is None or operation.id.sequence <= cuts.get((log.epoch, log.lane), 0)
        return within and not self._is_forked(operation)

    def _is_forked(self, operation: Operation) -> bool:
        return operation.id.sequence >= self._forks.get(operation.id.log, NO_LIMIT + 1)

    def _grants(self, enrol: Enrol) -> bool:
        if not enrol.authority or "hub" not in enrol.roles:
            return False
        authority = _authority(enrol.authority)
        return authority is not None and (authority.swarm_id, authority.enroller) == (self._swarm_id, enrol.node)


def _founding(swarm_id: str, content: Enrol) -> bool:
    authority = _authority(content.authority)
    return (
        authority is not None
        and authority.authority_id == authority.swarm_id == swarm_id
        and authority.enroller == content.node
    )


@lru_cache(maxsize=256)
def _authority(pem: str) -> AuthorityCertificate | None:
    try:
        return parse_authority(pem)
    except BadCertificate:
        return None


@lru_cache(maxsize=256)
def _is_fork(evidence: Evidence) -> bool:
    return is_fork(evidence)
