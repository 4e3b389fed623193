"""The machine's network interfaces that lead to the LAN, and word when they change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Callable

import msgspec
import psutil

from swarm.candidate import usable_addresses

SETTLE_S = 0.2
"""Changes come in bursts (link, address, second address): wait for the rest before looking."""
POLL_S = 10.0
"""How often to look where the kernel does not tell."""
MAX_INTERFACES = 16

# Inner sides of containers and virtual machines; `br-lan` is a real one, `br-` with a hash is Docker's.
_INNER = re.compile(r"(docker|veth|cni|flannel|podman|cali|lxc|vnet)\w*|br-[0-9a-f]{12}")
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100  # linux/rtnetlink.h

log = logging.getLogger(__name__)


class Interface(msgspec.Struct, frozen=True):
    """One interface that is up."""

    name: str
    index: int
    addresses: tuple[str, ...]
    """Addresses of the LAN; link-local IPv6 ones with `%name`."""

    @property
    def ipv4(self) -> tuple[str, ...]:
        """Its IPv4 addresses."""
        return tuple(address for address in self.addresses if ":" not in address)

    @property
    def has_ipv6(self) -> bool:
        """Whether it has an IPv6 address."""
        return any(":" in address for address in self.addresses)


def lan_interfaces() -> tuple[Interface, ...]:
    """Every interface with an address of the LAN, without loopback and the inner sides of containers."""
    up = psutil.net_if_stats()
    found = []
    for name, entries in psutil.net_if_addrs().items():
        if name == "lo" or _INNER.fullmatch(name) or name not in up or not up[name].isup:
            continue
        texts = [entry.address for entry in entries if entry.family in (socket.AF_INET, socket.AF_INET6)]
        addresses = usable_addresses(texts)
        if addresses:
            with contextlib.suppress(OSError):  # it may have gone while we looked
                found.append(Interface(name, socket.if_nametoindex(name), addresses))
    return tuple(sorted(found, key=lambda interface: interface.index)[:MAX_INTERFACES])


class InterfaceWatch:
    """Calls `changed` soon after an interface or an address came or went, also when nothing of it matters."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin; on Linux the kernel tells (rtnetlink(7)), elsewhere it is looked up every `POLL_S`."""
        try:
            watch = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        except (AttributeError, OSError) as error:
            log.info("the kernel does not tell of network changes (%s): looking every %.0f s", error, POLL_S)
            self._poll()
            return
        self._socket = watch
        watch.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))
        self._loop.add_reader(watch, self._told)

    def close(self) -> None:
        """End it; safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _told(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):  # BlockingIOError: all read; ENOBUFS: too much happened, so look
            for _ in range(64):
                self._socket.recv(65536)
        if self._timer is None:
            self._timer = self._loop.call_later(SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._timer = None
        self._changed()

    def _poll(self) -> None:
        self._timer = self._loop.call_later(POLL_S, self._poll)
        self._changed()
