"""Join tokens: one string that lets one machine into the swarm, once, until it expires or is withdrawn.

The string carries what the joiner needs to know the enroller by (the pin of its authority) and to be known by (a
secret). The enroller keeps a hash of the secret. Format: `MYCO1-` and base32 of version-free MessagePack
`[id, secret, pin, swarm id, [[host, port], …]]` and a checksum, in capitals: a QR code stores these in its denser
alphanumeric mode (ISO/IEC 18004, 7.4.4), and case, spaces and line breaks do not matter when a person copies it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from swarm.errors import MycoswarmError, StorageError
from swarm.private_file import read_private, write_private

if TYPE_CHECKING:
    from swarm.certificates import NodeId

PREFIX = "MYCO1-"
DEFAULT_VALID_S = 3600.0
MAX_VALID_S = 365 * 86_400.0
"""An image may lie in a drawer; its token need not outlive that by more."""
MAX_INVITATIONS = 64
"""That wait for somebody."""
MAX_ADDRESSES = 4
MAX_TOKEN_CHARS = 1024
LINGER_S = 900.0
"""A used invitation is remembered this long after its use, so that a joiner whose answer was lost can ask again. It may
be a small board whose power was cut right then: it boots, checks its disk and finds its network first."""

_Id = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
_Secret = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
_Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_SwarmId = Annotated[str, msgspec.Meta(pattern="^[a-z2-7]{26}$")]
_Host = Annotated[str, msgspec.Meta(max_length=64)]
_Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class BadToken(MycoswarmError):
    """The text is no join token."""


class JoinToken(msgspec.Struct, frozen=True, array_like=True):
    """What a join token says. Whoever reads it can join: show it to nobody else."""

    id: _Id
    secret: _Secret
    pin: _Hash
    """SHA-256 over the SubjectPublicKeyInfo of the inviting enroller's authority."""
    swarm_id: _SwarmId
    addresses: Annotated[tuple[tuple[_Host, _Port], ...], msgspec.Meta(max_length=MAX_ADDRESSES)] = ()
    """Where the enrolment port was when the token was made; a hint."""

    def __repr__(self) -> str:
        return f"JoinToken({self.id.hex()})"  # the secret stays out of logs

    def text(self) -> str:
        """The string, for a person or a QR code."""
        packed = msgspec.msgpack.encode(self)
        packed += zlib.crc32(packed).to_bytes(4, "big")
        return PREFIX + base64.b32encode(packed).decode().rstrip("=")


def parse_token(text: str) -> JoinToken:
    """The token in what a person typed, pasted or scanned. Raises `BadToken`."""
    hint = "copy all of it, from MYCO1- to the end"
    plain = re.sub(r"\s", "", text[: 2 * MAX_TOKEN_CHARS]).upper()
    if not plain.startswith(PREFIX):
        raise BadToken("that is no join token", hint="it begins with MYCO1-; mycoswarm invite makes one")
    body = plain[len(PREFIX) :]
    try:
        packed = base64.b32decode(body + "=" * (-len(body) % 8))
    except (binascii.Error, ValueError) as error:
        raise BadToken("the join token has characters that do not belong there", hint=hint) from error
    if len(packed) < 5 or len(plain) > MAX_TOKEN_CHARS or zlib.crc32(packed[:-4]) != int.from_bytes(packed[-4:], "big"):
        raise BadToken("the join token is not complete, or mistyped", hint=hint)
    try:
        return msgspec.msgpack.decode(packed[:-4], type=JoinToken)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadToken(f"the join token cannot be understood: {error}", hint="make a new one") from error


# ---- what the enroller keeps


class Invitation(msgspec.Struct, frozen=True):
    """A token as its enroller knows it."""

    id: _Id
    secret_hash: _Hash
    created: float
    """Seconds since 1970, as all times here."""
    expires: float
    used_by: str = ""
    """Node id of who joined with it."""
    used: float = 0.0

    def waits(self, now: float) -> bool:
        """Whether somebody may still join with it."""
        return not self.used_by and now < self.expires


Redemption = Literal["granted", "unknown", "expired", "used"]
"""`unknown`: no such token, withdrawn, or the wrong secret; which of them is nobody's business."""


@dataclass(frozen=True)
class Invitations:
    """All invitations of one enroller. Pure: each change gives a new value."""

    all: Mapping[bytes, Invitation] = field(default_factory=dict)

    def invite(
        self,
        *,
        pin: bytes,
        swarm_id: str,
        valid_s: float = DEFAULT_VALID_S,
        addresses: Sequence[tuple[str, int]] = (),
        now: float,
    ) -> tuple[Invitations, JoinToken]:
        """A new token; `pin` and `addresses` as in `JoinToken`. Raises `MycoswarmError` when too many wait."""
        if not 0 < valid_s <= MAX_VALID_S:
            raise MycoswarmError(f"a token cannot be valid for {valid_s:g} s", hint="up to a year")
        kept = self.without_old(now).all
        if sum(each.waits(now) for each in kept.values()) >= MAX_INVITATIONS:
            raise MycoswarmError(
                f"{MAX_INVITATIONS} invitations wait to be used", hint="withdraw some: mycoswarm invite --withdraw all"
            )
        token = JoinToken(
            secrets.token_bytes(8), secrets.token_bytes(16), pin, swarm_id, tuple(addresses)[:MAX_ADDRESSES]
        )
        invitation = Invitation(token.id, _hashed(token.secret), now, now + valid_s)
        return Invitations({**kept, token.id: invitation}), token

    def redeem(self, token_id: bytes, secret: bytes, node_id: NodeId, now: float) -> tuple[Invitations, Redemption]:
        """Let `node_id` in with a token. The same node may ask again for a while: its answer may be lost."""
        invitation = self.all.get(token_id)
        if invitation is None or not hmac.compare_digest(invitation.secret_hash, _hashed(secret)):
            return self, "unknown"
        if invitation.used_by:
            again = invitation.used_by == node_id and now < invitation.used + LINGER_S
            return self, "granted" if again else "used"
        if now >= invitation.expires:
            return self, "expired"
        used = msgspec.structs.replace(invitation, used_by=node_id, used=now)
        return Invitations({**self.all, token_id: used}), "granted"

    def withdraw(self, token_id: bytes | None) -> Invitations:
        """Without that invitation, or without any that waits for None."""
        return Invitations(
            {id_: each for id_, each in self.all.items() if id_ != token_id and (token_id is not None or each.used_by)}
        )

    def without_old(self, now: float) -> Invitations:
        """Without those that ended more than a day ago; until then a latecomer hears why it is refused."""
        return Invitations({id_: each for id_, each in self.all.items() if now < max(each.expires, each.used) + 86_400})

    def open_until(self, now: float) -> float | None:
        """Until when the enrolment port is needed for them; None for not at all."""
        ends = [each.used + LINGER_S if each.used_by else each.expires for each in self.all.values()]
        return max((end for end in ends if now < end), default=None)


def load_invitations(folder: Path) -> Invitations:
    """What `save_invitations` kept. A file that cannot be read invites nobody. Raises `StorageError`."""
    data = read_private(folder / "invitations.json")
    if data is None:
        return Invitations()
    try:
        return Invitations({each.id: each for each in msgspec.json.decode(data, type=tuple[Invitation, ...])})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StorageError(
            f"{folder / 'invitations.json'} cannot be read: {error}", hint="remove it; its tokens then admit nobody"
        ) from error


def save_invitations(folder: Path, invitations: Invitations) -> None:
    """Keep them, on disk when this returns. Raises `StorageError`."""
    write_private(folder / "invitations.json", msgspec.json.encode(tuple(invitations.all.values())))


def _hashed(secret: bytes) -> bytes:
    return hashlib.sha256(b"mycoswarm join token\0" + secret).digest()  # 128 random bits: nothing to stretch
