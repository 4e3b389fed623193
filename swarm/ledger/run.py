"""Runs of operations under one signature, and the proof that a node gave one number to two operations. Pure."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from swarm.certificates import BadCertificate, NodeId, id_of, load_public_key
from swarm.errors import MalformedMessage
from swarm.ledger.operation import (
    MAX_RUN_BYTES,
    MAX_RUN_OPERATIONS,
    Epoch,
    Hash,
    Lane,
    LogId,
    Operation,
    Sequence,
    chain,
    chain_digests,
    decode_body,
    signed_bytes,
)

PublicKey = Annotated[bytes, msgspec.Meta(min_length=44, max_length=44)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]


class Run(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of one log."""

    key: PublicKey
    """Of the origin, whose id is derived from it."""
    epoch: Epoch
    lane: Lane
    first: Sequence
    previous: Hash
    """The hash before `first`, as the origin signed it: it shows a fork for what it is."""
    bodies: Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=MAX_RUN_OPERATIONS)]
    signature: Signature
    """Over the hash after the last one."""

    @property
    def last(self) -> int:
        """Sequence of the last operation."""
        return self.first + len(self.bodies) - 1


@dataclass(frozen=True)
class CheckedRun:
    """A run whose signature is good and whose operations can be read."""

    run: Run
    log: LogId
    operations: SequenceOf[Operation]
    hash: bytes
    """After the last operation."""


def check_run(run: Run) -> CheckedRun:
    """Raises `MalformedMessage` when it is too large, cannot be read, or was not signed by its origin.

    That it continues the log in its place is for whoever has the log to see: `previous`.
    """
    origin, key = _owner(run.key)
    log = LogId(origin, run.epoch, run.lane)
    if len(run.bodies) > 1 and sum(map(len, run.bodies)) > MAX_RUN_BYTES:
        raise MalformedMessage(f"a run of the {log} has more than {MAX_RUN_BYTES} bytes")
    hash_ = chain(run.previous, run.bodies)
    _verify(key, run.signature, signed_bytes(run.last, hash_), f"operations {run.first} to {run.last} of the {log}")
    operations = [decode_body(log, run.first + index, body) for index, body in enumerate(run.bodies)]
    return CheckedRun(run, log, operations, hash_)


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """That the origin signed this operation in this place."""

    key: PublicKey
    epoch: Epoch
    lane: Lane
    sequence: Sequence
    previous: Hash
    body: Annotated[bytes, msgspec.Meta(max_length=MAX_RUN_BYTES)]
    after: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=MAX_RUN_OPERATIONS)]
    """Digests of the bodies that follow, up to the signature."""
    signature: Signature

    @property
    def log(self) -> LogId:
        """Whose word it is."""
        return LogId(id_of(self.key), self.epoch, self.lane)

    @property
    def hash(self) -> bytes:
        """After the operation."""
        return chain(self.previous, (self.body,))


def check_proof(proof: Proof) -> None:
    """Raises `MalformedMessage` when the origin signed nothing of the kind."""
    _, key = _owner(proof.key)
    position = proof.sequence + len(proof.after)
    signed = signed_bytes(position, chain_digests(proof.hash, proof.after))
    _verify(key, proof.signature, signed, f"the proof of operation {proof.sequence} of the {proof.log}")


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """Two operations with one number, both signed: the first place where a log was forked."""

    one: Proof
    other: Proof


def is_fork(evidence: Evidence) -> bool:
    """Whether it proves what it says."""
    one, other = evidence.one, evidence.other
    if (one.log, one.sequence, one.previous) != (other.log, other.sequence, other.previous) or one.body == other.body:
        return False
    try:
        check_proof(one)
        check_proof(other)
    except MalformedMessage:
        return False
    return True


@lru_cache(maxsize=1024)
def _owner(public_key: bytes) -> tuple[NodeId, Ed25519PublicKey]:
    try:
        return id_of(public_key), load_public_key(public_key)
    except BadCertificate as error:
        raise MalformedMessage(f"operations of nobody: {error}") from error


def _verify(key: Ed25519PublicKey, signature: bytes, data: bytes, what: str) -> None:
    try:
        key.verify(signature, data)
    except InvalidSignature:
        raise MalformedMessage(f"{what}: the signature is not its origin's, or something was changed") from None
