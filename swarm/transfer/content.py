"""What names a file: its SHA-256, and the digests of its pieces, by which each is checked as it arrives. Pure.

A file is cut into pieces of `PIECE_BYTES`. Whoever wants it is given a `Content` by somebody it believes (the ledger);
the list of digests comes from any node and counts only if it hashes to `Content.pieces`, and each piece, from any node
again, only if it hashes to its entry of that list. So no source has to be believed, and a source that gives something
else is known for it half a megabyte later.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

import msgspec

from swarm.errors import MalformedMessage

PIECE_BYTES = 512 * 1024
"""A tenth of a second on 40 Mbit/s: so long a transfer goes on after somebody began to speak."""
MAX_CONTENT_BYTES = 32 * 1024**3
DIGEST_BYTES = 32
MAX_DIGESTS_BYTES = MAX_CONTENT_BYTES // PIECE_BYTES * DIGEST_BYTES

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Content(msgspec.Struct, frozen=True):
    """Names a file."""

    sha256: Sha256
    """Of all its bytes, as sha256sum says it."""
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_CONTENT_BYTES)]
    """Bytes."""
    pieces: Sha256
    """SHA-256 of the digests of its pieces, one after the other."""

    @property
    def piece_count(self) -> int:
        """How many pieces it has."""
        return -(-self.size // PIECE_BYTES)

    def piece_range(self, index: int) -> tuple[int, int]:
        """First byte of a piece, and the byte after its last one."""
        return index * PIECE_BYTES, min((index + 1) * PIECE_BYTES, self.size)


class Digests:
    """The digests of a file's pieces, which belong to its `Content`."""

    def __init__(self, content: Content, data: bytes) -> None:
        """Raises `MalformedMessage` when they are not those of `content`."""
        right = hmac.compare_digest(hashlib.sha256(data).hexdigest(), content.pieces)
        if not right or len(data) != content.piece_count * DIGEST_BYTES:
            raise MalformedMessage(f"not the digests of {content.sha256:.12}")
        self.data = data

    def fits(self, index: int, piece: bytes) -> bool:
        """Whether these bytes are that piece."""
        return hashlib.sha256(piece).digest() == self.data[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]


class Measuring:
    """Makes a `Content` of bytes as they come, in any portions."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._piece = hashlib.sha256()
        self._in_piece = 0
        self._digests = bytearray()
        self.size = 0

    def add(self, data: bytes) -> None:
        """The next bytes."""
        self._whole.update(data)
        self.size += len(data)
        view = memoryview(data)
        while view:
            part = view[: PIECE_BYTES - self._in_piece]
            self._piece.update(part)
            self._in_piece += len(part)
            view = view[len(part) :]
            if self._in_piece == PIECE_BYTES:
                self._end_piece()

    def end(self) -> tuple[Content, Digests]:
        """What it was. Raises `MalformedMessage` for nothing at all, or more than `MAX_CONTENT_BYTES`."""
        if self._in_piece:
            self._end_piece()
        if not 0 < self.size <= MAX_CONTENT_BYTES:
            raise MalformedMessage(f"a file of {self.size} bytes; it may have 1 to {MAX_CONTENT_BYTES}")
        digests = bytes(self._digests)
        content = Content(self._whole.hexdigest(), self.size, hashlib.sha256(digests).hexdigest())
        return content, Digests(content, digests)

    def _end_piece(self) -> None:
        self._digests += self._piece.digest()
        self._piece, self._in_piece = hashlib.sha256(), 0
