"""Wyoming events on a stream, with a bound on everything. The library's own reader has none, and takes whatever is no
event for the end of the stream."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from wyoming.event import Event, async_write_event

from swarm.errors import MalformedMessage

MAX_HEADER_BYTES = 64 * 1024
MAX_PART_BYTES = 1024 * 1024
"""Of an event's data and of its payload each: the description of 1,000 voices; 5 s of audio as the best cards have it.
Satellites send 64 ms at a time."""
MAX_TYPE = 100


async def read_event(reader: asyncio.StreamReader, *, max_part_bytes: int = MAX_PART_BYTES) -> Event | None:
    """The next event; None when the stream ends before one. `reader` has a limit of `MAX_HEADER_BYTES`.

    Raises `MalformedMessage`, `EOFError` when the stream ends in the middle of an event, `OSError`.
    """
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise
    except asyncio.LimitOverrunError:
        raise MalformedMessage("a header without an end") from None
    header = _object(line, "a header")
    kind = header.get("type")
    if not isinstance(kind, str) or not 0 < len(kind) <= MAX_TYPE:
        raise MalformedMessage("a header without a type")
    data = header.get("data")
    if data is not None and not isinstance(data, dict):
        raise MalformedMessage(f"the data of {kind!r:.24} is no object")
    data = dict(data or {})
    if part := await _part(reader, header.get("data_length"), max_part_bytes):
        data.update(_object(part, "data"))
    payload = await _part(reader, header.get("payload_length"), max_part_bytes)
    return Event(kind, data, payload or None)


async def write_event(event: Event, writer: asyncio.StreamWriter, *, timeout_s: float) -> None:
    """Write it, and wait until not too much is unsent. Raises `OSError` (`TimeoutError` is one)."""
    async with asyncio.timeout(timeout_s):
        await async_write_event(event, writer)


def text_in(event: Event, key: str, *, limit: int) -> str | None:
    """A text of the event's data, that can be sent on; None when there is none. Raises `MalformedMessage`."""
    return text_of(event.data.get(key), f"{key} of {event.type!r:.24}", limit=limit)


def text_of(value: object, what: str, *, limit: int) -> str | None:
    """`value` when it is a text of at most `limit` characters; None for None. Raises `MalformedMessage`."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise MalformedMessage(f"{what} is no text")
    if len(value) > limit:
        raise MalformedMessage(f"{what} has {len(value)} characters (limit {limit})")
    return value.encode(errors="replace").decode()  # JSON may hold half a surrogate pair, which cannot be sent


async def _part(reader: asyncio.StreamReader, length: object, limit: int) -> bytes:
    if length is None:
        return b""
    if not isinstance(length, int) or isinstance(length, bool) or not 0 <= length <= limit:
        raise MalformedMessage(f"a part of {length!r:.30} bytes (limit {limit})")
    return await reader.readexactly(length) if length else b""


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"{what} that is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedMessage(f"{what} that is no object")
    return value
