"""A machine that may be a node of this swarm, and where it may be reached: a hint that a certificate has to prove."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from swarm.egress import is_lan

Source = Literal["mdns", "bus", "static", "learned"]
LADDER: tuple[Source, ...] = ("mdns", "bus", "static", "learned")
"""Which source is tried first: what a machine says now, before what was true once."""
MAX_ADDRESSES = 8
"""Addresses of one machine that are kept."""
MAX_ROLES = 8

_ID = re.compile(r"[a-z2-7]{26}")
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,15}")


class Candidate(msgspec.Struct, frozen=True):
    """Where a node may be. Everything in it may be a lie: send nothing there before its certificate proved it."""

    node_id: str
    """Who it says it is; empty when nobody said (a static peer)."""
    swarm_id: str
    """Which swarm it says it belongs to; empty when nobody said."""
    addresses: tuple[str, ...]
    """IP addresses of the LAN, best first; a link-local IPv6 address has its interface (`fe80::1%2`)."""
    port: int
    """The nodes' port."""
    source: Source
    roles: tuple[str, ...] = ()
    enrol_port: int = 0
    """Where it takes enrolments now; 0 when it does not."""


class Found(msgspec.Struct, frozen=True):
    """A candidate appeared, or is now described differently by the same source."""

    candidate: Candidate


class Gone(msgspec.Struct, frozen=True):
    """A source knows this candidate no more. No reason to end a connection that works."""

    candidate: Candidate


Change = Found | Gone


def is_id(text: str) -> bool:
    """Whether this is the text of a node id or a swarm id: 26 lower-case base32 characters."""
    return _ID.fullmatch(text) is not None


def roles_of(text: str) -> tuple[str, ...]:
    """The roles in a comma separated list; what is no role's name is left out."""
    return tuple(role for role in text.split(",", MAX_ROLES)[:MAX_ROLES] if _ROLE.fullmatch(role))


def usable_addresses(addresses: Iterable[str], *, loopback: bool = False) -> tuple[str, ...]:
    """The addresses that may be connected to, best first: of the LAN, not this machine's own loopback.

    A link-local IPv6 address without its interface leads nowhere and is left out. At most `MAX_ADDRESSES`.
    """
    ranked = []
    for text in dict.fromkeys(addresses):
        try:
            rank = _rank(text, loopback=loopback)
        except ValueError:
            continue
        if rank is not None:
            ranked.append((rank, text))
    return tuple(text for _, text in sorted(ranked, key=lambda pair: pair[0])[:MAX_ADDRESSES])


def _rank(text: str, *, loopback: bool) -> int | None:
    bare, _, scope = text.partition("%")
    ip = ipaddress.ip_address(bare)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        return None  # an IPv4 address in disguise: whoever means it can say so
    if not is_lan(bare) or ip.is_multicast or ip.is_unspecified or (ip.is_loopback and not loopback):
        return None
    if ip.is_link_local:
        return None if ip.version == 6 and not scope else 2
    return 0 if ip.version == 4 else 1
