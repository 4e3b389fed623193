"""Links over WebSockets (aiohttp): the calling side is a `Transport`, the serving side a route of the nodes' port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress

import aiohttp
from aiohttp import web

from swarm.errors import MalformedMessage, MycoswarmError
from swarm.link import MAX_RECORD_BYTES, CallingEnd, ServingEnd
from swarm.membership import Beat
from swarm.task import LossReason, Order
from swarm.transport import Execution, Receiver, Service

PATH = "/v1/link"
BATCH_BYTES = 256 * 1024
"""Records are gathered up to this size into one message; a single record may be larger."""
MAX_MESSAGE_BYTES = MAX_RECORD_BYTES + BATCH_BYTES
CONNECT_S = 1.0
"""TLS included; on a LAN it takes milliseconds."""
OUTBOX_BYTES = 64 * 1024 * 1024
"""What may wait for a slow peer; with more the link is given up."""
FAREWELL_S = 0.1
"""For the last words on a link."""
SILENT_S = 2.7
"""A link on which nothing is heard for so long is given up, so that its tasks move on within the three seconds after
which membership calls the node dead (`DEAD_S`)."""
CHECK_S = 0.1
"""How often it is looked for silent links."""

_log = logging.getLogger(__name__)


Connect = Callable[[str], AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]]
"""Opens the WebSocket at `PATH` of a node, with messages up to `MAX_MESSAGE_BYTES`, after it proved that it is that
node. Raises a `MycoswarmError` when there is none."""
Socket = aiohttp.ClientWebSocketResponse | web.WebSocketResponse


class LinkTransport:
    """A `Transport`: one link to each node, opened when first needed and again after it broke. `run` keeps watch."""

    def __init__(self, connect: Connect, *, refused: Callable[[str], None]) -> None:
        """`refused` hears of nodes that cannot be connected to: nobody listens there, or somebody else does."""
        self._connect = connect
        self._refused = refused
        self._links: dict[str, _Link] = {}

    async def run(self) -> None:
        """Give up links on which nothing was heard for `SILENT_S`: a cable was pulled, a machine hangs."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(CHECK_S)
                for link in list(self._links.values()):
                    if link.open and loop.time() - link.heard_at > SILENT_S:
                        link.lose("silent", f"nothing was heard for {SILENT_S:g} s")
        finally:
            await asyncio.gather(*(link.close() for link in list(self._links.values())))

    def execute_at(self, node: str, order: Order, receiver: Receiver) -> Execution:
        """See `Transport`."""
        return self._link(node).end.order(order, receiver)

    def beat(self, node: str, beat: Beat) -> None:
        """See `Transport`."""
        link = self._link(node)
        if link.open or not link.outbox.waiting:  # a node that is being connected to gets one beat, not a backlog
            link.end.beat(beat)

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
        self._loop = asyncio.get_running_loop()
        self.outbox = Outbox(lambda: self.lose("silent", "it reads too slowly"))
        self.end = CallingEnd(self.outbox.put)
        self.open = self._lost = False
        self.heard_at = self._loop.time()
        self._task = self._loop.create_task(self._run())

    async def close(self) -> None:
        """Give it up, and wait until its connection is closed."""
        self.lose("reset", "this node ends")
        await asyncio.gather(self._task, return_exceptions=True)

    def lose(self, reason: LossReason, message: str) -> None:
        """Give it up: all its orders are lost; the next use opens another one."""
        if self._lost:
            return
        self._lost, self.open = True, False
        if self._transport._links.get(self._node) is self:
            del self._transport._links[self._node]
        self._task.cancel()
        self.end.broken(reason, message)

    async def _run(self) -> None:
        async with AsyncExitStack() as closing:
            try:
                async with asyncio.timeout(CONNECT_S):
                    socket = await closing.enter_async_context(self._transport._connect(self._node))
            except TimeoutError:
                self.lose("silent", f"no connection within {CONNECT_S:g} s")
                return
            except MycoswarmError as error:
                self._transport._refused(self._node)
                self.lose("refused", str(error))
                return
            self.open, self.heard_at = True, self._loop.time()
            message = "the connection broke"
            try:
                async with _pumping(self.outbox, socket):
                    receive, received, time = socket.receive, self.end.received, self._loop.time
                    while True:
                        read = await receive()
                        if read.type is not aiohttp.WSMsgType.BINARY:
                            break
                        self.heard_at = time()
                        received(read.data)
            except MalformedMessage as error:
                message = f"it does not keep to the protocol: {error}"
                _log.warning("node %s: %s", self._node, message)
            except MycoswarmError as error:
                message = str(error)
            finally:
                self.lose("reset", message)


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
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, compress=False)
        await socket.prepare(request)
        loop = asyncio.get_running_loop()
        serving = asyncio.current_task()
        assert serving is not None
        outbox = Outbox(serving.cancel)
        end = ServingEnd(peer, self._service, outbox.put)
        self._serving.add(serving)
        try:
            # One deadline, moved now and then: a timer for each message would cost more than the message.
            async with asyncio.timeout(SILENT_S) as silence, _pumping(outbox, socket):
                moved_at = loop.time()
                while True:
                    message = await socket.receive()
                    if message.type is not aiohttp.WSMsgType.BINARY:
                        break
                    if (now := loop.time()) > moved_at + CHECK_S:
                        silence.reschedule(now + SILENT_S)
                        moved_at = now
                    end.received(message.data)
        except TimeoutError:
            _log.info("node %s is silent: its link is closed", peer)
        except MalformedMessage as error:
            _log.warning("node %s does not keep to the protocol: %s", peer, error)
        finally:
            self._serving.discard(serving)
            end.broken()
        return socket


class Outbox:
    """Gathers what is written in one turn of the event loop into one message."""

    def __init__(self, overflow: Callable[[], object]) -> None:
        self._records: list[bytes] = []
        self._bytes = 0
        self._overflow = overflow
        self._wanted: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> int:
        """Bytes not yet sent."""
        return self._bytes

    def put(self, record: bytes) -> None:
        """Queue one record."""
        self._records.append(record)
        self._bytes += len(record)
        if self._bytes > OUTBOX_BYTES:
            self._records.clear()
            self._bytes = 0
            self._overflow()
        elif self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    async def send_rest(self, socket: Socket) -> None:
        """Send what is left: a goodbye."""
        while self._records:
            await socket.send_bytes(self._batch())

    async def pump(self, socket: Socket) -> None:
        """Send for ever; ends when the connection is broken, which the reader of the socket notices too."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._records:
                self._wanted = loop.create_future()
                await self._wanted
            try:
                await socket.send_bytes(self._batch())
            except ConnectionError:
                return

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


@asynccontextmanager
async def _pumping(outbox: Outbox, socket: Socket) -> AsyncIterator[None]:
    pump = asyncio.get_running_loop().create_task(outbox.pump(socket))
    try:
        yield
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await outbox.send_rest(socket)
