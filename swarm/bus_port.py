"""The bus port of a hub: how nodes reach the hub's broker, by MQTT 3.1.1 over TLS 1.3 with their certificates.

The broker itself listens on loopback, or is one that the home already has. In front of it stands this port, which
knows what no broker knows: who is a member of the swarm *now*. So the rules are the same for every broker, and none
has to be configured, restarted or trusted for them:

- whoever is not admitted ends in the handshake, and whoever is revoked is cut at once (`swarm.tls`, `swarm.trust`).
  Mosquitto could do neither: a revocation list has to be signed by the authority that issued, whose key is on another
  machine, and a reload (SIGHUP) applies a new ACL to open connections but leaves them open, and takes new ones.
- a certificate that was renewed is shown from the next handshake on; open connections stay
- each packet that publishes is held against `swarm.bus_rules`. A node that breaks them loses its connection: MQTT 3.1.1
  knows no other way to say no (3.3.5)
- the client id is the node's id, whatever it says: nobody can take over another's connection, and a node that lost its
  own without a word takes it over when it comes back. A client that calls itself `LOOKS` gets one beside it, so that
  whoever only looks does not end the node's connection. Sessions end with their connection.

Bytes from the broker to the node are passed on unseen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from swarm.broker import MAX_MESSAGE_BYTES, BrokerAddress, resolve_on_lan
from swarm.bus_rules import may_publish
from swarm.certificates import NodeId
from swarm.errors import BusError, MalformedMessage, MycoswarmError
from swarm.https_listener import CLOSE_S, Limits, TlsListener
from swarm.mqtt_packets import (
    CONNECT,
    DISCONNECT,
    NOT_AUTHORIZED,
    PINGREQ,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBSCRIBE,
    UNAVAILABLE,
    UNSUBSCRIBE,
    WRONG_VERSION,
    OtherVersion,
    Packet,
    PacketReader,
    connack_packet,
    connect_packet,
    parse_connect,
    publish_topic,
)
from swarm.tls import Peer, TlsContexts, peer_of_tls
from swarm.trust import Trust

USUAL_BUS_PORT = 7336
LOOKS = "mycoswarm-looks"
"""The client id of a connection that looks, beside the one that works."""
MAX_PACKET_BYTES = MAX_MESSAGE_BYTES + 70_000
"""The largest message and the longest topic that MQTT knows."""
FIRST_PACKET_S = 5.0
BROKER_S = 2.0
"""To connect to the broker."""
CHUNK_BYTES = 64 * 1024
CONNECTIONS_EACH = 4
"""Of one node: its bus, one that it lost and does not know yet, and a tool of a person's."""
LOOK_AGAIN_S = 3600.0
"""After a certificate ended whose owner is a member still: it proved itself when the connection began."""
_FROM_NODES = (PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT)

_log = logging.getLogger(__name__)


class BusPort(TlsListener):
    """The listener. `start`, then `close`."""

    def __init__(
        self,
        contexts: TlsContexts,
        trust: Trust,
        *,
        broker: Callable[[], BrokerAddress],
        runs_home: Callable[[NodeId], bool],
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`broker` is asked for each connection; `runs_home` says which nodes may command devices."""
        super().__init__(contexts.server, limits or Limits(connections_each=CONNECTIONS_EACH))
        self._contexts = contexts
        self._trust = trust
        self._broker = broker
        self._runs_home = runs_home
        self._clock = clock
        self._serving = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsubscribe: Callable[[], None] = lambda: None

    async def start(self, host: str, port: int) -> None:
        """Listen on `host`, an address, or all if it is empty; 0 takes any port. Raises `MycoswarmError`."""
        await super().start(host, port)
        self._unsubscribe = self._trust.subscribe(self.cut_untrusted)

    async def close(self) -> None:
        """Take no more nodes, and part from those that are there."""
        self._unsubscribe()
        await super().close()

    def set_serving(self, serving: bool) -> None:
        """Whether this hub's broker is the bus. While it is not, nodes are sent away, so that they look for the one
        that is."""
        if self._serving and not serving:
            cut = self.cut(lambda tls: True)
            _log.info("the bus is at another hub: sent %d nodes there", cut)
        self._serving = serving

    def cut_untrusted(self) -> None:
        """Cut the connections of nodes that are not trusted any more: called by itself after each change of trust."""
        cut = self.cut(lambda tls: not self._is_trusted(peer_of_tls(tls)))
        if cut:
            _log.info("cut %d connections to the bus of nodes that are trusted no more", cut)

    def connection(self, host: str) -> asyncio.Protocol:
        """The protocol of a connection from `host`, whose handshake is under way."""
        reader = asyncio.StreamReader(limit=CHUNK_BYTES)
        return asyncio.StreamReaderProtocol(reader, self._took)

    async def _finish(self) -> None:
        """Part from the nodes that are there; their Last Wills reach the broker."""
        self.cut(lambda tls: True)
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def _is_trusted(self, peer: Peer | None) -> bool:
        return peer is not None and self._contexts.standing_of(peer) in ("admitted", "renew_only")

    def _took(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="a node on the bus")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        peer = peer_of_tls(connection.tls)
        if peer is None or self._contexts.standing_of(peer) != "admitted":
            connection.cut()
            return
        node = peer.node_id
        own = [each for each, owner in self._open.items() if owner == node]
        if len(own) >= self.limits.connections_each:
            own[0].cut()  # the oldest: most likely one that the node lost
            self._open.pop(own[0], None)
        if len(self._open) >= self.limits.connections:
            self.refusals.say(node, "too many connections are open")
            connection.cut()
            return
        self._open[connection] = node
        watch = asyncio.get_running_loop().call_later(
            max(0.0, peer.certificate.not_after - self._clock()), self._look_again, connection, peer
        )
        connection.watch = watch
        try:
            await self._pass_on(node, reader, writer)
            await _close(writer)
        except MalformedMessage as error:
            _log.warning("cut %s off the bus: %s", node, error)
        except MycoswarmError as error:
            self.refusals.say(node, str(error))
        except (OSError, TimeoutError):
            pass  # one of the two ends is gone
        finally:
            connection.watch.cancel()
            self._open.pop(connection, None)
            connection.cut()

    def _look_again(self, connection: _Connection, peer: Peer) -> None:
        if not self._is_trusted(peer):
            connection.cut()
        else:
            loop = asyncio.get_running_loop()
            connection.watch = loop.call_later(LOOK_AGAIN_S, self._look_again, connection, peer)

    async def _pass_on(self, node: NodeId, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets = PacketReader(MAX_PACKET_BYTES)
        async with asyncio.timeout(FIRST_PACKET_S):
            first, rest = await _first_packet(reader, packets)
        try:
            connect = parse_connect(first)
        except OtherVersion:
            await _refuse(writer, WRONG_VERSION)
            raise
        if connect.will is not None and not self._may_publish(node, connect.will.topic):
            await _refuse(writer, NOT_AUTHORIZED)
            raise MalformedMessage(f"its last will is for {connect.will.topic:.200}")
        if not self._serving:
            await _refuse(writer, UNAVAILABLE)
            return
        address = self._broker()
        try:
            async with _opened(address) as (broker_reader, broker_writer):
                broker_writer.write(
                    connect_packet(
                        replace(
                            connect,
                            client_id=f"{node}-looks" if connect.client_id == LOOKS else node,
                            clean=True,
                            username=address.username,
                            password=None if address.password is None else address.password.encode(),
                        )
                    )
                )
                for packet in rest:
                    self._check(node, packet)
                    broker_writer.write(packet.whole)
                await _until_one_ends(
                    self._to_broker(node, packets, reader, broker_writer), _to_node(broker_reader, writer)
                )
        except BusError:
            await _refuse(writer, UNAVAILABLE)
            raise

    async def _to_broker(
        self, node: NodeId, packets: PacketReader, reader: asyncio.StreamReader, broker: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            for packet in packets.read(data):
                self._check(node, packet)
                broker.write(packet.whole)
            await broker.drain()

    def _check(self, node: NodeId, packet: Packet) -> None:
        """Raises `MalformedMessage` for what this node may not send."""
        if packet.kind not in _FROM_NODES:
            what = "a second CONNECT" if packet.kind == CONNECT else f"an MQTT packet of kind {packet.kind}"
            raise MalformedMessage(f"it sent {what}")
        if packet.kind == PUBLISH and not self._may_publish(node, topic := publish_topic(packet)):
            raise MalformedMessage(f"it may not publish to {topic:.200}")

    def _may_publish(self, node: NodeId, topic: str) -> bool:
        return may_publish(node, topic, runs_home=self._runs_home(node))


class _Connection:
    """One node's, as the listener knows it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.tls = writer.get_extra_info("ssl_object")
        self.watch: asyncio.TimerHandle
        self._transport = writer.transport

    def cut(self) -> None:
        self._transport.abort()


async def _first_packet(reader: asyncio.StreamReader, packets: PacketReader) -> tuple[Packet, list[Packet]]:
    """The first packet, and what came with it."""
    while data := await reader.read(CHUNK_BYTES):
        if not packets.waiting and data[0] != CONNECT << 4:
            raise MalformedMessage("it does not speak MQTT")
        found = list(packets.read(data))
        if found:
            return found[0], found[1:]
    raise ConnectionResetError("nothing was sent")


async def _refuse(writer: asyncio.StreamWriter, code: int) -> None:
    writer.write(connack_packet(code))
    await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Send what is written, then close; at most a second."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await writer.wait_closed()


@asynccontextmanager
async def _opened(address: BrokerAddress) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the broker. Raises `BusError`."""
    try:
        async with asyncio.timeout(BROKER_S):
            host = await resolve_on_lan(address.host, address.port)
            context = address.tls() if address.tls else None
            reader, writer = await asyncio.open_connection(
                host,
                address.port,
                limit=CHUNK_BYTES,
                ssl=context,
                server_hostname=(address.server_name or address.host) if context else None,
            )
    except (OSError, TimeoutError, MycoswarmError) as error:
        raise BusError(f"the broker {address} does not take connections: {error}") from error
    try:
        yield reader, writer
    finally:
        await _close(writer)  # without a DISCONNECT in what was written the broker publishes the Last Will
        writer.transport.abort()


async def _to_node(broker: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await broker.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()


async def _until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
