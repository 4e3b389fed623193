"""The bus between this machine and another node: which hub carries it, whether it takes what this node says, and
whether the other node is there."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from swarm.bus_port import LOOKS, MAX_PACKET_BYTES
from swarm.bus_rules import health_topic, presence_topic
from swarm.certificates import NodeId
from swarm.checks import Finding
from swarm.checks.way import why_no_connection
from swarm.errors import MalformedMessage
from swarm.hardware import Hardware
from swarm.health import HealthWatch, encode_health
from swarm.mqtt_packets import (
    ACCEPTED,
    CONNACK,
    DISCONNECT,
    PUBLISH,
    SUBACK,
    UNAVAILABLE,
    Connect,
    PacketReader,
    connect_packet,
    publish_packet,
    publish_topic,
    subscribe_packet,
)
from swarm.peer_session import explain_certificate
from swarm.places import Address, place_text
from swarm.presence import decode_presence
from swarm.tls import TlsContexts

CONNECT_S = 3.0
ECHO_S = 3.0
"""A broker passes a message on within milliseconds."""


@dataclass(frozen=True)
class Hub:
    """A hub, and where its bus port may be."""

    node: NodeId
    name: str
    places: tuple[Address, ...]


class _BusFails(Exception):
    def __init__(self, found: str, to_do: str) -> None:
        super().__init__(found)
        self.to_do = to_do


class _IsElsewhere(Exception):
    """The hub carries no bus, and sends nodes to the one that does."""


async def examine_bus(
    node: NodeId, name: str, hubs: Sequence[Hub], contexts: TlsContexts, own: NodeId
) -> list[Finding]:
    """Findings for `broker` and `ACL`. `hubs` has the other node first if it is one."""
    if not hubs:
        return _after(Finding("broker", "fail", "no hub of this swarm is known", "switch a hub on"))
    complaints: list[_BusFails] = []
    sends_on = ""
    for hub in hubs:
        try:
            async with _connected(hub, contexts) as connection:
                found = f"{hub.name} carries the bus, and takes this machine's connection"
                if sends_on:
                    found = f"{sends_on} sends nodes on to the hub that carries the bus, {hub.name}, which takes ours"
                return [Finding("broker", "ok", found), await _echo(connection, hub, node, name, own)]
        except _IsElsewhere:
            sends_on = sends_on or hub.name
        except _BusFails as error:
            if hub.node == node:
                return _after(Finding("broker", "fail", str(error), error.to_do))
            complaints.append(error)
    if complaints:
        first = complaints[0]
        return _after(Finding("broker", "fail", str(first), first.to_do))
    found = f"{sends_on} takes no node on the bus now"
    to_do = "run mycoswarm doctor there: its broker may be down. If the bus was just moving, all is well in seconds"
    return _after(Finding("broker", "fail", found, to_do))


def _after(finding: Finding) -> list[Finding]:
    return [finding, Finding("ACL", "skip", "the layer before it fails")]


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    packets: PacketReader


@asynccontextmanager
async def _connected(hub: Hub, contexts: TlsContexts) -> AsyncIterator[_Connection]:
    """Greeted by the hub's broker. Raises `_BusFails`, `_IsElsewhere`."""
    reader, writer, place = await _opened(hub, contexts)
    try:
        packets = PacketReader(MAX_PACKET_BYTES)
        writer.write(connect_packet(Connect(LOOKS, 30)))
        try:
            async with asyncio.timeout(CONNECT_S):
                answer = list(packets.read(await reader.readexactly(4)))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise _BusFails(
                f"{hub.name} ends the connection to its bus port at {place}", f"the log of {hub.name} says why"
            ) from None
        except TimeoutError:
            raise _BusFails(
                f"the broker of {hub.name} does not answer within {CONNECT_S:g} s",
                f"run mycoswarm doctor there: its broker hangs, or cannot be reached from {hub.name}",
            ) from None
        code = answer[0].body[1] if answer and answer[0].kind == CONNACK and len(answer[0].body) == 2 else -1
        if code == UNAVAILABLE:
            raise _IsElsewhere
        if code != ACCEPTED:
            raise _BusFails(
                f"the broker of {hub.name} refuses the connection (MQTT return code {code})",
                f"its user and password in bus.broker, in the configuration of {hub.name}, may be wrong",
            )
        yield _Connection(reader, writer, packets)
        writer.write(bytes((DISCONNECT << 4, 0)))
    finally:
        writer.close()


async def _opened(hub: Hub, contexts: TlsContexts) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    tried = await asyncio.gather(*(why_no_connection(place) for place in hub.places))
    there = [place for place, why in zip(hub.places, tried, strict=True) if not why]
    if not there:
        raise _no_connection(hub, tried)
    for place in there:
        where = place_text(*place)
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(*place, ssl=contexts.client(), server_hostname=hub.node)
            return reader, writer, where
        except ssl.SSLCertVerificationError as error:
            why = f"the bus port at {where} is not that of {hub.name}: {explain_certificate(error)[1]}"
            to_do = "another program has that port: end it, or give swarm.bus_port another"
        except (OSError, TimeoutError) as error:
            why = f"no TLS with the bus port of {hub.name}, {where}: {getattr(error, 'strerror', None) or 'no answer'}"
            to_do = f"the log of {hub.name} says why"
    raise _BusFails(why, to_do)


def _no_connection(hub: Hub, tried: Sequence[str]) -> _BusFails:
    if not hub.places:
        return _BusFails(f"no address of {hub.name} is known", "switch it on")
    where = place_text(*hub.places[0])
    if tried[0] == "refused":
        return _BusFails(
            f"nothing listens at the bus port of {hub.name}, {where}",
            f"start {hub.name}; its log says if the port was taken (swarm.bus_port)",
        )
    if tried[0] == "silent":
        return _BusFails(
            f"the bus port of {hub.name}, {where}, does not answer",
            f"is it on? Else let TCP port {hub.places[0][1]} pass in the firewalls between the two",
        )
    return _BusFails(f"the bus port of {hub.name}, {where}, {tried[0]}", "is this machine in the same network?")


async def _echo(connection: _Connection, hub: Hub, node: NodeId, name: str, own: NodeId) -> Finding:
    """Whether the broker takes what this node says, and lets it hear what the other one says."""
    message = encode_health(HealthWatch().look(Hardware()))
    topics = (health_topic(own), presence_topic(node))
    heard: dict[str, bytes] = {}
    refused = False
    try:
        async with asyncio.timeout(ECHO_S):
            connection.writer.write(subscribe_packet(1, topics))
            while topics[0] not in heard or (topics[1] not in heard and node != own):
                data = await connection.reader.read(65_536)
                if not data:
                    break
                for packet in connection.packets.read(data):
                    if packet.kind == SUBACK:
                        refused = any(code & 0x80 for code in packet.body[2:])
                        connection.writer.write(publish_packet(topics[0], message))
                    elif packet.kind == PUBLISH:
                        topic = publish_topic(packet)
                        heard[topic] = packet.body[2 + len(topic.encode()) :]
    except (TimeoutError, ConnectionError, MalformedMessage):
        pass
    configured = f"it must let the user that {hub.name} logs in as write and read mycoswarm/#"
    if refused:
        return Finding("ACL", "fail", f"the broker of {hub.name} lets nobody read mycoswarm/node/…", configured)
    if topics[0] not in heard:
        found = f"the broker of {hub.name} loses what this machine says at {topics[0]}"
        return Finding("ACL", "fail", found, f"if it is the home's own, {configured}")
    presence = heard.get(topics[1])
    there = False
    if presence is not None:
        try:
            there = decode_presence(presence, node).document is not None
        except MalformedMessage as error:
            found = f"what is retained as the presence of {name} is none: {error}"
            return Finding("ACL", "warn", found, "start that node anew: it replaces it")
    if not there and node != own:
        found = f"{hub.name} passes on what this machine says, but {name} is not on the bus there"
        return Finding("ACL", "warn", found, f"is it running? mycoswarm doctor {hub.name} on {name} says more")
    return Finding("ACL", "ok", f"{hub.name} passes on what this machine says, and {name} is on the bus")
