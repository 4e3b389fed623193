"""Where a node may be reached, as text between nodes (`host:port`) and as an address to connect to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from swarm.candidate import usable_addresses
from swarm.membership import MAX_ADDRESSES

Address = tuple[str, int]
"""IP address as text, with its zone if it is link-local, and port."""


def place_text(host: str, port: int) -> str:
    """`10.0.0.5:7334`, `[fd00::5]:7334`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_place(text: str) -> Address | None:
    """The address that `place_text` wrote; None when it is none that may be connected to."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        return None
    return (host, int(port)) if usable_addresses([host], loopback=True) else None


def places_of(addresses: Iterable[str], port: int) -> tuple[str, ...]:
    """The same port at several addresses, as text."""
    return tuple(place_text(address, port) for address in addresses)


def own_places(addresses: Iterable[str], port: int) -> tuple[str, ...]:
    """What a node tells others of itself: not the link-local addresses, which mean nothing on another machine."""
    told = [each for each in addresses if "%" not in each and not each.startswith(("169.254.", "fe80:"))]
    return places_of(told[:MAX_ADDRESSES], port)


def reachable(places: Sequence[str]) -> tuple[Address, ...]:
    """Those of another node's places that may be connected to, each once."""
    found = [address for text in places if (address := parse_place(text)) is not None]
    return tuple(dict.fromkeys(found))
