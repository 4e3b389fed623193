"""The bus of a swarm, as a node uses it: one connection to the broker of whichever hub is in charge, and who is there.

`SwarmBus.bus` is the `Bus` that home automation and everything else speaks with; subscriptions made there follow to the
next broker. On every connection each node says anew what is retained of it, so a broker needs no memory. A device that
is connected to one hub's broker on its own is known where that broker is the bus.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from swarm.broker import BrokerAddress, resolve_on_lan
from swarm.bus import CONNECT_TIMEOUT_S, Bus
from swarm.bus_choice import BusChoice
from swarm.bus_port import LOOKS, BusPort
from swarm.bus_rules import ALL_HEALTH, ALL_PRESENCE, ALL_STATES, health_topic, node_of
from swarm.certificates import NodeId
from swarm.errors import BusError, MalformedMessage, MycoswarmError
from swarm.health import Health, decode_health, encode_health
from swarm.mqtt_packets import ACCEPTED, CONNACK, DISCONNECT, Connect, PacketReader, connect_packet
from swarm.presence import MAX_NODES, Document, OwnPresence, Presence, PresenceTable, decode_presence
from swarm.tls import TlsContexts
from swarm.trust import Trust

HEALTH_EVERY_S = 5.0
HEALTH_EACH_S = 0.6
"""With N nodes, every max(`HEALTH_EVERY_S`, N · `HEALTH_EACH_S`): a node hears all others, so what it hears grows with
their number, and so stays below 0.8 KB/s (a message of 300 bytes has 400 on the wire)."""
PRESENCE_EVERY_S = 10.0
"""Changes of the presence are gathered for so long: speeds change with every run."""
MAX_RETAINED = 4 * MAX_NODES
LEFTOVERS_S = 4.0
"""What a node left on the broker goes after its devices in Home Assistant, which read it."""
LOOK_S = 0.25
"""How often it is looked for another hub."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubBroker:
    """A live hub, and where nodes reach its broker."""

    node: NodeId
    addresses: tuple[tuple[str, int], ...]
    """Host and bus port, the likeliest first; empty for this node itself."""
    carries: bool = False
    """It says that its broker is the bus now."""


class SwarmBus:
    """`run` keeps it going. All methods belong to the event loop that runs it."""

    def __init__(
        self,
        *,
        node: NodeId,
        incarnation: int,
        contexts: TlsContexts,
        trust: Trust,
        hubs: Callable[[], Iterable[HubBroker]],
        describe: Callable[[], Document],
        health: Callable[[], Health],
        own_broker: Callable[[], BrokerAddress] | None = None,
        port: BusPort | None = None,
        on_present: Callable[[NodeId, Document], None] = lambda node, document: None,
        on_gone: Callable[[NodeId], None] = lambda node: None,
    ) -> None:
        """`hubs` names those that live, this node too if it is one, and is asked often; `describe` and `health` as
        well. `own_broker` and `port` are a hub's. `incarnation` is larger than at any start before."""
        self._node = node
        self._trust = trust
        self._describe = describe
        self._health = health
        self._on_present = on_present
        self._on_gone = on_gone
        self._presence = OwnPresence(node, incarnation, describe())
        self._incarnation = incarnation
        self._changed = False
        self._table = PresenceTable()
        self._follower = _Follower(node, contexts, hubs, own_broker, port)
        self.bus = Bus(self._follower, node, presence=self._presence)
        self.bus.on_connection(self._connection)
        # A connection that lasts loses nothing, and the next begins with what is retained. More than 0 would only make
        # a cluster that lost a server agree on a keeper for each subscription, for ten seconds and longer.
        self.bus.subscribe(ALL_PRESENCE, self._heard_presence, qos=0)
        self.bus.subscribe(ALL_HEALTH, self._heard_health, qos=0)
        self.bus.subscribe(ALL_STATES, self._heard_retained, qos=0)
        self._retained: dict[str, NodeId] = {}
        """What the broker keeps of nodes, by topic."""
        self._left_since: dict[str, float] = {}

    @property
    def hub(self) -> NodeId | None:
        """Whose broker it is connected to; None while it waits."""
        return self._follower.current

    @property
    def why_waiting(self) -> str:
        """For a person who asks why nothing happens in the home; empty while connected."""
        return "" if self.bus.connected else self._follower.why

    def present(self) -> Mapping[NodeId, Document]:
        """The other nodes on the bus."""
        return self._table.present()

    def health(self, node: NodeId) -> tuple[Health, float] | None:
        """The latest of another node, and when it came, on the event loop's clock."""
        return self._table.health(node)

    async def run(self) -> None:
        """Until cancelled."""
        unsubscribe = self._trust.subscribe(self._forget_revoked)
        try:
            async with asyncio.TaskGroup() as services:
                services.create_task(self.bus.run(), name="bus of the swarm")
                services.create_task(self._tell_presence(), name="presence")
                services.create_task(self._tell_health(), name="health")
        finally:
            unsubscribe()

    # ---- what this node says

    async def _tell_presence(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            for node in self._table.settle(loop.time()):
                self._on_gone(node)
            await self._remove_leftovers()
            self._changed |= self._presence.change(self._describe())
            if self._changed and self.bus.connected:
                with suppress(BusError):  # the next connection begins with it
                    await self.bus.publish(self._presence.topic, self._presence.here(), retain=True)
                self._changed = False
                await asyncio.sleep(PRESENCE_EVERY_S - 1.0)

    async def _remove_leftovers(self) -> None:
        """Whoever left or was cut off cannot do it; the hub that carries the bus speaks to its broker without rules."""
        now = asyncio.get_running_loop().time()
        left = [topic for topic, node in self._retained.items() if self._trust.is_revoked(node)]
        self._left_since = {topic: self._left_since.get(topic, now) for topic in left}
        if self.hub == self._node and self.bus.connected:
            for topic in [topic for topic, since in self._left_since.items() if now - since >= LEFTOVERS_S]:
                with suppress(BusError):
                    await self.bus.publish(topic, b"", retain=True)

    async def _tell_health(self) -> None:
        while True:
            await self.bus.wait_subscribed()  # by then it has said that it is there; of others no health is heard
            with suppress(BusError):
                await self.bus.publish(health_topic(self._node), encode_health(self._health()), qos=0)
            await asyncio.sleep(max(HEALTH_EVERY_S, HEALTH_EACH_S * (1 + len(self.present()))))

    # ---- what others say

    def _connection(self, connected: bool) -> None:
        self._retained.clear()
        if connected:
            self._table.connected(asyncio.get_running_loop().time())

    def _heard_retained(self, topic: str, payload: bytes) -> None:
        node = node_of(topic)
        if not payload or node is None:
            self._retained.pop(topic, None)
        elif topic in self._retained or len(self._retained) < MAX_RETAINED:
            self._retained[topic] = node

    def _heard_presence(self, topic: str, payload: bytes) -> None:
        self._heard_retained(topic, payload)
        node = node_of(topic)
        if node is None or not payload or self._trust.is_revoked(node):
            return
        try:
            presence = decode_presence(payload, node)
        except MalformedMessage as error:
            _log.warning("%s: %s", topic[:200], error)
            return
        if node == self._node:
            self._heard_of_itself(presence)
        elif self._table.heard(presence):
            if presence.document is not None:
                self._on_present(node, presence.document)
            else:
                self._on_gone(node)

    def _heard_of_itself(self, presence: Presence) -> None:
        if presence.incarnation > self._incarnation:
            _log.error(
                "somebody else is on the bus with the key of this node, or its clock and files went back in time: "
                "others hear the other one"
            )
        elif self._presence.is_disturbed_by(presence):
            self._changed = True

    def _heard_health(self, topic: str, payload: bytes) -> None:
        node = node_of(topic)
        if node is None or node == self._node:
            return
        try:
            self._table.heard_health(node, decode_health(payload), asyncio.get_running_loop().time())
        except MalformedMessage as error:
            _log.warning("%s: %s", topic[:200], error)

    def _forget_revoked(self) -> None:
        for node in tuple(self.present()):
            if self._trust.is_revoked(node):
                self._table.forget(node)
                self._on_gone(node)


class _Follower:
    """`Brokers` of a swarm: goes where `BusChoice` says."""

    def __init__(
        self,
        node: NodeId,
        contexts: TlsContexts,
        hubs: Callable[[], Iterable[HubBroker]],
        own_broker: Callable[[], BrokerAddress] | None,
        port: BusPort | None,
    ) -> None:
        self.current: NodeId | None = None
        self._node = node
        self._contexts = contexts
        self._list_hubs = hubs
        self._own_broker = own_broker
        self._port = port
        self._choice = BusChoice(node)
        self._hubs: dict[NodeId, HubBroker] = {}
        self._trying: NodeId = ""
        self._home_broker_fails = False
        """The one that this hub was told to use; it is known to be down, where others only see that nobody serves."""
        self._turns: dict[NodeId, int] = {}
        """Which of a hub's addresses is next."""

    @property
    def why(self) -> str:
        """Why there is no connection."""
        if not self._hubs:
            return "no hub of this swarm can be reached"
        if self._home_broker_fails:
            return "the home's MQTT broker is down"
        if set(self._hubs) == {self._node}:
            return "the MQTT broker is down"
        hubs = "the hub" if len(self._hubs) == 1 else f"one of the {len(self._hubs)} hubs"
        return f"they wait for {hubs} to take over the bus"

    async def next(self) -> BrokerAddress:
        """The hub in charge."""
        loop = asyncio.get_running_loop()
        while True:
            self._look(loop.time())
            node = self._choice.next(loop.time())
            if node is not None:
                self._trying = node
                return self._address(node)
            await asyncio.sleep(LOOK_S / 5)

    def connected(self, address: BrokerAddress) -> None:
        """A hub that follows another one sends nodes there too."""
        self.current = self._trying
        self._home_broker_fails = False
        self._choice.connected(self._trying)
        if self._port is not None:
            self._port.set_serving(self.current == self._node)

    def lost(self, address: BrokerAddress, *, was_connected: bool) -> None:
        """Try its next address, then the next hub."""
        given_up, self.current = self.current is None and was_connected, None
        if self._port is not None:
            self._port.set_serving(True)
        if given_up:
            return
        node, hub = self._trying, self._hubs.get(self._trying)
        self._home_broker_fails |= node == self._node and address.kind == "external"
        if not was_connected:
            self._turns[node] = self._turns.get(node, 0) + 1
        if was_connected or hub is None or not hub.addresses or self._turns[node] % len(hub.addresses) == 0:
            self._choice.failed(node, asyncio.get_running_loop().time())

    async def until_another(self, address: BrokerAddress) -> bool:
        """Looks before it leaves: a hub that is alive may have a broker that is not."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_S)
            self._look(loop.time())
            if not self._choice.is_better_elsewhere(loop.time()):
                continue
            lives = self._choice.lives(self._trying)
            other = self._choice.next(loop.time())
            if lives:
                if other is None or not await self._takes_connections(other):
                    self._choice.failed(other or "", loop.time())
                    continue
            elif self._trying == self._node:
                continue  # a hub that does not see itself has just started
            self._choice.left()
            self.current = None
            return lives

    def _look(self, now: float) -> None:
        self._hubs = {hub.node: hub for hub in self._list_hubs() if hub.addresses or hub.node == self._node}
        self._choice.update(self._hubs, now, carrying=[hub.node for hub in self._hubs.values() if hub.carries])
        for node in tuple(self._turns):
            if node not in self._hubs:
                del self._turns[node]

    def _address(self, node: NodeId) -> BrokerAddress:
        if node == self._node:
            assert self._own_broker is not None, "a hub has a broker"
            return self._own_broker()
        addresses = self._hubs[node].addresses
        host, port = addresses[self._turns.get(node, 0) % len(addresses)]
        return BrokerAddress(host, port, tls=self._contexts.client, server_name=node)

    async def _takes_connections(self, node: NodeId) -> bool:
        """Whether the hub's broker greets this node."""
        address = self._address(node)
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                host = await resolve_on_lan(address.host, address.port)
                context = address.tls() if address.tls else None
                reader, writer = await asyncio.open_connection(
                    host,
                    address.port,
                    ssl=context,
                    server_hostname=(address.server_name or address.host) if context else None,
                )
                try:
                    login = address.username, address.password.encode() if address.password is not None else None
                    writer.write(connect_packet(Connect(LOOKS, 10, username=login[0], password=login[1])))
                    answer = PacketReader(16).read(await reader.readexactly(4))
                    writer.write(bytes((DISCONNECT << 4, 0)))
                    return any(packet.kind == CONNACK and packet.body[1] == ACCEPTED for packet in answer)
                finally:
                    writer.close()
        except (OSError, EOFError, TimeoutError, MycoswarmError) as error:
            _log.debug("the hub %s does not take the bus: %s", node, error)
            return False
