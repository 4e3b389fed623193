"""How a node asks another: warm HTTPS connections, kept by the node's id and not by its address.

A request names the node. Where it is now is looked up for each new connection, all its addresses are tried at once
(RFC 8305), and whichever answers must prove in the handshake that it is that node; nothing is sent to another.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Literal, TypeAlias, TypeVar

import aiohttp
import msgspec
from aiohappyeyeballs import AddrInfoType, start_connection
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from swarm.certificates import NodeId
from swarm.egress import is_lan
from swarm.errors import MycoswarmError, NodeUnreachable
from swarm.https_listener import keep_watch
from swarm.switching import NotSwitched, ask_to_switch
from swarm.tls import ANY_MEMBER, ClientContexts, PeerNotAccepted, TlsContexts, peer_of
from swarm.trust import Trust

CONNECT_S = 3.0
"""TCP and TLS handshake, with all addresses tried."""
NEXT_ADDRESS_S = 0.25
"""After so long without an answer the next address is tried too (RFC 8305, 5)."""
IDLE_S = 3000.0
"""An unused connection is kept this long; less than the other side's `Limits.idle_s`, so a request meets none that is
about to close."""
MAX_CONNECTIONS = 100
"""To one node; below the other side's `Limits.connections_each`."""
MAX_SESSIONS = 256
"""Nodes with connections; beyond, those asked longest ago are closed."""
MAX_REPLY_BYTES = 16 * 1024 * 1024
MAX_WS_MESSAGE_BYTES = 1024 * 1024
WARM_PATH = "/v1/hello"

Address: TypeAlias = tuple[str, int]
"""IP address as text, with its zone if it is link-local, and port."""
Layer = Literal["address", "tcp", "tls", "clock", "certificate", "identity", "connection"]
"""What failed: nothing known or nothing on the LAN; no connection; no handshake; certificate of another time; of
another authority; another node; or a connection that broke."""
T = TypeVar("T")


class PeerUnreachable(NodeUnreachable):
    """The node could not be asked, or went away while it answered."""

    def __init__(self, node_id: NodeId, layer: Layer, reason: str, *, hint: str = "") -> None:
        super().__init__(f"node {node_id}: {reason}", hint=hint)
        self.node_id = node_id
        self.layer: Layer = layer


class PeerRefused(MycoswarmError):
    """The node answered that it does not do this (now)."""

    def __init__(self, status: int, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after_s = retry_after_s


class PeerSession:
    """One other node, as this one asks it."""

    def __init__(
        self, node_id: NodeId, contexts: ClientContexts, addresses: Callable[[NodeId], Sequence[Address]]
    ) -> None:
        """`addresses` is where the node may be, best first; asked for each new connection."""
        self.node_id = node_id
        self._contexts = contexts
        self._addresses = addresses
        self._open: set[asyncio.Timeout] = set()
        self._http = aiohttp.ClientSession(
            base_url=URL.build(scheme="https", host=node_id),
            connector=aiohttp.TCPConnector(
                resolver=AddressResolver(lambda: addresses(node_id)),
                use_dns_cache=False,
                limit=MAX_CONNECTIONS,
                keepalive_timeout=IDLE_S,
                socket_factory=_watched_socket,
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            raise_for_status=False,
            trust_env=False,
        )

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, whatever its status, while the context lasts; `timeout_s` for all of it.

        Raises `PeerUnreachable`, also when the connection breaks inside the context; `TimeoutError`.
        """
        with _explained(self.node_id, self._http):
            async with (
                self._until_closed(),
                asyncio.timeout(timeout_s),
                self._http.request(
                    method, path, data=data, headers=headers, ssl=self._contexts.client(), allow_redirects=False
                ) as response,
            ):
                yield response

    @asynccontextmanager
    async def websocket(
        self,
        path: str,
        *,
        max_message_bytes: int = MAX_WS_MESSAGE_BYTES,
        autoping: bool = True,
        close_s: float = 10.0,
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket while the context lasts; `close_s` for the good-bye. With `autoping` off the caller sees pings
        and pongs, and answers the former. Raises `PeerUnreachable`; `PeerRefused` when the node opens none."""
        with _explained(self.node_id, self._http):
            async with (
                self._until_closed(),
                self._http.ws_connect(
                    path,
                    ssl=self._contexts.client(),
                    max_msg_size=max_message_bytes,
                    compress=0,
                    autoping=autoping,
                    timeout=aiohttp.ClientWSTimeout(ws_close=close_s),
                ) as ws,
            ):
                yield ws

    @asynccontextmanager
    async def switched(self, path: str, protocol: str) -> AsyncIterator[asyncio.Transport]:
        """A connection on which both sides speak `protocol` and HTTP no more; aborted at the end of the context, and
        whoever takes it over waits for its end. Raises `PeerUnreachable`; `PeerRefused` when the node does not switch.
        """
        async with self._until_closed():
            with _connecting(self.node_id):
                found = [_address_info(*address) for address in self._addresses(self.node_id) if is_lan(address[0])]
                if not found:
                    raise PeerUnreachable(self.node_id, "address", _NO_ADDRESS, hint=_IS_IT_ON)
                sock = await start_connection(
                    found, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1, socket_factory=_watched_socket
                )
                reader, writer = await asyncio.open_connection(
                    sock=sock, ssl=self._contexts.client(), server_hostname=self.node_id
                )
            try:
                try:
                    connection = await ask_to_switch(reader, writer, path, protocol, host=self.node_id)
                except NotSwitched as error:
                    raise PeerRefused(error.status, f"node {self.node_id} does not speak {protocol} here") from error
                except OSError as error:
                    reason = f"the connection ended: {error.strerror or error or type(error).__name__}"
                    raise PeerUnreachable(self.node_id, "connection", reason, hint=_NOT_WANTED) from error
                yield connection
            finally:
                writer.transport.abort()

    async def call(self, method: str, path: str, message: object = None, *, reply: type[T], timeout_s: float) -> T:
        """Send a message as JSON and parse the answer. Raises `PeerUnreachable`, `PeerRefused`, `TimeoutError`."""
        data = None if message is None else msgspec.json.encode(message)
        headers = None if data is None else {"Content-Type": "application/json"}
        async with self.request(method, path, data=data, headers=headers, timeout_s=timeout_s) as response:
            body = await read_bounded(response)
            if response.status >= 300:
                raise refusal_of(response, body)
        try:
            return msgspec.json.decode(body, type=reply)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PeerUnreachable(
                self.node_id, "connection", f"answered {method} {path} with no message of ours: {error}"
            ) from error

    async def warm(self) -> None:
        """Have a connection open before a task needs it. Raises `PeerUnreachable`."""
        async with self.request("HEAD", WARM_PATH, timeout_s=CONNECT_S):
            pass  # any answer will do, 404 too

    async def close(self) -> None:
        """Cut all connections, in use or not."""
        for each in self._open:
            with suppress(RuntimeError):  # it is ending
                each.reschedule(0.0)
        await self._http.close()  # TLS connections are aborted: aiohttp's default, `ssl_shutdown_timeout` of 0

    @asynccontextmanager
    async def _until_closed(self) -> AsyncIterator[None]:
        """Whoever reads when the session is closed is woken: aiohttp lets it wait for a connection that is no more."""
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._open.add(scope)
                yield
        except TimeoutError:
            if scope.expired():
                raise PeerUnreachable(self.node_id, "connection", "the connection was cut here") from None
            raise
        finally:
            self._open.discard(scope)


class Peers:
    """The sessions of this node with all others; a node that is revoked loses its own at once."""

    def __init__(self, contexts: TlsContexts, trust: Trust, addresses: Callable[[NodeId], Sequence[Address]]) -> None:
        """`addresses` as for `PeerSession`."""
        self._contexts = contexts
        self._trust = trust
        self._addresses = addresses
        self._sessions: OrderedDict[NodeId, PeerSession] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._unsubscribe = trust.subscribe(self._drop_revoked)

    def __getitem__(self, node_id: NodeId) -> PeerSession:
        """The session with that node. Raises `PeerUnreachable` for one that is revoked."""
        if self._trust.is_revoked(node_id):
            raise PeerUnreachable(node_id, "identity", "it was revoked")
        session = self._sessions.get(node_id)
        if session is None:
            session = self._sessions[node_id] = PeerSession(node_id, self._contexts, self._addresses)
            if len(self._sessions) > MAX_SESSIONS:
                self._drop(next(iter(self._sessions)))
        self._sessions.move_to_end(node_id)
        return session

    async def close(self) -> None:
        """Cut all connections."""
        self._unsubscribe()
        for node_id in tuple(self._sessions):
            self._drop(node_id)
        await asyncio.gather(*self._closing)

    def _drop_revoked(self) -> None:
        for node_id in tuple(self._sessions):
            if self._trust.is_revoked(node_id):
                self._drop(node_id)

    def _drop(self, node_id: NodeId) -> None:
        task = asyncio.create_task(self._sessions.pop(node_id).close(), name=f"close session with {node_id}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def identify(contexts: ClientContexts, address: Address) -> NodeId:
    """Which node of this swarm listens at `address`. Raises `PeerUnreachable`; its `node_id` is then the address."""
    host, port = address
    where = f"at {host} port {port}"
    if not is_lan(host):
        raise PeerUnreachable(where, "address", "that is outside the LAN")
    with _connecting(where):
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=contexts.client(), server_hostname=ANY_MEMBER)
    try:
        return peer_of(writer.transport).node_id
    finally:
        writer.transport.abort()


async def read_bounded(response: aiohttp.ClientResponse, limit: int = MAX_REPLY_BYTES) -> bytes:
    """The whole body of an answer, uncompressed. Raises `PeerRefused` when it is longer than `limit`."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            response.close()
            raise PeerRefused(502, f"{response.host} answered more than {limit} bytes")
    return bytes(body)


class _ErrorBody(msgspec.Struct, frozen=True):
    error: str = ""
    hint: str = ""


def refusal_of(response: aiohttp.ClientResponse, body: bytes) -> PeerRefused:
    """What an answer with an error status says."""
    said = _ErrorBody()
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = msgspec.json.decode(body, type=_ErrorBody)
    after = response.headers.get("Retry-After", "")
    return PeerRefused(
        response.status,
        said.error[:500] or f"{response.status} {response.reason or ''}".strip(),
        hint=said.hint[:500],
        retry_after_s=float(after) if after.isascii() and after.isdigit() and len(after) < 7 else None,
    )


# ---- connections


class AddressResolver(AbstractResolver):
    """Gives aiohttp addresses that are known already, whatever name it asks for; those outside the LAN are left out."""

    def __init__(self, find: Callable[[], Sequence[Address]]) -> None:
        self._find = find

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """For aiohttp."""
        found = [_result(host, *address) for address in self._find() if is_lan(address[0])]
        if not found:
            raise OSError(None, "no address on the LAN is known")
        return found

    async def close(self) -> None:
        """For aiohttp."""


def _result(hostname: str, host: str, port: int) -> ResolveResult:
    version = ipaddress.ip_address(host.partition("%")[0]).version
    return ResolveResult(
        hostname=hostname,
        host=host,
        port=port,
        family=socket.AF_INET6 if version == 6 else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


def _watched_socket(info: Any) -> socket.socket:
    family, kind, proto, _, _ = info
    sock = socket.socket(family=family, type=kind, proto=proto)
    keep_watch(sock)
    return sock


def _address_info(host: str, port: int) -> AddrInfoType:
    """Of an IP address; nobody is asked about it."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)[0]


# ---- what went wrong


@contextmanager
def _connecting(who: str) -> Iterator[None]:
    """Says at which layer a connection could not be made."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        layer, reason, hint = explain_certificate(error)
        raise PeerUnreachable(who, layer, reason, hint=hint) from error
    except OSError as error:  # TimeoutError too
        layer = "tls" if isinstance(error, ssl.SSLError) else "tcp"
        raise PeerUnreachable(who, layer, f"cannot connect: {error.strerror or error or 'no answer'}") from error


class _explained:  # noqa: N801 reads as a word where it is used
    """Turns what aiohttp raises about the node into `PeerUnreachable`."""

    def __init__(self, node_id: NodeId, http: aiohttp.ClientSession) -> None:
        self._node_id = node_id
        self._http = http

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, aiohttp.WSServerHandshakeError):
            raise PeerRefused(error.status, f"node {self._node_id} opens no WebSocket here: {error.message}") from error
        if isinstance(error, RuntimeError) and self._http.closed:  # what aiohttp raises when it is closed during a read
            raise PeerUnreachable(self._node_id, "connection", "this node ended the connection") from error
        if isinstance(error, (aiohttp.ClientError, ConnectionError)):
            layer, reason, hint = _explain(error)
            raise PeerUnreachable(self._node_id, layer, reason, hint=hint) from error


_NO_ADDRESS = "no address on the LAN is known"
_IS_IT_ON = "is it switched on and in this network?"
_CLOCK = "compare the two clocks; mycoswarm doctor does"
_NOT_WANTED = "if it is this node that is not wanted, the other one's log says why"


def _explain(error: Exception) -> tuple[Layer, str, str]:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return explain_certificate(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "address", _NO_ADDRESS, _IS_IT_ON
    if isinstance(error, aiohttp.ClientSSLError):
        return "tls", f"no TLS connection: {error}", _NOT_WANTED
    if isinstance(error, aiohttp.ClientConnectorError):
        return "tcp", f"cannot connect: {error.os_error.strerror or error.os_error}", "is it running?"
    if isinstance(error, aiohttp.ServerTimeoutError):
        return "tcp", f"no connection within {CONNECT_S:g} s", "is it running, and does a firewall let it be reached?"
    return "connection", f"the connection ended: {error or type(error).__name__}", _NOT_WANTED


def explain_certificate(error: Exception) -> tuple[Layer, str, str]:
    """Which layer a handshake failed at that did not accept the other's certificate, why, and a hint."""
    code = getattr(error, "verify_code", 0)
    if isinstance(error, PeerNotAccepted):
        time = error.standing in ("not_yet_valid", "expired")
        named = error.standing == "not_itself"
        layer: Layer = "clock" if time else "identity" if named else "certificate"
        return layer, str(error.args[1]), _CLOCK if time else ""
    if code in (9, 10):  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
        return "clock", f"its certificate is of another time: {getattr(error, 'verify_message', error)}", _CLOCK
    message = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) and code else str(error)
    return "certificate", f"its certificate is not of this swarm: {message}", ""
