"""Nothing leaves the LAN: the check of every address that a node connects to."""

from __future__ import annotations

import ipaddress
import socket

from swarm.errors import MycoswarmError

_LAN = tuple(
    ipaddress.ip_network(net)
    for net in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
        "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip
"""Loopback, private (RFC 1918, RFC 4193) and link-local addresses."""


def is_lan(address: str) -> bool:
    """Whether an IP address, as text, is this machine's own or one of the LAN."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in net for net in _LAN)


def require_lan(host: str) -> None:
    """Return when `host`, a name or an address, is on this machine or the LAN with all its addresses.

    Asks the system's resolver for a name, which may take seconds: call it from a thread. Raises `MycoswarmError`.
    """
    lan_addresses(host)


def lan_addresses(host: str) -> tuple[str, ...]:
    """All addresses of `host`, for who connects to what was checked; else as `require_lan`."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise MycoswarmError(f"the host {host} cannot be found: {error}") from error
    addresses = sorted({str(entry[4][0]) for entry in found})
    outside = [address for address in addresses if not is_lan(address)]
    if outside:
        raise MycoswarmError(
            f"{host} ({outside[0]}) is outside the LAN, and nothing leaves the LAN",
            hint="name a machine of this home, by its private address such as 192.168.1.10",
        )
    return tuple(addresses)
