"""An enrolled node's part in its swarm: what listens, who is known, who may come, and the tasks between nodes.

Put together once, from an identity and a roster, and ended together. A machine that belongs to no swarm has none of it
and listens nowhere beyond loopback.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
from aiohttp import web

from swarm import __version__
from swarm.broker import Broker
from swarm.catching_up import CatchingUp
from swarm.certificates import NodeId
from swarm.config import Config
from swarm.discovery import Discovery
from swarm.enrolled_bus import EnrolledBus
from swarm.enrolment import Enrolment
from swarm.errors import MycoswarmError, StorageError
from swarm.hardware import Hardware
from swarm.hardware_probe import HardwareProbe
from swarm.health import Health, HealthWatch
from swarm.identity import Identity
from swarm.interfaces import Interface, lan_interfaces
from swarm.ledger_following import LedgerFollowing
from swarm.link_transport import PATH as LINK_PATH
from swarm.link_transport import PROTOCOL, LinkServer, LinkTransport
from swarm.mdns_service import Announcement
from swarm.measured_speeds import read_speeds, write_speeds
from swarm.member_requests import grant_right, last_words, member_routes, say_goodbye
from swarm.membership import Beat
from swarm.node_api import NodesPort, asking_node, build_nodes_app, json_answer
from swarm.peer import Peer
from swarm.peer_finding import ACQUAINTANCES_PATH, PeerFinder
from swarm.peer_session import Address, Peers, PeerSession, PeerUnreachable
from swarm.places import own_places, reachable
from swarm.presence import Document
from swarm.private_file import read_private, write_private
from swarm.renewal import Renewal, renewal_routes
from swarm.roster import Roster, is_enroller
from swarm.roster_upkeep import RosterUpkeep
from swarm.static_peers import parse_peers
from swarm.task import Order
from swarm.task_api import TaskApi
from swarm.task_record import TaskRecord
from swarm.tier import TierVerdict, tier_of
from swarm.tls import TlsContexts
from swarm.transport import Execution, Receiver
from swarm.updates.part import UpdatesPart
from swarm.voice_routes import VoiceRoutes
from swarm.worker import TaskEngine, Worker

LOOK_EVERY_S = 1.0
"""How often it is looked whether what this node says of itself is still true."""
HARDWARE_EVERY_S = 60.0
SPEEDS_EVERY_S = 300.0
"""So often at most they are written down; at the end too."""

_log = logging.getLogger(__name__)


class EnrolledNode:
    """`start`, then `run` until it is cancelled, then `close`. `discovery` takes what others hear of nodes."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        roster: Roster,
        *,
        roles: tuple[str, ...],
        engines: Sequence[TaskEngine] = (),
        broker: Broker | None = None,
        ended: Callable[[TaskRecord], None] = lambda _: None,
    ) -> None:
        """`identity` has a certificate; `broker`, a hub's, runs before `start`; `ended` hears of each task that came in
        here. Raises `StorageError`."""
        section = config.swarm
        self.identity = identity
        self.roster = roster
        self.hardware = Hardware()
        self.tier: TierVerdict | None = None
        self._config = config
        self._roles = roles
        self._loop = asyncio.get_running_loop()
        contexts = TlsContexts(identity, roster)
        self._contexts = contexts
        self._peers = Peers(contexts, roster, self._addresses_of)
        incarnation = _next_incarnation(identity)
        self._transport = LinkTransport(self._connect, refused=lambda node: self.peer.peer_refused(node))
        self._speeds_at = config.state_dir / "speeds.json"
        self.worker = Worker(identity.node_id, engines, speeds=read_speeds(self._speeds_at))
        self.peer = Peer(
            identity.node_id,
            name=config.node.name,
            incarnation=incarnation,
            worker=self.worker,
            transport=self._transport,
            routing=config.routing,
            roles=roles,
            addresses=own_places(self.own_addresses(), section.port),
            accepts=("private", "home", "shared") if section.private else ("home", "shared"),
            ended=ended,
        )
        self.enrolment = Enrolment(identity, roster, name=config.node.name, nodes_port=section.port, admit=roster.admit)
        self._finder = PeerFinder(self.peer, self._peers, contexts, roster)
        self.discovery = Discovery(
            swarm_id=roster.swarm_id,
            state_dir=config.state_dir,
            on_change=self._finder.found,
            static_peers=parse_peers(section.peers, default_port=section.port),
            known=roster.is_member,
            multicast=section.multicast and not self._on_loopback,
            interfaces=self._interfaces,
        )
        self._finder.follow(self.discovery)
        self._health = HealthWatch()
        self.bus = EnrolledBus(
            self.peer,
            contexts,
            roster,
            self.discovery,
            incarnation=incarnation,
            places=self._addresses_of,
            describe=self._document,
            health=self._own_health,
            broker=broker,
            roles_of=roster.roles,
        )
        self._renewal = Renewal(identity, roster, self._peers)
        self.following = LedgerFollowing(roster.ledger, self._peers, self._live)
        self._catching_up = CatchingUp(roster, contexts, self._addresses_of)
        self._upkeep = RosterUpkeep(roster, self._live, self._loop.time)
        self.updates = UpdatesPart(
            identity.node_id,
            roster,
            config.state_dir,
            members=self.peer.members,
            session=self.session,
            tasks=lambda: sum(each.running + each.waiting for each in self.worker.capabilities()),
        )
        self.voice = VoiceRoutes(is_hub=lambda: "hub" in self._roles, roles_of=self._roles_of)
        self._links = LinkServer(self, peer_of=lambda request: asking_node(request).node_id)
        self._port = NodesPort(build_nodes_app(self._routes(), roster), contexts, roster)
        self._closing = AsyncExitStack()

    # ---- its life

    async def start(self) -> None:
        """Listen, and begin to look for others. Raises `MycoswarmError` when a port cannot be had."""
        section = self._config.swarm
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self._peers.close)
            await self._port.start(section.address, section.port)
            closing.push_async_callback(self._port.close)
            closing.callback(self._links.close)
            await self.bus.start(section.address, section.bus_port)
            closing.push_async_callback(self.bus.close)
            closing.push_async_callback(self.peer.close)
            closing.callback(self.roster.subscribe(self._drop_untrusted))
            await self.discovery.start(self._announcement())
            closing.push_async_callback(self.discovery.close)
            self._closing = closing.pop_all()
        where = section.address or "every address of the LAN"
        _log.info(
            "this node belongs to the swarm %s and listens for its other nodes on %s, port %d",
            self.roster.swarm_id,
            where,
            self._port.port,
        )

    async def run(self) -> None:
        """Take part in the swarm until cancelled."""
        async with asyncio.TaskGroup() as links:
            transport = links.create_task(self._transport.run(), name="links")
            try:
                async with asyncio.TaskGroup() as services:
                    services.create_task(self.peer.run(), name="membership")
                    services.create_task(self._finder.run(), name="peer finding")
                    services.create_task(self.bus.run(), name="bus")
                    services.create_task(self._renewal.run(), name="renewal")
                    services.create_task(self.following.run(), name="ledger")
                    services.create_task(self._catching_up.run(), name="catching up")
                    services.create_task(self._follow_own_state(), name="own state")
                    services.create_task(self._look_at_hardware(), name="hardware")
                    services.create_task(self._keep_speeds(), name="measured speeds")
                    services.create_task(self.updates.run(), name="updates")
                    services.create_task(
                        self.enrolment.run(self._config.swarm.address, self._config.swarm.enrolment_port),
                        name="enrolment",
                    )
            finally:
                transport.cancel()  # after the goodbye, which it still carries

    async def close(self) -> None:
        """End all tasks and connections."""
        await self._closing.aclose()

    def take_roles(self, roles: tuple[str, ...]) -> None:
        """It turned out to be this; the others hear it."""
        self._roles = (*roles, *(role for role in self._roles if role == "gpu" and role not in roles))
        self.peer.describe(roles=self._roles)

    # ---- what a person does

    @property
    def node_id(self) -> NodeId:
        """Its id."""
        return self.identity.node_id

    @property
    def admits(self) -> bool:
        """Whether it is an enroller that the swarm honours."""
        return self.identity.authority is not None and is_enroller(self.roster, self.node_id)

    def enrolment_places(self) -> tuple[Address, ...]:
        """Where the enrolment port is while it is open, for an invitation."""
        return tuple(
            (host, self._config.swarm.enrolment_port)
            for host in self.own_addresses()
            if own_places([host], self._config.swarm.enrolment_port)
        )

    async def grant(self, node: NodeId) -> None:
        """Let another hub admit machines too; it knows so when this returns. Raises `MycoswarmError`."""
        await grant_right(self._peers[node], self.roster)
        await self.following.tell(node)

    async def part(self) -> int:
        """Tell all others that this node leaves for good; how many heard it."""
        others = [each.node for each in self.peer.members() if not each.here and each.state != "dead"]
        last_word = await last_words(self.roster)
        return sum(await asyncio.gather(*(say_goodbye(self._peers[node], last_word) for node in others)))

    # ---- what other nodes do

    def execute_for(self, peer: str, order: Order, receiver: Receiver) -> Execution:
        """See `swarm.transport.Service`."""
        return self.peer.execute_for(peer, order, receiver)

    def peer_refused(self, node: str) -> None:
        """See `swarm.transport.Service`."""
        self.peer.peer_refused(node)

    def heard(self, beat: Beat) -> None:
        """See `swarm.transport.Service`. Who beats has proved that an enroller of this swarm admitted it."""
        before = self.peer.membership.state(beat.node, self._loop.time())
        self.peer.heard(beat)
        if before != "alive" and not beat.leaving:
            self._finder.met(beat.node)
            self.following.met(beat.node)
        self._upkeep.said(beat.node, beat.name, beat.roles)

    def _routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get(LINK_PATH, self._links.handle),
            web.get(ACQUAINTANCES_PATH, self._tell_acquaintances),
            *TaskApi(self.peer.dispatcher).routes("/v1"),
            *renewal_routes(self.identity, self.roster),
            *member_routes(self.identity, self.roster, is_hub=lambda: "hub" in self._roles),
            *self.following.routes(),
            *self.voice.routes(),
            *self.updates.routes(),
        ]

    async def _tell_acquaintances(self, request: web.Request) -> web.Response:
        return json_answer(self._finder.acquaintances())

    def _live(self) -> list[NodeId]:
        return [each.node for each in self.peer.members() if not each.here and each.state == "alive"]

    def _drop_untrusted(self) -> None:
        for member in self.peer.members():
            if self.roster.is_revoked(member.node):
                self.peer.membership.revoked(member.node)
                self.discovery.forget(member.node)

    def _roles_of(self, node: NodeId) -> tuple[str, ...]:
        """What it was admitted as, and what it says that it turned out to be."""
        return (*self.roster.roles(node), *self.peer.membership.roles(node))

    # ---- reaching other nodes

    def session(self, node: NodeId) -> PeerSession:
        """How this node asks that one. Raises `PeerUnreachable` for one that is revoked."""
        return self._peers[node]

    def _addresses_of(self, node: NodeId) -> Sequence[Address]:
        """By what it says of itself, then by the ladder of discovery."""
        found = list(reachable(self.peer.membership.addresses(node)))
        for candidate in self.discovery.candidates(node):
            found += [(host, candidate.port) for host in candidate.addresses]
        return tuple(dict.fromkeys(found))

    @asynccontextmanager
    async def _connect(self, node: NodeId) -> AsyncIterator[asyncio.Transport]:
        async with AsyncExitStack() as closing:
            try:
                connection = await closing.enter_async_context(self._peers[node].switched(LINK_PATH, PROTOCOL))
            except PeerUnreachable as error:
                if error.layer == "certificate":
                    self._catching_up.unproved(node)
                raise
            where = connection.get_extra_info("peername")
            if where is not None:
                self.discovery.proved(node, where[0], where[1])
            yield connection

    # ---- what this node says of itself

    @property
    def _on_loopback(self) -> bool:
        return self._config.swarm.address in ("::1",) or self._config.swarm.address.startswith("127.")

    def own_addresses(self) -> tuple[str, ...]:
        """Where this node listens, best first."""
        if self._config.swarm.address:
            return (self._config.swarm.address,)
        return tuple(address for interface in lan_interfaces() for address in interface.addresses)

    def _interfaces(self) -> tuple[Interface, ...]:
        found, only = lan_interfaces(), self._config.swarm.address
        if not only:
            return found
        return tuple(msgspec.structs.replace(each, addresses=(only,)) for each in found if only in each.addresses)

    def _document(self) -> Document:
        own = self.peer.here()
        return Document(
            name=own.name,
            roles=own.roles,
            addresses=own.addresses,
            capabilities=own.capabilities,
            accepts=own.accepts,
            hardware=self.hardware,
            tier=own.tier,
            version=__version__,
        )

    def _own_health(self) -> Health:
        offered = self.worker.capabilities()
        return self._health.look(
            self.hardware, running=sum(each.running for each in offered), waiting=sum(each.waiting for each in offered)
        )

    def _announcement(self) -> Announcement:
        return Announcement(
            node_id=self.node_id,
            swarm_id=self.roster.swarm_id,
            port=self._config.swarm.port,
            roles=self._roles,
            enrol_port=self.enrolment.port or 0,
        )

    async def _follow_own_state(self) -> None:
        """Addresses change, the enrolment port opens and closes: tell the others."""
        announced = self._announcement()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.peer.describe(addresses=own_places(self.own_addresses(), self._config.swarm.port), roles=self._roles)
            self._upkeep.said(self.node_id, self._config.node.name, self._roles)
            if (announcement := self._announcement()) != announced:
                await self.discovery.announce(announcement)
                announced = announcement

    async def _look_at_hardware(self) -> None:
        probe = HardwareProbe(state_dir=self._config.state_dir)
        while True:
            self.hardware = await probe.look()
            tier = tier_of(self.hardware)
            if tier != self.tier:
                _log.info("this machine is of the tier %s: %s", tier.tier, tier.because)
            self.tier = tier
            if self.hardware.gpus and not self._config.swarm.roles and "gpu" not in self._roles:
                self._roles = (*self._roles, "gpu")
            self.peer.describe(tier=tier.tier, roles=self._roles)
            await asyncio.sleep(HARDWARE_EVERY_S)

    async def _keep_speeds(self) -> None:
        kept = self.worker.speeds()
        try:
            while True:
                await asyncio.sleep(SPEEDS_EVERY_S)
                if (now := self.worker.speeds()) != kept:
                    await asyncio.to_thread(write_speeds, self._speeds_at, now)
                    kept = now
        finally:
            if (now := self.worker.speeds()) != kept:
                write_speeds(self._speeds_at, now)


def _next_incarnation(identity: Identity) -> int:
    """One more than at the start before, whatever the clock says. Raises `StorageError`."""
    path = identity.folder / "incarnation"
    before = (read_private(path) or b"0").strip()
    if not before.isdigit() or len(before) > 15:
        raise StorageError(
            f"{path} holds no number", hint="write a larger number into it than there ever was, or join anew"
        )
    incarnation = int(before) + 1
    write_private(path, str(incarnation).encode())
    return incarnation


def require_certificate(identity: Identity) -> None:
    """Raises `MycoswarmError` for a node that has a roster and no certificate."""
    if identity.certificate is None:
        raise MycoswarmError(
            f"this node has the roster of a swarm and no certificate in {identity.folder}",
            hint="let it join again: mycoswarm leave, then mycoswarm join",
        )
