"""Questions over HTTP, in numbers: how long until the first token, how many a second.

A client on bare asyncio: the load must not cost more than what it loads.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swarm.bench.swarm_engine import MODEL
from swarm.errors import MycoswarmError

ANSWER_S = 30.0
MAX_BYTES = 16 * 1024 * 1024
QUESTION = "Say twenty words, whichever they are."


@dataclass(frozen=True)
class Target:
    """Where questions go, and in which form."""

    name: str
    port: int
    request: bytes
    token: bytes
    """Stands once in each token of the answer and nowhere else."""


def http_request(
    method: str, path: str, body: object = None, *, headers: Mapping[str, str] | None = None, port: int
) -> bytes:
    """The bytes of one request, on a connection that stays."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(data)}"]
    if data:
        lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def ollama_target(port: int) -> Target:
    """The engine itself, as a node asks it."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    return Target("the engine", port, http_request("POST", "/api/chat", body, port=port), b'"done": false')


def openai_target(name: str, port: int, *, key: str = "") -> Target:
    """An OpenAI-style server."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return Target(name, port, http_request("POST", "/v1/chat/completions", body, headers=headers, port=port), b" word")


def node_target(name: str, port: int) -> Target:
    """A node's task API."""
    body = {"type": "generate", "payload": {"messages": [{"role": "user", "content": QUESTION}]}}
    headers = {"Accept": "text/event-stream"}
    return Target(name, port, http_request("POST", "/api/tasks", body, headers=headers, port=port), b'"piece"')


@dataclass
class Answered:
    """One answer."""

    status: int = 0
    first_s: float = 0.0
    """Until the first token; until the head when there is none."""
    total_s: float = 0.0
    body: bytes = b""
    """With the marks of its chunks, if it came in chunks."""

    def json(self) -> Any:
        """The body as JSON. Raises `MycoswarmError`."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise MycoswarmError(f"an answer of status {self.status} is no JSON: {self.body[:200]!r}") from None


@dataclass
class _Arriving:
    began: float
    token: bytes
    done: asyncio.Future[Answered]
    answered: Answered = field(default_factory=Answered)
    parts: list[bytes] = field(default_factory=list)
    head: bytes = b""
    length: int | None = None
    """None: in chunks."""
    size: int = 0


class Client(asyncio.Protocol):
    """One connection, one question at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._arriving: _Arriving | None = None

    @classmethod
    async def connect(cls, port: int) -> Client:
        """To a server on loopback. Raises `MycoswarmError`."""
        try:
            _, client = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        except OSError as error:
            raise MycoswarmError(f"nobody listens on port {port}: {error}") from error
        return client

    async def ask(self, request: bytes, *, token: bytes = b"") -> Answered:
        """Raises `MycoswarmError` when the connection breaks or nothing comes."""
        if self._transport is None or self._arriving is not None:
            raise MycoswarmError("the connection is not free")
        arriving = self._arriving = _Arriving(time.perf_counter(), token, self._loop.create_future())
        self._transport.write(request)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await arriving.done
        except TimeoutError:
            self.close()
            raise MycoswarmError(f"no answer within {ANSWER_S:g} s") from None

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        if self._arriving is not None and not self._arriving.done.done():
            self._arriving.done.set_exception(MycoswarmError(f"the connection broke: {exc or 'closed'}"))
        self._arriving = None

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        arriving = self._arriving
        if arriving is None:
            return
        if not arriving.answered.status:
            arriving.head += data
            head, found, data = arriving.head.partition(b"\r\n\r\n")
            if not found:
                return
            arriving.answered.status = int(head.split(b" ", 2)[1])
            arriving.length = _content_length(head)
            if not arriving.token:
                arriving.answered.first_s = time.perf_counter() - arriving.began
        if data:
            arriving.parts.append(data)
            arriving.size += len(data)
            if not arriving.answered.first_s and arriving.token in data:
                arriving.answered.first_s = time.perf_counter() - arriving.began
        if arriving.size > MAX_BYTES:
            self.close()
        elif arriving.size >= arriving.length if arriving.length is not None else _is_end(arriving.parts):
            self._arriving = None
            answered = arriving.answered
            answered.total_s = time.perf_counter() - arriving.began
            answered.body = b"".join(arriving.parts)
            if not arriving.done.done():
                arriving.done.set_result(answered)


def _content_length(head: bytes) -> int | None:
    lower = head.lower()
    begin = lower.find(b"\r\ncontent-length:")
    return None if begin < 0 else int(lower[begin + 17 :].split(b"\r\n", 1)[0])


def _is_end(parts: list[bytes]) -> bool:
    end = parts[-1] if parts else b""
    if len(end) < 5 and len(parts) > 1:
        end = b"".join(parts[-5:])
    return end.endswith(b"0\r\n\r\n")


async def first_tokens(target: Target, *, number: int, rate: float) -> list[float]:
    """Seconds until the first token of `number` answers, of which `rate` are asked for each second, however long each
    takes. Raises `MycoswarmError`."""
    loop = asyncio.get_running_loop()
    free: list[Client] = []

    async def one() -> float:
        client = free.pop() if free else await Client.connect(target.port)
        answered = await client.ask(target.request, token=target.token)
        _check(target, answered)
        free.append(client)
        return answered.first_s

    began, asked = loop.time(), []
    try:
        async with asyncio.TaskGroup() as group:
            for index in range(number):
                await asyncio.sleep(max(0.0, began + index / rate - loop.time()))
                asked.append(group.create_task(one()))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        for client in free:
            client.close()
    return [each.result() for each in asked]


async def per_second(target: Target, *, clients: int, seconds: float) -> float:
    """Whole answers a second with so many clients, each asking as fast as it is answered. Raises `MycoswarmError`."""
    loop = asyncio.get_running_loop()
    connected = [await Client.connect(target.port) for _ in range(clients)]
    began = loop.time()
    answers = 0

    async def one(client: Client) -> None:
        nonlocal answers
        while loop.time() < began + seconds:
            _check(target, await client.ask(target.request, token=target.token))
            answers += 1

    try:
        async with asyncio.TaskGroup() as group:
            for client in connected:
                group.create_task(one(client))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        for client in connected:
            client.close()
    return answers / (loop.time() - began)


def _check(target: Target, answered: Answered) -> None:
    if answered.status != 200:
        raise MycoswarmError(f"{target.name} answered with status {answered.status}: {answered.body[:300]!r}")
    if (found := answered.body.count(target.token)) != 20:
        raise MycoswarmError(f"{target.name} sent {found} tokens instead of 20: {answered.body[-300:]!r}")
