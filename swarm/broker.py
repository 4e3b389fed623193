"""Which MQTT broker this node uses, and keeping it running when it is our own.

The one in the configuration; else Mosquitto, when it is installed, as a child process; else amqtt in a child process.
Our own brokers listen on loopback only and keep nothing on disk: devices announce themselves again when they connect.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import psutil

from swarm.child import end_child, start_child
from swarm.config import BusSection
from swarm.egress import is_lan
from swarm.errors import BusError

_log = logging.getLogger(__name__)

BrokerKind = Literal["external", "mosquitto", "amqtt"]

USUAL_PORT = 1883
USUAL_TLS_PORT = 8883
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Largest message on the bus; the longest honest one is Zigbee2MQTT's list of its devices, with some ten kilobytes of
each."""
START_TIMEOUT_S = 20.0
"""Mosquitto needs 25 ms, amqtt half a second; a small board under load a multiple of it."""
RESOLVE_TIMEOUT_S = 5.0
BACKOFF_S = (0.2, 5.0)
"""First and longest pause before a broker that died is started again; doubled each time."""
STABLE_S = 30.0
"""A broker that ran this long is forgiven its earlier deaths."""


@dataclass(frozen=True)
class BrokerAddress:
    """Where a broker is and how to log in to it."""

    host: str
    """Name or IP address."""
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    kind: BrokerKind = "external"
    tls: Callable[[], ssl.SSLContext] | None = field(default=None, repr=False, compare=False)
    """Makes the context of a connection; None for a connection without TLS. May raise `MycoswarmError`, `OSError`."""
    server_name: str = ""
    """What the server has to prove that it is: a node id, or a host's name; empty for `host`."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Broker:
    """The broker of this node. `start()` before use, `close()` at the end; in between it restarts what dies."""

    def __init__(
        self, config: BusSection, state_dir: Path, *, own: Literal["mosquitto", "amqtt"] | None = None
    ) -> None:
        """`state_dir` takes the generated configuration; `own` says which broker to start when none is configured,
        None for Mosquitto when it is installed."""
        self._config = config
        self._state_dir = state_dir
        self._own = own
        self._address: BrokerAddress | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._supervision: asyncio.Task[None] | None = None

    @property
    def address(self) -> BrokerAddress:
        """Where to connect; known after `start`."""
        assert self._address is not None, "start() first"
        return self._address

    async def start(self) -> None:
        """Find or start the broker; raises `BusError`. One in the configuration need not be running yet."""
        if self._config.broker:
            address = parse_broker_url(self._config.broker, authority=self._config.authority)
            if addresses := await _addresses_of(address.host, address.port):
                lan_address_among(addresses, address.host)
            else:
                # After a power cut the node may be up before the router that knows the name.
                _log.warning("the broker's host %s has no address yet; trying again later", address.host)
            self._address = address
            return
        kind = self._own or ("mosquitto" if find_mosquitto() else "amqtt")
        attempts = 1 if self._config.port else 3  # another program can take a port between our look and the start
        for attempt in range(1, attempts + 1):
            port = choose_port(self._config.port)
            try:
                self._process = await self._launch(kind, port)
                break
            except BusError:
                if attempt == attempts:
                    raise
        self._address = BrokerAddress("127.0.0.1", port, kind=kind)
        self._supervision = asyncio.create_task(self._supervise(kind, port), name="broker supervision")

    async def close(self) -> None:
        """End the broker if it is ours; at most a second."""
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.wait([self._supervision])
        if self._process is not None:
            await end_child(self._process)

    async def _supervise(self, kind: BrokerKind, port: int) -> None:
        pause, longest = BACKOFF_S
        started = time.monotonic()
        while True:
            if self._process is not None:
                code = await self._process.wait()
                _log.error("the broker %s ended with code %d; starting it again", kind, code)
                self._process = None
            if time.monotonic() - started > STABLE_S:
                pause = BACKOFF_S[0]
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)
            started = time.monotonic()
            try:
                self._process = await self._launch(kind, port)
            except BusError as error:
                _log.error("%s", error)

    async def _launch(self, kind: BrokerKind, port: int) -> asyncio.subprocess.Process:
        """A child that listens on the port; raises `BusError` when it does not come to that."""
        try:
            argv = self._mosquitto_argv(port) if kind == "mosquitto" else amqtt_argv(port)
            process = await start_child(argv)
        except OSError as error:
            raise BusError(f"cannot start the broker {kind}: {error}") from error
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not _listens(process.pid, port):
                    if process.returncode is not None:
                        raise BusError(
                            f"the broker {kind} ended with code {process.returncode} before it listened on port {port}",
                            hint="its own words are in the log above",
                        )
                    await asyncio.sleep(0.01)
        except BaseException as error:  # whatever ends the wait, a child that is no use must not stay
            await end_child(process)
            if isinstance(error, TimeoutError):
                raise BusError(f"the broker {kind} did not listen on port {port} in {START_TIMEOUT_S:.0f} s") from error
            raise
        return process

    def _mosquitto_argv(self, port: int) -> list[str]:
        program = find_mosquitto()
        if program is None:
            raise BusError("mosquitto is not installed", hint="install the package mosquitto")
        path = self._state_dir / "mosquitto.conf"
        try:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            path.write_text(mosquitto_configuration(port), encoding="utf-8")
        except OSError as error:
            raise BusError(f"cannot write the broker's configuration {path}: {error}") from error
        return [program, "-c", str(path)]


def find_mosquitto() -> str | None:
    """Path of the Mosquitto program; Debian puts it where only root's PATH leads."""
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/sbin", "/usr/local/sbin"]
    return shutil.which("mosquitto", path=os.pathsep.join(folders))


def mosquitto_configuration(port: int) -> str:
    """The whole of `mosquitto.conf(5)` for a broker of this machine alone."""
    lines = [
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "persistence false",
        f"message_size_limit {MAX_MESSAGE_BYTES}",
        # A new subscriber gets a home's retained messages at once: 1,000, the default, would drop the rest silently.
        "max_queued_messages 100000",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
    ]
    if os.geteuid() == 0:
        # As root it would change its user, and with that lose the order to die with us (see swarm.child).
        lines.append(f"user {getpass.getuser()}")
    return "\n".join(lines) + "\n"


def amqtt_argv(port: int) -> list[str]:
    """The command line of the broker in Python."""
    return [sys.executable, "-m", "swarm.amqtt_broker", str(port)]


def choose_port(wanted: int) -> int:
    """The loopback port to listen on; 0 means the usual one when free, else any. Raises `BusError` if it is taken."""
    if wanted:
        if not _is_free(wanted):
            raise BusError(
                f"port {wanted} for the broker is taken by another program",
                hint=f"set bus.port to 0 for any free port, or bus.broker to mqtt://127.0.0.1:{wanted} to use "
                "the broker that listens there",
            )
        return wanted
    if _is_free(USUAL_PORT):
        return USUAL_PORT
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _listens(pid: int, port: int) -> bool:
    """Whether this very process listens there: a connection could reach someone else's broker."""
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp4")
    except psutil.Error:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections)


# ---- brokers that are already there


def parse_broker_url(url: str, *, authority: str = "") -> BrokerAddress:
    """`mqtt://[user:password@]host[:port]`, or `mqtts://` for TLS; raises `BusError`.

    `authority` is the path of a PEM file: whose certificates the broker is believed by; empty for those that the system
    believes.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _bad_url(url, str(error)) from error
    if parts.scheme not in ("mqtt", "mqtts"):
        raise _bad_url(url, "it does not begin with mqtt:// or mqtts://")
    if not host:
        raise _bad_url(url, "it names no host")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _bad_url(url, "something follows the port")
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password is not None else None
    if parts.scheme == "mqtt":
        if authority:
            raise BusError(
                "bus.authority is set, and bus.broker asks for no TLS",
                hint="write mqtts:// in bus.broker, or remove bus.authority",
            )
        return BrokerAddress(host, USUAL_PORT if port is None else port, username, password)
    usual = USUAL_TLS_PORT if port is None else port
    return BrokerAddress(host, usual, username, password, tls=lambda: _context_by(authority))


def _context_by(authority: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority or None)
    except OSError as error:  # ssl.SSLError too
        raise BusError(
            f"bus.authority {authority} cannot be read: {error.strerror or error}",
            hint="name a PEM file with the certificate of the authority that signed the broker's",
        ) from error


def _bad_url(url: str, why: str) -> BusError:
    shown = url.rpartition("@")[2]  # never a password in a log
    return BusError(
        f"bus.broker …{shown} is no address of a broker: {why}",
        hint="write mqtt://user:password@host:1883, or mqtts:// for a broker with TLS",
    )


async def resolve_on_lan(host: str, port: int) -> str:
    """An address of `host` inside the LAN; raises `BusError` when it has none. Nothing is sent to `host`."""
    addresses = await _addresses_of(host, port)
    if not addresses:
        raise BusError(
            f"the broker's host {host} has no address", hint="check the name in bus.broker, and the LAN's DNS"
        )
    return lan_address_among(addresses, host)


def lan_address_among(addresses: list[str], host: str) -> str:
    """The first of `addresses` that is loopback, private or link-local; raises `BusError` when none is."""
    for address in addresses:
        if is_lan(address):
            return address
    raise BusError(
        f"the broker's host {host} ({', '.join(addresses)}) is not in the local network",
        hint="set bus.broker to a broker at home; mycoswarm connects to nothing outside the LAN",
    )


async def _addresses_of(host: str, port: int) -> list[str]:
    """All addresses of a host in the resolver's order; empty when it is not known."""
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        return []
    return [str(sockaddr[0]) for *_, sockaddr in found]
