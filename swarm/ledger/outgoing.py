"""The one place where operations leave this node. What is not allowed here is not sent.

A member gets roster logs, and the lanes that the roster marks it for. Everybody else gets nothing, and of other lanes
nobody learns so much as that they exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated

import msgspec

from swarm.ledger.operation import MAX_LOGS, Epoch, Hash, Lane, LogId, Position, Sequence
from swarm.ledger.roster import Member, Roster
from swarm.ledger.run import Proof, PublicKey, Run
from swarm.ledger.storage import Storage

MAX_ANSWER_BYTES = 1024 * 1024
"""Bodies in one answer with runs; the last run may exceed it."""
MAX_WANTS = 256
"""In one question."""


class KnownHead(msgspec.Struct, frozen=True, array_like=True):
    """How much of a log a node has that counts."""

    key: PublicKey
    epoch: Epoch
    lane: Lane
    position: Position
    hash: Hash


class Heads(msgspec.Struct, frozen=True):
    """All that the asker may have."""

    heads: Annotated[tuple[KnownHead, ...], msgspec.Meta(max_length=MAX_LOGS)]


class Want(msgspec.Struct, frozen=True, array_like=True):
    """A log is wanted from after this position on."""

    log: LogId
    after: Position


class Wants(msgspec.Struct, frozen=True):
    """A question for runs."""

    wants: Annotated[tuple[Want, ...], msgspec.Meta(min_length=1, max_length=MAX_WANTS)]


class Runs(msgspec.Struct, frozen=True):
    """The answer: for each log wanted nothing, or runs that continue it."""

    runs: Annotated[tuple[Run, ...], msgspec.Meta(max_length=4096)]


class WantProof(msgspec.Struct, frozen=True):
    """A question for a proof."""

    log: LogId
    sequence: Sequence


def may_have(member: Member, lane: Lane) -> bool:
    """Whether that member may be given that lane."""
    return lane == "roster" or lane in member.accepts


def heads_for(member: Member, storage: Storage, roster: Roster) -> Heads:
    """What there is for that member."""
    known: list[KnownHead] = []
    for log, head in storage.heads().items():
        position = min(head.position, roster.limit(log))
        if position and may_have(member, log.lane):
            hash_ = storage.hash_at(head, position)
            known.append(KnownHead(head.key, log.epoch, log.lane, position, hash_))
    return Heads(tuple(known))


def digest_of(heads: Heads) -> str:
    """Equal where the same is known: nothing has to be asked then."""
    every = sorted((each.key, each.epoch, each.lane, each.position, each.hash) for each in heads.heads)
    return hashlib.sha256(msgspec.msgpack.encode(every)).hexdigest()


def runs_for(member: Member, storage: Storage, roster: Roster, wants: Iterable[Want]) -> Runs:
    """As much of what is wanted as one answer may have."""
    runs: list[Run] = []
    size = 0
    for want in wants:
        head = storage.head(want.log) if may_have(member, want.log.lane) else None
        if head is None:
            continue
        after, end = want.after, min(head.position, roster.limit(want.log))
        while after < end and size < MAX_ANSWER_BYTES:
            run = storage.run(head, after)
            runs.append(run)
            size += sum(map(len, run.bodies))
            after = run.last
    return Runs(tuple(runs))


def proof_for(member: Member, storage: Storage, want: WantProof) -> Proof | None:
    """None when that operation is not here for that member."""
    head = storage.head(want.log) if may_have(member, want.log.lane) else None
    return None if head is None or want.sequence > head.position else storage.proof(head, want.sequence)
