"""An HTTPS listener for machines of the LAN: who may connect, how many, and how long they may take over it.

Everything is bounded before it costs much: addresses, then unfinished handshakes, then connections by address, then
the time a request may take to arrive. A connection that breaks a bound is dropped without an answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from swarm.egress import is_lan
from swarm.errors import MycoswarmError
from swarm.tls import peer_of_tls

DEAD_LINK_S = 3
"""A peer that acknowledges nothing for this long, probed while the connection is silent, is gone."""
BACKLOG = 128
ACCEPT_PAUSE_S = 0.1
"""After an accept that failed (no file descriptors left)."""
SAY_EVERY_S = 2.0
"""Refused connections are said in the log this often at most."""
CLOSE_S = 1.0
"""How long answers under way may still take when the listener ends."""
MAX_LINE_BYTES = 8190
"""The request line, and each header."""
MAX_HEADERS = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What strangers and peers may take."""

    connections: int = 512
    """Open ones, in all; each costs about 100 kB."""
    connections_each: int = 128
    """Of one enrolled node; of one address where nobody is enrolled."""
    handshakes: int = 128
    """Unfinished ones, in all. An honest one takes milliseconds, so when there is no room for another the oldest goes:
    a flood of half-open connections keeps nobody out."""
    handshake_s: float = 5.0
    """TCP accept to the end of the TLS handshake; 2 ms on a LAN, a tenth of a second from a busy small board."""
    request_s: float = 10.0
    """First byte of a request to the last of its body."""
    idle_s: float = 3600.0
    """Between requests. Dead peers are found by TCP, so a warm connection may wait for its next task."""
    life_s: float | None = None
    """Of a connection, whatever it does; None when only enrolled nodes come."""


def keep_watch(sock: socket.socket) -> None:
    """Let TCP end the connection when the other machine vanished: after `DEAD_LINK_S`, silent or sending.

    See tcp(7). A silent connection is probed after two seconds, then every second; 60 bytes each. A peer that lives but
    reads nothing for as long, with its buffers full, is ended as well: nobody can make a sender wait longer.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_LINK_S - 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, DEAD_LINK_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_LINK_S * 1000)


class OpenConnection(Protocol):
    """What a listener knows of a connection whose handshake is done."""

    @property
    def tls(self) -> Any:
        """Its TLS object."""

    def cut(self) -> None:
        """End it without another byte."""


class TlsListener(ABC):
    """Takes connections and agrees on TLS; what is spoken then is its subclass's."""

    def __init__(self, context: Callable[[], ssl.SSLContext], limits: Limits) -> None:
        """`context` is asked for each connection, so a new certificate counts at once."""
        self.context = context
        self.limits = limits
        self._socket: socket.socket | None = None
        self._pause: asyncio.TimerHandle | None = None
        self.handshakes: dict[asyncio.Task[None], None] = {}
        self._open: dict[OpenConnection, str] = {}
        self.refusals = _Refusals()

    @property
    def port(self) -> int:
        """Where it listens; known after `start`."""
        assert self._socket is not None, "start() first"
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """Open now, handshake done."""
        return len(self._open)

    async def start(self, host: str, port: int) -> None:
        """Listen on `host`, an address, or all addresses if it is empty; 0 takes any port. Raises `MycoswarmError`."""
        try:
            self._socket = _listening(host, port)
        except OSError as error:
            raise MycoswarmError(
                f"cannot listen on {host or 'any address'}, port {port}: {error.strerror or error}",
                hint="if another program has the port, give this one another in the configuration",
            ) from error
        asyncio.get_running_loop().add_reader(self._socket, self._accept)

    async def close(self) -> None:
        """Take no more connections, end."""
        if self._socket is None:
            return
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(self._socket)
        unfinished = tuple(self.handshakes)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        self._socket.close()
        await self._finish()
        self.cut(lambda tls: True)

    def cut(self, wanted: Callable[[Any], bool]) -> int:
        """Cut, unsaid and at once, the open connections whose TLS object is `wanted`; returns how many."""
        doomed = [each for each in self._open if wanted(each.tls)]
        for connection in doomed:
            connection.cut()
        return len(doomed)

    @abstractmethod
    def connection(self, host: str) -> asyncio.Protocol:
        """The protocol of a connection from `host`, whose handshake is under way."""

    @abstractmethod
    async def _finish(self) -> None:
        """No more connections come; those that are open will be cut."""

    def _accept(self) -> None:
        """A connection waits at the socket, or several."""
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        for _ in range(BACKLOG):
            try:
                sock, address = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # gone before it was taken
            except OSError as error:  # no file descriptors left
                _log.warning("cannot take a connection: %s", error.strerror or error)
                loop.remove_reader(self._socket)
                self._pause = loop.call_later(ACCEPT_PAUSE_S, loop.add_reader, self._socket, self._accept)
                return
            host = str(address[0])
            if not is_lan(host):
                sock.close()
                continue
            if len(self.handshakes) >= self.limits.handshakes:
                oldest = next(iter(self.handshakes))
                del self.handshakes[oldest]
                oldest.cancel()
            handshake = _Handshake(self, sock, host)
            task = asyncio.create_task(handshake.run(), name="handshake")
            self.handshakes[task] = None
            task.add_done_callback(handshake.over)


class HttpsListener(TlsListener):
    """Serves one application; `start`, then `close`. The application needs the middleware `whole_requests`."""

    def __init__(self, app: web.Application, context: Callable[[], ssl.SSLContext], limits: Limits) -> None:
        """See `TlsListener`."""
        super().__init__(context, limits)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=CLOSE_S)

    async def start(self, host: str, port: int) -> None:
        """Listen on `host`, an address, or all addresses if it is empty; 0 takes any port. Raises `MycoswarmError`."""
        await self._runner.setup()
        try:
            await super().start(host, port)
        except MycoswarmError:
            await self._runner.cleanup()
            raise

    def connection(self, host: str) -> _Connection:
        """The protocol of a connection from `host`, whose handshake is under way."""
        server = self._runner.server
        assert server is not None
        return _Connection(server, self.limits, host, self._open, self.refusals)

    async def _finish(self) -> None:
        """Give answers under way `CLOSE_S`."""
        await self._runner.cleanup()


class _Refusals:
    """Says in the log who is refused and why, and only now and then: strangers must not fill the disk."""

    def __init__(self) -> None:
        self._unsaid = 0
        self._quiet_until = 0.0

    def say(self, who: str, why: str) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until:
            self._unsaid += 1
            return
        _log.info("refused a connection from %s: %s (and %d others before)", who, why, self._unsaid)
        self._unsaid, self._quiet_until = 0, now + SAY_EVERY_S


class _Handshake:
    """One connection until TLS is agreed."""

    def __init__(self, listener: TlsListener, sock: socket.socket, host: str) -> None:
        self._listener = listener
        self._sock = sock
        self._host = host
        self._is_asyncios = False
        """Whether the socket belongs to asyncio, which closes it whatever happens; closing it here too would leave a
        file descriptor in the loop that may be another connection's a moment later."""

    async def run(self) -> None:
        limits = self._listener.limits
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connection,
                self._sock,
                ssl=self._listener.context(),
                ssl_handshake_timeout=limits.handshake_s,
                ssl_shutdown_timeout=CLOSE_S,
            )
        except (OSError, MycoswarmError) as error:  # ssl.SSLError and a handshake's timeout are OSErrors
            why = getattr(error, "strerror", None) or str(error) or "it hung up before TLS was agreed"
            self._listener.refusals.say(self._host, str(why))

    def over(self, task: asyncio.Task[None]) -> None:
        self._listener.handshakes.pop(task, None)
        if not self._is_asyncios:
            self._sock.close()

    def _connection(self) -> asyncio.Protocol:
        self._is_asyncios = True
        return self._listener.connection(self._host)


class _Connection(web.RequestHandler):
    """One connection, with the deadlines that aiohttp does not keep."""

    __slots__ = ("_busy", "_life", "_limits", "_open", "_owner", "_refusals", "_slow", "_tls_transport", "tls")

    def __init__(
        self, server: web.Server, limits: Limits, host: str, open_: dict[OpenConnection, str], refusals: _Refusals
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.idle_s,
            tcp_keepalive=False,  # the listening socket's own settings are inherited
            access_log=None,  # type: ignore[arg-type]  # what aiohttp itself passes for no log
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=0.0,
        )
        self.tls: Any = None
        self._limits = limits
        self._owner = host
        self._open = open_
        self._refusals = refusals
        self._tls_transport: asyncio.Transport | None = None
        self._busy = False
        self._slow: asyncio.TimerHandle | None = None
        self._life: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self._tls_transport = transport
        self.tls = transport.get_extra_info("ssl_object")
        peer = peer_of_tls(self.tls)
        if peer is not None:
            self._owner = peer.node_id
        if len(self._open) >= self._limits.connections or self._of_same_owner() >= self._limits.connections_each:
            self._refusals.say(self._owner, "too many connections are open")
            self.cut()
            return
        self._open[self] = self._owner
        if self._limits.life_s is not None:
            self._life = asyncio.get_running_loop().call_later(self._limits.life_s, self.cut)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._open.pop(self, None)
        self._tls_transport = None
        for timer in (self._slow, self._life):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._slow is None and not self._busy:
            self._slow = asyncio.get_running_loop().call_later(self._limits.request_s, self.cut)
        super().data_received(data)

    def request_arrived(self) -> None:
        """Headers and body are here; what comes from now on belongs to the answer."""
        self._busy = True
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def request_answered(self) -> None:
        """The next bytes are another request."""
        self._busy = False

    def cut(self) -> None:
        """End the connection without another byte."""
        if self._tls_transport is not None:
            self._tls_transport.abort()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        # What peers do wrong must not fill the log; what the node's own code does wrong is logged by its middleware.
        _log.debug(*args, **kw)

    def _of_same_owner(self) -> int:
        return sum(owner == self._owner for owner in self._open.values())


@web.middleware
async def whole_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Call the handler when the whole request has come: nothing after it waits for a slow sender.

    A body above the application's `client_max_size`, or that is not what its headers say, never reaches the handler.
    """
    connection = request.protocol
    assert isinstance(connection, _Connection)
    if request.content_length is not None and request.content_length > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size, request.content_length)
    if request.can_read_body:
        await request.read()  # kept by the request: the handler's own `read` returns it
    connection.request_arrived()
    try:
        return await handler(request)
    finally:
        connection.request_answered()


def _listening(host: str, port: int) -> socket.socket:
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
    elif socket.has_dualstack_ipv6():
        sock = socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    else:
        sock = socket.create_server(("", port), backlog=BACKLOG)
    sock.setblocking(False)
    keep_watch(sock)
    return sock
