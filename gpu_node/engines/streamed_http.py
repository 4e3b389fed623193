"""HTTP/1.1 as a client of one server: a request, and an answer that is read while it comes (RFC 9112).

A general client costs the first token of each answer half a millisecond, a third of what a whole hop between two
nodes may add. This one knows no proxy, redirect, cookie or account, so none has a say in where a question goes.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from urllib.parse import urlsplit

MAX_HEAD_BYTES = 32 * 1024
HIGH_WATER_BYTES = 1024 * 1024
"""What arrives unread beyond this stays with the server."""
MAX_IDLE = 64
"""Connections that are kept for the next question."""


class NoConnection(ConnectionError):
    """Nobody answers there."""


class StreamedHttp:
    """Asks the server at `url` (`http://host[:port][/prefix]`, or https); as many questions at a time as it is given.

    Errors are `ConnectionError`, `ValueError` for what is not HTTP, and `TimeoutError` for what did not come `until` a
    moment on the event loop's clock.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._host_header = parts.netloc.rpartition("@")[2]
        self._idle: list[_Connection] = []
        self._closed = False

    async def ask(self, method: str, path: str, body: bytes = b"", *, until: float = math.inf) -> Answer:
        """The answer's head has come when this returns; whoever asks releases it."""
        head = (
            f"{method} {self._prefix}{path} HTTP/1.1\r\nHost: {self._host_header}\r\nContent-Length: {len(body)}\r\n"
            + ("Content-Type: application/json\r\n" if body else "")
            + "\r\n"
        )
        request = head.encode() + body
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                try:
                    return await self._asked(connection, request, until)
                except ConnectionResetError:
                    if connection.answered:
                        raise
                    # The server had closed it and the news crossed the question: nothing of it was done.
        return await self._asked(await self._connected(until), request, until)

    def close(self) -> None:
        """Hang up everywhere."""
        self._closed = True
        for connection in self._idle:
            connection.hang_up()
        self._idle.clear()

    async def _asked(self, connection: _Connection, request: bytes, until: float) -> Answer:
        try:
            connection.send(request)
            return Answer(self, connection, await connection.head(until))
        except BaseException:  # cancelled, too: what is left of the answer is nobody's
            connection.hang_up()
            raise

    async def _connected(self, until: float) -> _Connection:
        context = ssl.create_default_context() if self._tls else None
        async with asyncio.timeout_at(until if until < math.inf else None):
            try:
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection, self._host, self._port, ssl=context
                )
            except OSError as error:
                raise NoConnection(str(error)) from error
        return connection

    def _take_back(self, connection: _Connection) -> None:
        if connection.usable and not self._closed and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.hang_up()


class Answer:
    """What comes of a request."""

    def __init__(self, http: StreamedHttp, connection: _Connection, status: int) -> None:
        self.status = status
        self._http = http
        self._connection: _Connection | None = connection

    async def read(self, until: float = math.inf) -> bytes:
        """More of the body, as much as there is; empty at its end."""
        return b"" if self._connection is None else await self._connection.body(until)

    def release(self) -> None:
        """It is not needed any more; a connection whose answer is not over is hung up. Safe to call twice."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._http._take_back(connection)


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.answered = False
        """Something of the answer came."""
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._until = math.inf
        self._timer: asyncio.TimerHandle | None = None
        """Kept from one wait to the next, and set anew only when it fires too early."""
        self._received = bytearray()
        self._over = True
        """The answer is complete."""
        self._keeps = True
        self._in_body = False
        self._left: int | None = None
        """Bytes until the end of the body, or of the chunk; None: until the connection ends."""
        self._chunked = False
        self._lost: Exception | None = None

    @property
    def usable(self) -> bool:
        """It is open, and free for another request."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and self._over and self._keeps

    def send(self, request: bytes) -> None:
        if self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self.answered = self._over = self._in_body = self._chunked = False
        self._received.clear()
        self._transport.write(request)

    async def head(self, until: float) -> int:
        """The status."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) > MAX_HEAD_BYTES:
                raise ValueError("a head without an end")
            if not await self._more(until):
                raise ConnectionResetError("it closed the connection")
        lines = bytes(self._received[:end]).split(b"\r\n")
        del self._received[: end + 4]
        words = lines[0].split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1."):
            raise ValueError("not HTTP")
        fields = {
            name.strip().lower(): value.strip().lower() for name, _, value in (a.partition(b":") for a in lines[1:])
        }
        self._keeps = words[0] != b"HTTP/1.0" and fields.get(b"connection") != b"close"
        self._chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
        length = fields.get(b"content-length")
        self._left = 0 if self._chunked else None if length is None else int(length)
        self._over = self._left == 0 and not self._chunked
        self._in_body = True
        return int(words[1])

    async def body(self, until: float) -> bytes:
        """More of it; empty at its end."""
        while not self._over:
            if found := self._unpacked() if self._chunked else self._plain():
                return found
            if not self._over and not await self._more(until):
                if self._left is None and not self._chunked:
                    self._over = True
                else:
                    raise ConnectionResetError("it closed the connection in the middle")
        return b""

    def _plain(self) -> bytes:
        found = bytes(self._received)
        self._received.clear()
        if self._left is not None:
            self._left -= len(found)
            self._over = self._left <= 0
        return found

    def _unpacked(self) -> bytes:
        """All whole chunks."""
        data, at, found = bytes(self._received), 0, []
        while (line := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:line].partition(b";")[0], 16)
            if size == 0:
                if data.startswith(b"\r\n", line + 2):  # trailers are not sent to who does not ask for them
                    self._over, at = True, line + 4
                break
            if size > HIGH_WATER_BYTES:
                raise ValueError("too large a chunk")
            if len(data) < line + 2 + size + 2:
                break
            found.append(data[line + 2 : line + 2 + size])
            at = line + 2 + size + 2
        del self._received[:at]
        return b"".join(found)

    async def _more(self, until: float) -> bool:
        """Wait for more bytes; False when none will come. Raises `TimeoutError`."""
        transport = self._transport
        if transport is None:
            if isinstance(self._lost, OSError):
                raise ConnectionResetError(str(self._lost)) from self._lost
            return False
        if self._loop.time() >= until:
            raise TimeoutError("nothing came in time")
        transport.resume_reading()
        self._waiter = self._loop.create_future()
        self._until = until
        if until < (self._timer.when() if self._timer is not None else math.inf):
            self._set_timer()
        try:
            await self._waiter
        finally:
            self._waiter = None
        return self._transport is not None or bool(self._received)

    def _set_timer(self) -> None:
        self._drop_timer()
        self._timer = self._loop.call_at(self._until, self._time_is_up)

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_is_up(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done() or self._until == math.inf:
            return
        if self._loop.time() < self._until:
            self._set_timer()
        else:
            self._waiter.set_exception(TimeoutError("nothing came in time"))

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # ---- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport, self._lost = None, exc
        self._drop_timer()
        self._wake()

    def data_received(self, data: bytes) -> None:
        self.answered = True
        self._received += data
        if self._over:
            self.hang_up()  # nothing was asked
        elif len(self._received) > HIGH_WATER_BYTES + 64 and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
