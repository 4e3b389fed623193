"""Tells the LAN by multicast DNS which Wyoming services are here (`_wyoming._tcp.local.`); lists those of others."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from swarm.interfaces import lan_interfaces

TYPE = "_wyoming._tcp.local."
LOOK_EVERY_S = 5.0
"""How often it is looked whether the addresses are still the same."""
MAX_LABEL = 40
MAX_LISTED = 64
ANSWER_S = 1.0

log = logging.getLogger(__name__)

Find = Callable[[], Awaitable[AsyncZeroconf | None]]
"""The zeroconf that speaks for this machine now; None while there is none."""


class Listed(msgspec.Struct, frozen=True):
    """A Wyoming service of another machine, as mDNS tells of it: not asked, not proved."""

    name: str
    url: str


async def announce(services: Mapping[str, int], *, node: str, unique: str, address: str, find: Find) -> None:
    """Announce the services (name to port) of the node called `node` until cancelled. `unique` tells machines of one
    name apart; `address` empty: all addresses of the LAN."""
    label = re.sub(r"[^\w-]+", "-", node).encode()[:MAX_LABEL].decode(errors="ignore") or "node"
    host = f"{label}-{unique}.local."
    told: dict[str, AsyncServiceInfo] = {}
    by: AsyncZeroconf | None = None
    try:
        while True:
            zeroconf, addresses = await find(), _addresses(address)
            if zeroconf is not by:
                by, told = zeroconf, {}
            if zeroconf is not None and addresses:
                for service, port in services.items():
                    info = AsyncServiceInfo(
                        TYPE,
                        f"{label}-{unique} {service}.{TYPE}",
                        port=port,
                        server=host,
                        parsed_addresses=list(addresses),
                    )
                    before, told[service] = told.get(service), info  # noted first: telling takes a second
                    await _tell(zeroconf, before, info)
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        if by is not None:
            await asyncio.gather(*(_untell(by, info) for info in told.values()))


@asynccontextmanager
async def own_zeroconf() -> AsyncIterator[Find]:
    """For a node that belongs to no swarm, and has none that finds other nodes."""
    opened: AsyncZeroconf | None = None
    used: tuple[str | int, ...] = ()

    async def find() -> AsyncZeroconf | None:
        nonlocal opened, used
        choice = _choice()
        try:
            if opened is None and choice:
                opened = AsyncZeroconf(interfaces=list(choice), ip_version=IPVersion.All)
            elif opened is not None and choice != used:
                await opened.async_update_interfaces(list(choice), IPVersion.All)
            used = choice
        except OSError as error:  # interfaces come and go while we look
            log.warning("cannot announce Wyoming services by multicast: %s", error)
        return opened

    try:
        yield find
    finally:
        if opened is not None:
            await opened.async_close()


async def listed(*, wait_s: float = ANSWER_S) -> tuple[Listed, ...]:
    """What the machines of the LAN announce within `wait_s`."""
    choice = _choice()
    if not choice:
        return ()
    names: dict[str, None] = {}

    def heard(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is ServiceStateChange.Added and len(names) < MAX_LISTED:
            names[name] = None

    async with AsyncZeroconf(interfaces=list(choice), ip_version=IPVersion.All) as zeroconf:
        browser = AsyncServiceBrowser(zeroconf.zeroconf, TYPE, handlers=[heard])
        await asyncio.sleep(wait_s)
        await browser.async_cancel()
        infos = [AsyncServiceInfo(TYPE, name) for name in names]
        await asyncio.gather(*(info.async_request(zeroconf.zeroconf, ANSWER_S * 1000) for info in infos))
    return tuple(
        Listed(info.name.removesuffix(f".{TYPE}"), f"tcp://{_in_url(addresses[0])}:{info.port}")
        for info in infos
        if (addresses := info.parsed_addresses()) and info.port
    )


async def _tell(zeroconf: AsyncZeroconf, before: AsyncServiceInfo | None, info: AsyncServiceInfo) -> None:
    try:
        if before is None:
            await (await zeroconf.async_register_service(info, allow_name_change=True))
        elif before.parsed_addresses() != info.parsed_addresses():
            await (await zeroconf.async_update_service(info))
    except (ZeroconfError, OSError) as error:
        log.warning("cannot announce the Wyoming service %s: %s", info.name, error)


async def _untell(zeroconf: AsyncZeroconf, info: AsyncServiceInfo) -> None:
    with suppress(ZeroconfError, OSError, TimeoutError):
        await (await zeroconf.async_unregister_service(info))


def _choice() -> tuple[str | int, ...]:
    found = lan_interfaces()
    return (*(a for i in found for a in i.ipv4), *(i.index for i in found if i.has_ipv6))


def _addresses(only: str) -> Sequence[str]:
    if only:
        return (only,)
    return tuple(address.partition("%")[0] for interface in lan_interfaces() for address in interface.addresses)


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
