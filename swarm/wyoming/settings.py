"""[wyoming] of the configuration: what others may ask of this node, and which satellites of others it serves."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from swarm.egress import is_lan
from swarm.errors import ConfigError

Service = Literal["asr", "tts", "wake", "handle"]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
SCHEME = "tcp"


class OtherSatellite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[wyoming.satellites]]: a Wyoming satellite that this node's hub answers."""

    url: str
    """`tcp://host:port`; wyoming-satellite listens on 10700."""
    name: Name
    """As it is called in traces and announcements."""
    area: Annotated[str, msgspec.Meta(max_length=100)] = ""
    """The room it stands in, as devices name it."""


class WyomingSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[wyoming]: for Home Assistant and others that speak it. Nothing listens as it comes."""

    services: tuple[Service, ...] = ()
    """Any of asr (speech to text), tts, wake, handle (does and answers what a text says)."""
    allow: tuple[str, ...] = ()
    """Who may connect, beside this machine itself: addresses and networks such as `192.168.1.10`, `192.168.1.0/24`. The
    protocol has no password: whoever is listed can ask everything, and with `handle` switch lamps."""
    address: str = ""
    """Listen on this address; empty: on all of them when `allow` names somebody, else on loopback only."""
    asr_port: Port = 10300
    tts_port: Port = 10200
    wake_port: Port = 10400
    handle_port: Port = 10500
    satellite: bool = False
    """This machine's microphone and speaker serve Home Assistant as a Wyoming satellite while it is connected."""
    satellite_port: Port = 10700
    satellites: tuple[OtherSatellite, ...] = ()

    def ports(self) -> Mapping[Service, int]:
        """Of all services, 0 for any free one."""
        return {"asr": self.asr_port, "tts": self.tts_port, "wake": self.wake_port, "handle": self.handle_port}

    @property
    def host(self) -> str:
        """Where to listen; empty: on every address."""
        return self.address or ("" if self.allow else "127.0.0.1")


def check(section: WyomingSection) -> tuple[str, ConfigError] | None:
    """The first key that makes no sense, and what is wrong with it."""
    for entry in section.allow:
        try:
            network = ipaddress.ip_network(entry)
        except ValueError as error:
            return "allow", ConfigError(
                f'wyoming.allow: "{entry}" is no address and no network: {error}',
                hint="write 192.168.1.10 or 192.168.1.0/24",
            )
        if not (is_lan(str(network[0])) and is_lan(str(network[-1]))):
            return "allow", ConfigError(
                f'wyoming.allow: "{entry}" reaches beyond the LAN',
                hint="name private addresses, such as 192.168.1.0/24",
            )
    if section.address:
        try:
            ip = ipaddress.ip_address(section.address)
        except ValueError:
            return "address", ConfigError(
                f'wyoming.address: "{section.address}" is no address', hint="such as 192.168.1.5"
            )
        if not is_lan(section.address):
            return "address", ConfigError(
                f"wyoming.address: {section.address} is no address of a LAN", hint="empty listens on all of them"
            )
        if not ip.is_loopback and not section.allow:
            return "allow", ConfigError(
                f"wyoming.address: {section.address} can be reached by others, and wyoming.allow names nobody",
                hint='the protocol has no password: write who may connect, such as allow = ["192.168.1.10"]',
            )
    taken = [number for service, number in section.ports().items() if service in section.services]
    taken += [section.satellite_port] if section.satellite else []
    if any(number and taken.count(number) > 1 for number in taken):
        return "services", ConfigError("wyoming: two services have one port", hint="give them different numbers")
    names = [satellite.name for satellite in section.satellites]
    for satellite in section.satellites:
        if names.count(satellite.name) > 1:
            return "satellites", ConfigError(
                f'wyoming.satellites: two are called "{satellite.name}"', hint="give each its own name"
            )
        try:
            place_of(satellite.url)
        except ConfigError as error:
            return "satellites", ConfigError(f"wyoming.satellites: {error}", hint=error.hint)
    return None


def place_of(url: str) -> tuple[str, int]:
    """Host and port of `tcp://host:port`. Raises `ConfigError`."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    rest = "" if host is None else f"{parts.path.strip('/')}{parts.query}{parts.fragment}{parts.username or ''}"
    if host is None or not port or parts.scheme != SCHEME or rest:
        raise ConfigError(
            f'"{url:.200}" is no Wyoming service', hint="write tcp://host:port, such as tcp://nas.local:10300"
        )
    return host, port
