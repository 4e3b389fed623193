"""What a joiner and an enroller say to each other, and the code that a person compares.

By token: the joiner proves the enroller by the token's pin, then sends the secret. By code nothing is known beforehand,
so both sides derive a short authentication string and a person compares it (as in RFC 6189, ZRTP, and Bluetooth's
numeric comparison). The joiner commits itself to its nonce before it sees the enroller's: a machine in the middle has
to fix its side of both conversations before it learns either code, so its codes agree once in a million tries, and each
try is one more code that a person sees.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Literal, TypeVar

import msgspec

from swarm.errors import MalformedMessage

INFO_PATH = "/v1/enrolment"
TOKEN_PATH = "/v1/enrolment/token"  # noqa: S105 a path
ASK_PATH = "/v1/enrolment/ask"
MAX_MESSAGE_BYTES = 16 * 1024
MAX_JOINED_BYTES = 256 * 1024
"""The bundle of 64 enrollers, and the node's certificate."""
MAX_NAME = 64
CODE_DIGITS = 6

PublicKey = Annotated[bytes, msgspec.Meta(min_length=44, max_length=44)]
"""SubjectPublicKeyInfo of an Ed25519 key, DER."""
Nonce = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
Roles = Annotated[tuple[Annotated[str, msgspec.Meta(max_length=16)], ...], msgspec.Meta(max_length=8)]
"""What the machine is asked to be, as far as its configuration says."""
Pem = Annotated[str, msgspec.Meta(max_length=8 * 1024)]


MessageT = TypeVar("MessageT")


class EnrolmentInfo(msgspec.Struct, frozen=True):
    """Who the enroller says it is. Worth nothing until the pin or the code is compared."""

    swarm_id: Annotated[str, msgspec.Meta(pattern="^[a-z2-7]{26}$")]
    name: Name
    authority: Pem
    """Its certificate; it must have signed the certificate that TLS showed."""
    by_code: bool
    """Whether a person there waits for a code."""


class TokenJoin(msgspec.Struct, frozen=True):
    """Let me in: I have a token."""

    token_id: Annotated[bytes, msgspec.Meta(max_length=16)]
    secret: Annotated[bytes, msgspec.Meta(max_length=32)]
    public_key: PublicKey
    name: Name
    signature: Signature
    """By the node's key over `proof_of_key`, with the token's id."""
    roles: Roles = ()


class Joined(msgspec.Struct, frozen=True):
    """You are in."""

    certificate: Pem
    bundle: Annotated[str, msgspec.Meta(max_length=MAX_JOINED_BYTES)]
    """The swarm's authorities, PEM."""
    enroller: str
    """Its node id."""
    nodes_port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    """On the machine that answers this; 0 if it has none."""


class CodeAsk(msgspec.Struct, frozen=True):
    """Let me in: a person will compare a code."""

    public_key: PublicKey
    name: Name
    commitment: Digest
    signature: Signature
    """By the node's key over `proof_of_key`, with the commitment."""
    roles: Roles = ()


class CodeAsked(msgspec.Struct, frozen=True):
    """Your request is noted, here is my nonce: show me yours."""

    request_id: Annotated[str, msgspec.Meta(max_length=64)]
    nonce: Nonce


class CodeReveal(msgspec.Struct, frozen=True):
    """The nonce of the commitment."""

    nonce: Nonce


class CodeState(msgspec.Struct, frozen=True):
    """How the request stands."""

    state: Literal["waiting", "approved", "refused"]
    joined: Joined | None = None


def parse(data: bytes, kind: type[MessageT], *, limit: int = MAX_MESSAGE_BYTES) -> MessageT:
    """A message of enrolment. Raises `MalformedMessage`."""
    if len(data) > limit:
        raise MalformedMessage(f"an enrolment message of {len(data)} bytes exceeds the limit of {limit}")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not an enrolment message: {error}") from error


def proof_of_key(server_certificate: bytes, public_key: bytes, about: bytes) -> bytes:
    """What a joiner signs to show that the key is its own; `server_certificate` (DER) keeps it from being passed on."""
    return _hash(b"mycoswarm join 1", server_certificate, public_key, about)


def commitment_of(nonce: bytes, public_key: bytes) -> bytes:
    """Binds the joiner to its nonce without showing it."""
    return _hash(b"mycoswarm commitment 1", nonce, public_key)


def is_committed(commitment: bytes, nonce: bytes, public_key: bytes) -> bool:
    """Whether the commitment was made with that nonce."""
    return hmac.compare_digest(commitment, commitment_of(nonce, public_key))


def code_of(
    *, server_certificate: bytes, authority_pin: bytes, swarm_id: str, joiner: bytes, nonces: tuple[bytes, bytes]
) -> str:
    """The code, six digits as `123 456`: of both sides' keys (DER) and nonces (the joiner's first)."""
    digest = _hash(b"mycoswarm code 1", server_certificate, authority_pin, swarm_id.encode(), joiner, *nonces)
    digits = f"{int.from_bytes(digest[:8], 'big') % 10**CODE_DIGITS:0{CODE_DIGITS}d}"
    return f"{digits[:3]} {digits[3:]}"


def plain_code(text: str) -> str:
    """The digits alone, as a person may type or say them."""
    return "".join(each for each in text[:64] if each.isascii() and each.isdigit())


def plain_name(text: str) -> str:
    """A name from another machine as a terminal may show it."""
    return "".join(each if each.isprintable() else "?" for each in text[:MAX_NAME]).strip() or "unnamed"


def _hash(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:  # with lengths, so that no two lists of parts look the same
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()
