"""Links over connections of the nodes' port: the calling side is a `Transport`, the serving side a route.

A link begins as an HTTP request that asks for another protocol (`swarm.switching`). What follows are the bytes of
`swarm.link` and nothing around them: the event loop hands them over as they come, without a task or a queue between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import NamedTuple

from aiohttp import web

from swarm.errors import MalformedMessage, MycoswarmError
from swarm.link import CallingEnd, ServingEnd
from swarm.membership import Beat
from swarm.switching import switch
from swarm.task import LossReason, Order
from swarm.transport import Execution, Receiver, Service

PATH = "/v1/link"
PROTOCOL = "mycoswarm-link"
BATCH_BYTES = 256 * 1024
"""Records are handed to the connection in batches of this size; a single record may be larger."""
CONNECT_S = (1.0, 3.0)
"""TLS included; on a LAN it takes milliseconds. A machine that is so busy that it takes longer gets twice as long at
the next try: given up each time, handshakes would be all that it does."""
OUTBOX_BYTES = 64 * 1024 * 1024
"""What may wait for a slow peer; with more the link is given up."""
FAREWELL_S = 0.1
"""For the last words on a link."""
SILENT_S = 2.7
"""A link on which nothing is heard for so long is given up, so that its tasks move on within the three seconds after
which membership calls the node dead (`DEAD_S`)."""

_log = logging.getLogger(__name__)


Connect = Callable[[str], AbstractAsyncContextManager[asyncio.Transport]]
"""Opens a connection to a node that proves to be that node and agrees to speak `PROTOCOL` at `PATH`. Raises a
`MycoswarmError` when there is none."""


class End(NamedTuple):
    """Why a link is no more."""

    reason: LossReason
    message: str
    broke_rules: bool = False
    """The other side does not keep to the protocol."""


class LinkTransport:
    """A `Transport`: one link to each node, opened when first needed and again after it broke; `run` ends them."""

    def __init__(self, connect: Connect, *, refused: Callable[[str], None]) -> None:
        """`refused` hears of nodes that cannot be connected to: nobody listens there, or somebody else does."""
        self._connect = connect
        self._refused = refused
        self._links: dict[str, _Link] = {}
        self._slow: dict[str, float] = {}
        """How long the next connection to nodes that took too long may take."""

    async def run(self) -> None:
        """Until cancelled; then say the last words on all links."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.gather(*(link.close() for link in list(self._links.values())))

    def execute_at(self, node: str, order: Order, receiver: Receiver) -> Execution:
        """See `Transport`."""
        return self._link(node).end.order(order, receiver)

    def beat(self, node: str, beat: Beat) -> None:
        """See `Transport`."""
        link = self._link(node)
        if link.wire.connection or not link.wire.waiting:  # a node that is being connected to gets one beat, no backlog
            link.end.beat(beat)

    def _connect_s(self, node: str) -> float:
        return self._slow.get(node, CONNECT_S[0])

    def _took_too_long(self, node: str) -> None:
        self._slow[node] = min(2 * self._connect_s(node), CONNECT_S[1])

    def _link(self, node: str) -> _Link:
        link = self._links.get(node)
        if link is None:
            link = self._links[node] = _Link(self, node)
        return link


class _Link:
    """The calling side of one link, from its first use until it is lost."""

    def __init__(self, transport: LinkTransport, node: str) -> None:
        self._transport = transport
        self._node = node
        self._lost = False
        self.wire = Wire()
        self.end = CallingEnd(self.wire.send)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Give it up, and wait until its connection is closed."""
        self._lose("reset", "this node ends")
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _lose(self, reason: LossReason, message: str) -> None:
        """All its orders are lost; the next use opens another one."""
        if self._lost:
            return
        self._lost = True
        if self._transport._links.get(self._node) is self:
            del self._transport._links[self._node]
        self.end.broken(reason, message)

    async def _run(self) -> None:
        connect_s = self._transport._connect_s(self._node)
        try:
            async with AsyncExitStack() as closing:
                async with asyncio.timeout(connect_s):
                    connection = await closing.enter_async_context(self._transport._connect(self._node))
                self._transport._slow.pop(self._node, None)
                try:
                    end = await self.wire.carry(connection, self.end.received)
                    if end.broke_rules:
                        _log.warning("node %s: %s", self._node, end.message)
                    self._lose(end.reason, end.message)
                finally:
                    self._lose("reset", "the connection was cut here")
                    await self.wire.close()
        except TimeoutError:
            self._transport._took_too_long(self._node)
            self._lose("silent", f"no connection within {connect_s:g} s")
        except MycoswarmError as error:
            if not self._lost:
                self._transport._refused(self._node)
            self._lose("refused", str(error))


class LinkServer:
    """The serving side: `handle` is the route at `PATH` of the nodes' port."""

    def __init__(self, service: Service, *, peer_of: Callable[[web.Request], str | None]) -> None:
        """`peer_of` names the node that calls, by its certificate; None refuses it."""
        self._service = service
        self._peer_of = peer_of
        self._serving: set[asyncio.Task[object]] = set()

    def close(self) -> None:
        """End all links that are served now: at the end of this node nobody has to find out that they are silent."""
        for serving in tuple(self._serving):
            serving.cancel()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one link until it breaks, or its caller was silent for `SILENT_S`."""
        peer = self._peer_of(request)
        if peer is None:
            return web.json_response({"error": "this port is for nodes of the swarm"}, status=403)
        connection = await switch(request, PROTOCOL)
        wire = Wire()
        serving = ServingEnd(peer, self._service, wire.put)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            end = await wire.carry(connection, serving.received)
            if end.broke_rules or end.reason == "silent":
                level = logging.WARNING if end.broke_rules else logging.INFO
                _log.log(level, "node %s: %s: its link is closed", peer, end.message)
        finally:
            self._serving.discard(task)
            serving.broken()
            await wire.close()
        raise ConnectionResetError("the link is over")  # and with it the connection: there is nothing to answer


class Wire(asyncio.Protocol):
    """The connection of a link as the event loop sees it: what is written in one turn leaves in one piece."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._records: list[bytes] = []
        self._bytes = 0
        self.connection: asyncio.Transport | None = None
        """None before there is one, and when it is closed."""
        self._former: asyncio.BaseProtocol | None = None
        self._take: Callable[[bytes], None] = lambda _: None
        self._heard_at = 0.0
        self._flush_is_due = self._is_full = False
        self._end: asyncio.Future[End] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def waiting(self) -> int:
        """Bytes not yet sent."""
        return self._bytes

    def put(self, record: bytes) -> None:
        """Queue one record, before there is a connection too."""
        self._queue(record)
        if self._records and not self._flush_is_due and self.connection is not None:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def send(self, record: bytes) -> None:
        """The same, and send it now: an order does not wait for what else this turn brings."""
        self._queue(record)
        self._flush()

    async def carry(self, connection: asyncio.Transport, take: Callable[[bytes], None]) -> End:
        """Take over a connection, and give what comes to `take`, which may raise `MalformedMessage`, until it ends."""
        self.connection, self._take = connection, take
        self._former = connection.get_protocol()
        connection.set_protocol(self)
        if connection.is_closing():  # it ended while it was switched, and will not say so again
            self._over(End("reset", "the connection broke"))
        self._heard_at = self._loop.time()
        self._flush()
        while not self._end.done():
            left_s = self._heard_at + SILENT_S - self._loop.time()
            if left_s <= 0:
                return End("silent", f"nothing was heard for {SILENT_S:g} s")
            # Looked at when it may be silent, not moved with each message: a timer costs more than a message.
            await asyncio.wait([self._end], timeout=left_s)
        return self._end.result()

    async def close(self) -> None:
        """Send what is left, a goodbye, and hang up. Safe without a connection."""
        if self.connection is None:
            return
        self._flush()
        self.connection.close()
        await asyncio.wait([self._closed], timeout=FAREWELL_S)
        if not self._closed.done():
            self.connection.abort()

    def _queue(self, record: bytes) -> None:
        self._records.append(record)
        self._bytes += len(record)
        if self._bytes > OUTBOX_BYTES:
            self._records.clear()
            self._bytes = 0
            self._over(End("silent", "it reads too slowly"))

    def _flush(self) -> None:
        self._flush_is_due = False
        while self._records and not self._is_full and self.connection is not None:
            self.connection.write(self._batch())

    def _batch(self) -> bytes:
        if self._bytes <= BATCH_BYTES:
            batch, self._bytes = b"".join(self._records), 0
            self._records.clear()
            return batch
        count = size = 0
        for record in self._records:
            if count and size + len(record) > BATCH_BYTES:
                break
            count, size = count + 1, size + len(record)
        batch = b"".join(self._records[:count])
        del self._records[:count]
        self._bytes -= size
        return batch

    def _over(self, end: End) -> None:
        if not self._end.done():
            self._end.set_result(end)

    # ---- what the event loop calls

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._end.done():
            return
        self._heard_at = self._loop.time()
        try:
            self._take(data)
        except MalformedMessage as error:
            self._over(End("reset", f"it does not keep to the protocol: {error}", broke_rules=True))

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._is_full = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._is_full = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.connection = None
        self._over(End("reset", "the connection broke"))
        if not self._closed.done():
            self._closed.set_result(None)
        if self._former is not None:
            self._former.connection_lost(exc)
