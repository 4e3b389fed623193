"""Operations, the logs they stand in, and how a log is chained. Pure.

A log belongs to one node (*origin*), one database of it (*epoch*: random, so a node whose disk was replaced begins a
new log instead of giving numbers twice) and one *lane*, its privacy: `roster` for every member, the others as in
`swarm.task.Privacy`. Operations are numbered from 1 without gaps. On disk and on the wire an operation is its *body*,
the MessagePack array (time, kind, payload). With H = SHA-256:

::

    hash 0     = H("mycoswarm ledger log 1\\0" + MessagePack of (swarm id, origin, epoch, lane))
    hash n     = H(hash n-1 + H(body n))
    signature  = Ed25519 of the origin over "mycoswarm ledger head 1\\0" + n (8 bytes, big-endian) + hash n

so one signature proves everything in the log up to n.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from swarm.errors import MalformedMessage

Lane = Literal["roster", "private", "home", "shared"]
LANES: tuple[Lane, ...] = ("roster", "private", "home", "shared")

MAX_PAYLOAD_BYTES = 16 * 1024
MAX_ROSTER_PAYLOAD_BYTES = 96 * 1024
"""The proof of a fork has two operations and up to `MAX_RUN_OPERATIONS` hashes for each."""
MAX_RUN_OPERATIONS = 512
"""Under one signature."""
MAX_RUN_BYTES = 512 * 1024
"""Bodies under one signature; one operation is always allowed."""
MAX_LOG_OPERATIONS = 1_000_000
MAX_LOG_BYTES = 256 * 1024**2
MAX_ROSTER_LOG_OPERATIONS = 20_000
MAX_ROSTER_LOG_BYTES = 32 * 1024**2
MAX_LOGS_OF_ONE = 64
"""Logs of one node in all lanes: sixteen databases."""
MAX_LOGS = 8_192

HASH_BYTES = 32
EPOCH_BYTES = 8
_BODY_BYTES = 100
"""A body without its payload takes less."""

NodeIdText = Annotated[str, msgspec.Meta(pattern="^[a-z2-7]{26}$")]
Epoch = Annotated[bytes, msgspec.Meta(min_length=EPOCH_BYTES, max_length=EPOCH_BYTES)]
Hash = Annotated[bytes, msgspec.Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
Sequence: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_LOG_OPERATIONS)]
Position: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_LOG_OPERATIONS)]
"""Number of a log's last operation; 0 for an empty one."""
Time: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Kind: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[a-z_]+\\.[a-z_]+$", max_length=64)]
"""The view it is for, a dot, what happened: `jobs.put`."""
T = TypeVar("T")


class LogId(msgspec.Struct, frozen=True, array_like=True, order=True, cache_hash=True):
    """Names a log."""

    origin: NodeIdText
    epoch: Epoch
    lane: Lane

    def __str__(self) -> str:
        return f"{self.lane} log {self.epoch.hex()} of {self.origin}"


class OperationId(msgspec.Struct, frozen=True, array_like=True, order=True, cache_hash=True):
    """Names an operation."""

    log: LogId
    sequence: Sequence


class Operation(msgspec.Struct, frozen=True):
    """One change, as views get it."""

    id: OperationId
    time: Time
    """See `swarm.ledger.hybrid_time`."""
    kind: Kind
    payload: msgspec.Raw
    """MessagePack."""

    @property
    def order(self) -> tuple[int, OperationId]:
        """Sorts operations that do not know of each other, equally on every node."""
        return self.time, self.id


class _Body(msgspec.Struct, frozen=True, array_like=True):
    time: Time
    kind: Kind
    payload: msgspec.Raw


_encoder = msgspec.msgpack.Encoder()
_body_decoder = msgspec.msgpack.Decoder(_Body)


def encode_payload(value: Any) -> bytes:
    """MessagePack of a value that msgspec can encode. Raises `TypeError`, `OverflowError` for any other."""
    return _encoder.encode(value)


def encode_body(time: int, kind: str, payload: bytes) -> bytes:
    """The body of an operation; `payload` from `encode_payload`."""
    return _encoder.encode(_Body(time, kind, msgspec.Raw(payload)))


def decode_body(log: LogId, sequence: int, body: bytes) -> Operation:
    """Parse and bound what stands at that place. Raises `MalformedMessage`."""
    roster = log.lane == "roster"
    if len(body) > _BODY_BYTES + (MAX_ROSTER_PAYLOAD_BYTES if roster else MAX_PAYLOAD_BYTES):
        raise MalformedMessage(f"operation {sequence} of the {log} has {len(body)} bytes, more than are read")
    try:
        read = _body_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"operation {sequence} of the {log} is none: {error}") from error
    if read.kind.startswith("roster.") != roster:
        raise MalformedMessage(f"operation {sequence} of the {log} is {read.kind}, which does not belong there")
    return Operation(OperationId(log, sequence), read.time, read.kind, read.payload)


def decode_payload(payload: bytes | msgspec.Raw, kind: type[T]) -> T | None:
    """A payload as `kind`; None when it is something else. A view ignores that, so that newer nodes may write it."""
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


# ---- the chain


def first_hash(swarm_id: str, log: LogId) -> bytes:
    """Hash 0."""
    return hashlib.sha256(b"mycoswarm ledger log 1\0" + _encoder.encode((swarm_id, log))).digest()


def digest(body: bytes) -> bytes:
    """What stands for a body in the chain."""
    return hashlib.sha256(body).digest()


def chain(hash_: bytes, bodies: Iterable[bytes]) -> bytes:
    """The hash after these bodies."""
    sha256 = hashlib.sha256
    for body in bodies:
        hash_ = sha256(hash_ + sha256(body).digest()).digest()
    return hash_


def chain_digests(hash_: bytes, digests: Iterable[bytes]) -> bytes:
    """The hash after the bodies with these digests."""
    for each in digests:
        hash_ = hashlib.sha256(hash_ + each).digest()
    return hash_


def signed_bytes(position: int, hash_: bytes) -> bytes:
    """What the origin signs."""
    return b"mycoswarm ledger head 1\0" + position.to_bytes(8, "big") + hash_


def bounds_of(lane: Lane) -> tuple[int, int]:
    """How many operations and bytes one log may have."""
    if lane == "roster":
        return MAX_ROSTER_LOG_OPERATIONS, MAX_ROSTER_LOG_BYTES
    return MAX_LOG_OPERATIONS, MAX_LOG_BYTES
