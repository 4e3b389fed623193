"""Machines that wait to be let in say so by mDNS, so that whoever can let them in learns of them.

The service `_mycoswarm-new._tcp.local.` has the machine's name in its TXT record (`v` = 1, `name`), and nothing that
proves anything. In particular it has no code: a code from the same network proves nothing. A person compares the one
that the machine itself shows or says (`swarm.enrolment_messages`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets

import msgspec
from zeroconf import BadTypeInNameException, IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from swarm.candidate import usable_addresses
from swarm.config import Config
from swarm.enrolment_messages import plain_name
from swarm.interfaces import lan_interfaces

SERVICE = "_mycoswarm-new._tcp.local."
MAX_MACHINES = 32
LISTEN_S = 1.5
INFO_MS = 1_500
LOOK_S = 5.0
"""How often addresses are looked at: they come late, and change."""

_log = logging.getLogger(__name__)


class WaitingMachine(msgspec.Struct, frozen=True, order=True):
    """One that says it waits. Anybody can say anything."""

    name: str
    address: str


class Waiting:
    """While it is entered, the LAN hears that this machine waits. Nothing where multicast is switched off."""

    def __init__(self, config: Config) -> None:
        self._name = config.node.name
        self._multicast = config.swarm.multicast
        self._label = f"{secrets.token_hex(8)}.{SERVICE}"
        self._port = config.swarm.enrolment_port
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Waiting:
        if self._multicast:
            self._following = asyncio.create_task(self._follow(), name="saying that this machine waits")
        return self

    async def __aexit__(self, *_exception: object) -> None:
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following

    async def _follow(self) -> None:
        """Announce anew whenever the machine's addresses changed."""
        said: tuple[str, ...] = ()
        zeroconf: AsyncZeroconf | None = None
        try:
            while True:
                own = _own_addresses()
                if own != said:
                    if zeroconf is not None:
                        await zeroconf.async_close()
                    zeroconf, said = (await self._announced(own) if own else None), own
                await asyncio.sleep(LOOK_S)
        finally:
            if zeroconf is not None:
                await zeroconf.async_close()

    async def _announced(self, addresses: tuple[str, ...]) -> AsyncZeroconf | None:
        info = ServiceInfo(
            SERVICE,
            self._label,
            port=self._port,
            properties={"v": "1", "name": self._name[:64]},
            server=f"{self._label.partition('.')[0]}.local.",
            parsed_addresses=list(addresses),
        )
        try:
            zeroconf = AsyncZeroconf(interfaces=list(addresses), ip_version=IPVersion.V4Only)
        except OSError as error:
            _log.info("the LAN cannot be told that this machine waits: %s", error)
            return None
        await zeroconf.async_register_service(info)
        return zeroconf


async def waiting_machines(config: Config) -> list[WaitingMachine]:
    """Those that say so within a moment; none where multicast is switched off."""
    own = _own_addresses()
    if not config.swarm.multicast or not own:
        return []
    names: dict[str, None] = {}
    try:
        zeroconf = AsyncZeroconf(interfaces=list(own), ip_version=IPVersion.V4Only)
    except OSError:
        return []

    def heard(name: str, **_rest: object) -> None:
        if len(names) < MAX_MACHINES:
            names[name] = None

    try:
        browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[heard])
        try:
            await asyncio.sleep(LISTEN_S)
        finally:
            await browser.async_cancel()
        found = await asyncio.gather(*(_described(zeroconf, name) for name in names))
    finally:
        await zeroconf.async_close()
    return sorted({each for each in found if each is not None})


async def _described(zeroconf: AsyncZeroconf, name: str) -> WaitingMachine | None:
    try:
        info = AsyncServiceInfo(SERVICE, name)
        if not await info.async_request(zeroconf.zeroconf, INFO_MS):
            return None
    except (BadTypeInNameException, UnicodeDecodeError):  # made up by somebody
        return None
    addresses = usable_addresses(info.parsed_addresses(IPVersion.V4Only))
    said = info.properties.get(b"name") or b""
    if info.properties.get(b"v") != b"1" or not addresses:
        return None
    return WaitingMachine(plain_name(said.decode(errors="replace")), addresses[0])


def _own_addresses() -> tuple[str, ...]:
    return tuple(address for interface in lan_interfaces() for address in interface.addresses if ":" not in address)
