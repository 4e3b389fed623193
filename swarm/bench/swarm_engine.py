"""A language model server without a language model: what it says is fixed, so whatever takes time is not the model.

Speaks as Ollama (`/api/tags`, `/api/chat`) and as an OpenAI-style server (`/v1/models`, `/v1/chat/completions`,
streamed), with the same tokens at the same pace: each token is a chunk of its own, and the questions under way take
turns. Runs in a process of its own (`python -m swarm.bench.swarm_engine PORT FIRST_S`), written on bare asyncio so
that it costs as little as possible of what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator

MODEL = "bench:1b"
TOKENS = tuple(f" word{number}" for number in range(20))
MAX_REQUEST_BYTES = 1024 * 1024

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _ollama_line(token: str, *, done: bool) -> bytes:
    part = {
        "model": MODEL,
        "created_at": "2026-01-01T00:00:00.000000Z",
        "message": {"role": "assistant", "content": token},
        "done": done,
    }
    return json.dumps(part).encode() + b"\n"


def _openai_event(delta: dict[str, str], *, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    part = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": MODEL, "choices": [choice]}
    return b"data: " + json.dumps(part).encode() + b"\n\n"


def _streams() -> dict[bytes, tuple[bytes, ...]]:
    """What is written for a question at each path: the first piece with the head, then one piece a turn."""
    ollama = [_chunk(_ollama_line(token, done=False)) for token in TOKENS]
    openai = [_chunk(_openai_event({"role": "assistant", "content": token})) for token in TOKENS]
    ollama_end = _chunk(_ollama_line("", done=True)) + b"0\r\n\r\n"
    openai_end = _chunk(_openai_event({}, finish="stop")) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    return {
        b"/api/chat": (_HEAD % b"application/x-ndjson" + ollama[0], *ollama[1:], ollama_end),
        b"/v1/chat/completions": (_HEAD % b"text/event-stream" + openai[0], *openai[1:], openai_end),
    }


def _plain() -> dict[bytes, bytes]:
    tags = {"models": [{"name": MODEL, "model": MODEL}]}
    models = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "bench"}]}
    return {
        path: b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for path, body in ((b"/api/tags", json.dumps(tags).encode()), (b"/v1/models", json.dumps(models).encode()))
    }


class _Connection(asyncio.Protocol):
    """One client, one question after the other."""

    streams = _streams()
    plain = _plain()

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if len(self._received) > MAX_REQUEST_BYTES:
            self._close()
        if not found or len(body) < _length(head):
            return
        self._received = b""
        path = head.split(b" ", 2)[1]
        if path in self.streams:
            self._loop.call_later(self._first_s, self._begin, path) if self._first_s else self._begin(path)
        elif self._transport is not None:
            self._transport.write(self.plain.get(path, _NOT_FOUND))

    def _begin(self, path: bytes) -> None:
        self._next(iter(self.streams[path]))

    def _next(self, pieces: Iterator[bytes]) -> None:
        piece = next(pieces, None)
        if piece is not None and self._transport is not None:
            self._transport.write(piece)
            self._loop.call_soon(self._next, pieces)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(port: int, first_s: float) -> None:
    """Answer on loopback until cancelled; the first token comes after `first_s`."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(first_s), "127.0.0.1", port, backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
