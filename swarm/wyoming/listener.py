"""A port for Wyoming clients: who may connect, how many, and what each may make us keep.

Each connection has one conversation (`Talk`). Pings and `describe` are answered at once, whatever else is going on;
all other events are taken one after the other. When the client goes, its conversation is cancelled.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from swarm.egress import is_lan
from swarm.errors import MalformedMessage, MycoswarmError
from swarm.wyoming.events import MAX_HEADER_BYTES, read_event, text_in, write_event

MAX_CONNECTIONS = 16
"""At one port. A home has a handful of satellites and one Home Assistant."""
MAX_WAITING = 32
"""Events of one client that are not taken yet; then nothing more is read from it."""
IDLE_S = 300.0
"""A client that says nothing for so long is gone."""
SEND_S = 10.0
"""One that takes nothing for so long, too."""
MAX_REFUSED = 256
"""Addresses that were refused and are remembered, so that each is told of once."""

log = logging.getLogger(__name__)


class Talk:
    """What a service does with the events of one client."""

    @property
    def patience_s(self) -> float | None:
        """So long the next event may take; then `silent` is called. None: any time."""
        return None

    async def take(self, event: Event) -> None:
        """One event; those that mean nothing here are ignored. Raises `MycoswarmError`, which the client is told;
        after `MalformedMessage` it is cut off."""
        raise NotImplementedError

    async def silent(self) -> None:
        """No event came in time. Raises as `take` does."""

    async def close(self) -> None:
        """The client is gone."""


class Client:
    """The other end of a connection."""

    def __init__(self, writer: asyncio.StreamWriter, address: str) -> None:
        self.address = address
        self._writer = writer
        self._turn = asyncio.Lock()

    async def send(self, event: Event) -> None:
        """Raises `OSError` when it is gone, or takes nothing any more."""
        async with self._turn:
            await write_event(event, self._writer, timeout_s=SEND_S)


Open = Callable[[Client], Talk]


class AllowList:
    """This machine, and who is named besides: addresses and networks of the LAN."""

    def __init__(self, entries: Sequence[str] = ()) -> None:
        self._networks = [ipaddress.ip_network(entry) for entry in entries]

    def allows(self, address: str) -> bool:
        """Whether the machine with this address may connect."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        return ip.is_loopback or (is_lan(str(ip)) and any(ip in network for network in self._networks))


class WyomingListener:
    """One service on one port."""

    def __init__(self, name: str, *, allow: AllowList, info: Info, talk: Open) -> None:
        """`name` for the log; `info` answers `describe`."""
        self.name = name
        self.refused: dict[str, None] = {}
        self._allow = allow
        self._info = info
        self._talk = talk
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens; known after `start`."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self, host: str, port: int) -> None:
        """Listen at `host`, empty for every address. Raises `MycoswarmError` when the port cannot be had."""
        try:
            listening = _listening(host, port)
            self._server = await asyncio.start_server(self._connected, sock=listening, limit=MAX_HEADER_BYTES)
        except OSError as error:
            raise MycoswarmError(
                f"cannot listen on {host or 'any address'}, port {port}, for Wyoming's {self.name}: "
                f"{os.strerror(error.errno or 0)}",
                hint=f"end the program that has it, or set wyoming.{self.name}_port in the configuration",
            ) from error
        log.info("Wyoming's %s is served on %s, port %d", self.name, host or "every address of the LAN", self.port)

    async def close(self) -> None:
        """Part from all clients. Safe to call twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for client in self._clients:
            client.cancel()
        if self._clients:
            await asyncio.wait(self._clients)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Refuses, or serves in a task that `close` ends."""
        address = str((writer.get_extra_info("peername") or ("",))[0])
        try:
            allowed = self._allow.allows(address)
        except ValueError:  # it was gone before we looked
            allowed = False
        if not allowed or len(self._clients) >= MAX_CONNECTIONS:
            if allowed:
                log.warning(
                    "%d clients are connected to Wyoming's %s: one more was refused", MAX_CONNECTIONS, self.name
                )
            else:
                self._refuse(address)
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer, address), name=f"wyoming {self.name} {address}")
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    def _refuse(self, address: str) -> None:
        if address in self.refused or not address:
            return
        while len(self.refused) >= MAX_REFUSED:
            del self.refused[next(iter(self.refused))]
        self.refused[address] = None
        log.warning(
            "%s wanted Wyoming's %s and may not: wyoming.allow in the configuration does not name it",
            address,
            self.name,
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        client = Client(writer, address)
        talk = self._talk(client)
        todo: asyncio.Queue[Event] = asyncio.Queue(MAX_WAITING)
        both = [
            asyncio.create_task(self._read(reader, client, todo)),
            asyncio.create_task(self._work(talk, client, todo)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)
            with suppress(MycoswarmError, OSError):
                await talk.close()
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):  # for what was written last: why it is cut off
                    await writer.wait_closed()
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, client: Client, todo: asyncio.Queue[Event]) -> None:
        """Until the client goes, or sends what is no event."""
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    event = await read_event(reader)
                if event is None:
                    return
                if Ping.is_type(event.type):
                    await client.send(Pong(text=text_in(event, "text", limit=1_000)).event())
                elif Describe.is_type(event.type):
                    await client.send(self._info.event())
                else:
                    await todo.put(event)
        except MalformedMessage as error:
            await self._cut_off(client, error)
        except (OSError, EOFError) as error:
            log.debug("Wyoming's %s lost %s: %r", self.name, client.address, error)

    async def _work(self, talk: Talk, client: Client, todo: asyncio.Queue[Event]) -> None:
        try:
            while True:
                event = await _next(todo, talk.patience_s)
                try:
                    await (talk.silent() if event is None else talk.take(event))
                except MalformedMessage:
                    raise
                except MycoswarmError as error:
                    log.warning("Wyoming's %s could not serve %s: %s", self.name, client.address, error.for_log())
                    await client.send(Error(text=str(error), code=type(error).__name__).event())
        except MalformedMessage as error:
            await self._cut_off(client, error)
        except OSError as error:
            log.debug("Wyoming's %s lost %s: %r", self.name, client.address, error)
        except Exception:  # whatever a stranger's event broke, the other clients are served on
            log.exception("Wyoming's %s broke off with %s", self.name, client.address)

    async def _cut_off(self, client: Client, error: MalformedMessage) -> None:
        log.warning("Wyoming's %s cut off %s: %s", self.name, client.address, error)
        with suppress(OSError):
            await client.send(Error(text=str(error), code="malformed").event())


async def _next(todo: asyncio.Queue[Event], patience_s: float | None) -> Event | None:
    try:
        async with asyncio.timeout(patience_s):
            return await todo.get()
    except TimeoutError:
        return None


def _listening(host: str, port: int) -> socket.socket:
    if host:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
