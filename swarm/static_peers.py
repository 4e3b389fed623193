"""Peers that a person named in the configuration: `192.168.1.10:7334`, `[fd00::1]:7334`, `attic.local:7334`."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket

import msgspec

from swarm.candidate import Candidate, usable_addresses
from swarm.egress import is_lan
from swarm.errors import ConfigError

MAX_PEERS = 32
RESOLVE_TIMEOUT_S = 5.0

_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\.?")


class StaticPeer(msgspec.Struct, frozen=True):
    """A host, by name or address, and the nodes' port there."""

    host: str
    port: int

    @property
    def is_address(self) -> bool:
        """Whether the host needs no resolver."""
        return ":" in self.host or _is_ip(self.host)


def parse_peers(texts: tuple[str, ...], *, default_port: int) -> tuple[StaticPeer, ...]:
    """The peers that the configuration names. Raises `ConfigError` naming the wrong one."""
    if len(texts) > MAX_PEERS:
        raise ConfigError(f"{len(texts)} static peers are more than {MAX_PEERS}", hint="name a few that are always on")
    return tuple(dict.fromkeys(parse_peer(text, default_port=default_port) for text in texts))


def parse_peer(text: str, *, default_port: int) -> StaticPeer:
    """One peer: host or address, with or without port. Raises `ConfigError`."""
    hint = "write 192.168.1.10:7334, [fd00::1]:7334 or name.local:7334"
    port: str | None = None
    if bracketed := re.fullmatch(r"\[([^\]]+)\](?::(.*))?", text):
        host, port = bracketed.groups()
    elif _is_ip(text) or ":" not in text:
        host = text
    else:
        host, _, port = text.partition(":")
    if port is not None and not (port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ConfigError(f'static peer "{text}": the port is no number from 1 to 65535', hint=hint)
    if _is_ip(host):
        if not is_lan(host):
            raise ConfigError(
                f'static peer "{text}" is outside the LAN, and nothing leaves the LAN',
                hint="name a machine of this home, by its private address such as 192.168.1.10",
            )
        if not usable_addresses([host], loopback=True):
            raise ConfigError(f'static peer "{text}": this address needs its interface, as in fe80::1%eth0', hint=hint)
    elif bracketed or not _NAME.fullmatch(host):
        raise ConfigError(f'static peer "{text}" is no host', hint=hint)
    return StaticPeer(host, int(port) if port else default_port)


async def resolve(peer: StaticPeer) -> Candidate | None:
    """Where the peer is now; None when its name has no address of the LAN, or not within `RESOLVE_TIMEOUT_S`."""
    addresses: list[str] = [peer.host]
    if not peer.is_address:
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await asyncio.get_running_loop().getaddrinfo(peer.host, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            return None
        addresses = [_scoped(entry[4]) for entry in found]
    usable = usable_addresses(addresses, loopback=True)
    return Candidate("", "", usable, peer.port, "static") if usable else None


def _scoped(where: tuple[object, ...]) -> str:
    address, scope = str(where[0]), where[3] if len(where) == 4 else 0
    return f"{address}%{scope}" if scope and "%" not in address else address


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
