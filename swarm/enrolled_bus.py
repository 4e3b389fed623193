"""An enrolled node's bus: on a hub the port in front of its broker, on every node the one connection to the hub that
carries the bus now, who is there, and who does what only one hub does.

At each moment one broker is the bus. Which one follows from who lives (`swarm.bus_choice`), and from one thing that a
person said: where devices are. A hub whose `bus.broker` names the home's own broker comes before hubs with a broker
that the node started itself; hubs that all name the same one all lead to the same devices, so that nothing changes
for devices when a hub dies. What is connected to a broker that a node started itself is reached while that hub carries
the bus, and only then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from swarm.bus import Bus
from swarm.bus_port import BusPort
from swarm.certificates import NodeId
from swarm.client import BrokerStatus
from swarm.lease import Leases, live_hubs
from swarm.places import Address, reachable
from swarm.presence import Document
from swarm.swarm_bus import HubBroker, SwarmBus

if TYPE_CHECKING:
    from swarm.broker import Broker, BrokerAddress
    from swarm.capability import Member
    from swarm.discovery import Discovery
    from swarm.health import Health
    from swarm.peer import Peer
    from swarm.tls import TlsContexts
    from swarm.trust import Trust

HOME = "home"
"""The role of the hub that speaks to the home's devices for all hubs, where one voice is enough."""
RUN_HOME = frozenset({"hub", "edge"})
"""Roles of nodes that command devices: an edge node does so alone when no hub is left."""
LOOK_EVERY_S = 0.5
SETTLE_S = 1.0
"""A hub that has just started hears by then which other one carries the bus; before, it offers itself to nobody."""

_log = logging.getLogger(__name__)


class EnrolledBus:
    """`start`, then `run` until it is cancelled, then `close`."""

    def __init__(
        self,
        peer: Peer,
        contexts: TlsContexts,
        trust: Trust,
        discovery: Discovery,
        *,
        incarnation: int,
        places: Callable[[NodeId], Sequence[Address]],
        describe: Callable[[], Document],
        health: Callable[[], Health],
        broker: Broker | None = None,
        roles_of: Callable[[NodeId], Sequence[str]] | None = None,
    ) -> None:
        """`places` says where a node's nodes' port may be. `broker` makes this node a hub for the bus; it is asked for
        its address from `start` on. `roles_of` knows what a node was admitted as; without it a node's own word
        counts."""
        self._peer = peer
        self._discovery = discovery
        self._places = places
        self._broker = broker
        self._roles_of = roles_of or peer.membership.roles
        self._loop = asyncio.get_running_loop()
        self._port: BusPort | None = None
        if broker is not None:
            self._port = BusPort(contexts, trust, broker=lambda: broker.address, runs_home=self._runs_home)
        self._swarm_bus = SwarmBus(
            node=peer.node,
            incarnation=incarnation,
            contexts=contexts,
            trust=trust,
            hubs=self._hubs,
            describe=describe,
            health=health,
            own_broker=(lambda: broker.address) if broker is not None else None,
            port=self._port,
            on_present=self._present,
            on_gone=discovery.left_bus,
        )
        self.bus.on_connection(lambda _: peer.describe(carries_bus=self.hub == peer.node))
        self._settled_at = self._loop.time() + SETTLE_S
        self._leases = Leases(peer.node, [HOME], started_at=self._loop.time())
        self._gained: list[Callable[[str], None]] = []

    # ---- its life

    async def start(self, address: str, port: int) -> None:
        """On a hub, let nodes come to its broker. Raises `MycoswarmError` when the port cannot be had."""
        if self._port is None or self._broker is None:
            return
        await self._port.start(address, port)
        self._settled_at = self._loop.time() + SETTLE_S
        self._peer.describe(bus_port=self._port.port, home_broker=self._broker.address.kind == "external")
        _log.info("this hub can carry the bus, at port %d", self._port.port)

    async def run(self) -> None:
        """Stay on the bus until cancelled."""
        async with asyncio.TaskGroup() as services:
            services.create_task(self._swarm_bus.run(), name="bus")
            services.create_task(self._hold_roles(), name="leases")

    async def close(self) -> None:
        """Send the nodes that are here to another hub."""
        if self._port is not None:
            await self._port.close()

    # ---- using it

    @property
    def bus(self) -> Bus:
        """To speak on."""
        return self._swarm_bus.bus

    @property
    def hub(self) -> NodeId | None:
        """Who carries the bus; None while it is looked for."""
        return self._swarm_bus.hub if self.bus.connected else None

    @property
    def why_waiting(self) -> str:
        """Why there is no bus, for people, without a full stop; empty while there is one."""
        return self._swarm_bus.why_waiting

    @property
    def own_broker(self) -> BrokerAddress | None:
        """None: it may be another one in a moment."""
        return None

    def present(self) -> tuple[NodeId, ...]:
        """The other nodes that are on it."""
        return tuple(self._swarm_bus.present())

    def health(self, node: NodeId) -> Health | None:
        """The latest of another node on the bus."""
        latest = self._swarm_bus.health(node)
        return latest[0] if latest is not None else None

    def status(self) -> BrokerStatus:
        """For the people's port."""
        names = {member.node: member.name for member in self._peer.members()}
        hub = self.hub
        return BrokerStatus("swarm", hub is not None, hub=names.get(hub, hub) if hub else "", why=self.why_waiting)

    def owns(self, role: str) -> bool:
        """Whether this node does what only one hub does."""
        return self._leases.owner(role) == self._peer.node

    def on_gained(self, gained: Callable[[str], None]) -> None:
        """Have `gained` called with each role that comes to this node."""
        self._gained.append(gained)

    # ---- below

    def _hubs(self) -> list[HubBroker]:
        """Those that can carry the bus, where the home's devices are."""
        now, me = self._loop.time(), self._peer.node
        found = [
            (HubBroker(member.node, self._bus_places(member), member.carries_bus), member.home_broker)
            for member in self._peer.membership.members(now)
            if member.bus_port and "hub" in member.roles and member.state != "dead"
        ]
        if self._broker is not None and now >= self._settled_at:
            found.append((HubBroker(me, (), self.hub == me), self._broker.address.kind == "external"))
        return [hub for hub, at_home in found if at_home] or [hub for hub, _ in found]

    def _bus_places(self, hub: Member) -> tuple[Address, ...]:
        return tuple(dict.fromkeys((host, hub.bus_port) for host, _ in self._places(hub.node)))

    def _runs_home(self, node: NodeId) -> bool:
        return node == self._peer.node or not RUN_HOME.isdisjoint(self._roles_of(node))

    def _present(self, node: NodeId, document: Document) -> None:
        places = reachable(document.addresses)
        if places:
            port = places[0][1]
            self._discovery.seen_on_bus(node, [host for host, at in places if at == port], port, document.roles)

    async def _hold_roles(self) -> None:
        while True:
            for change in self._leases.update(live_hubs(self._peer.members()), self._loop.time()):
                _log.info(
                    "this hub %s for the role: %s", "speaks" if change.change == "gained" else "rests", change.role
                )
                if change.change == "gained":
                    for gained in self._gained:
                        gained(change.role)
            await asyncio.sleep(LOOK_EVERY_S)
