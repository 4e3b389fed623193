"""From a configuration to a node that runs, and its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hub.people_port import build_app
from hub.people_port import start as start_people_port
from swarm import __version__
from swarm.alone import alone
from swarm.broker import Broker
from swarm.client import BrokerStatus, NodeAddress, Status, announce_node, withdraw_node
from swarm.config import Config, wanted_roles
from swarm.enrolled_node import EnrolledNode, require_certificate
from swarm.errors import StorageError
from swarm.identity import FOLDER, forget_identity, open_identity
from swarm.newest_version import note_version
from swarm.node.engines import Engines, engines_of
from swarm.node.home_bus import HomeBus, LoneBus
from swarm.node.plain_face import plain_face
from swarm.node.seen import SeenNode
from swarm.node.updating import system_here
from swarm.node_metrics import NodeMetrics
from swarm.peer import Peer
from swarm.private_file import claimed, claimed_in_turn
from swarm.roster import introduced, open_roster
from swarm.supervisor import Supervisor, supervisor_of_this_process
from swarm.swarm_api import SwarmApi
from swarm.task_engines import ModelOffer

if TYPE_CHECKING:
    from swarm.node.voice import VoiceNode

LET_IN_S = 60.0
"""From the moment when a machine has its certificate, for its clock to be set and the swarm's ledger to come."""
ANSWER_GRACE_S = 60.0
"""Longer than the language model may take, for devices and speech."""

log = logging.getLogger("swarm.node")


async def run_node(config: Config, *, demo_home: bool = False) -> None:
    """Run until SIGTERM or SIGINT, then end everything. Raises `MycoswarmError` when the node cannot start.

    A node that joins or leaves a swarm begins again, from the top, in the same process.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    supervisor = supervisor_of_this_process()
    async with supervisor.watching():
        while not stop.is_set():
            async with _opened(config) as node:
                await node.serve(stop, supervisor, demo_home=demo_home)
            if node.forgets:
                _forget(config)
            del node
            gc.unfreeze()
            gc.collect()


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[_Node]:
    """Everything that is opened at the start and closed at the end, in reverse."""
    async with AsyncExitStack() as closing:
        _make_state_folder(config.state_dir)
        closing.enter_context(_claimed(config.state_dir))
        note_version(config.state_dir, __version__)
        roles: tuple[str, ...] = wanted_roles(config)
        is_assistant = "hub" in roles or "edge" in roles
        engines = await closing.enter_async_context(engines_of(config, hears_commands=is_assistant))
        metrics = NodeMetrics(__version__)
        broker = Broker(config.bus, config.state_dir) if is_assistant else None
        enrolled = await closing.enter_async_context(
            _enrolled(config, roles, metrics, broker if "hub" in roles else None)
        )
        bus = _bus(config, broker, enrolled)
        if broker is not None and ("hub" in roles or enrolled is None):
            await broker.start()
            closing.push_async_callback(broker.close)
        if enrolled is None:
            peer = alone(name=config.node.name, roles=roles, routing=config.routing, ended=metrics.ended)
            closing.push_async_callback(peer.close)
        else:
            peer = enrolled.peer
        voice: VoiceNode | None = None
        if is_assistant and bus is not None:
            # What only a voice assistant needs is not even imported by a node that is none.
            from swarm.node.asking import AskEngine
            from swarm.node.voice import voice_node

            voice = await closing.enter_async_context(voice_node(config, bus, engines, enrolled))
            peer.worker.offer(AskEngine(voice.asking, config.node.language))
        for engine in engines.for_tasks():
            peer.worker.offer(engine)
        node = _Node(config, roles, engines, peer, enrolled, voice, bus)
        if bus is not None:
            node.seen = SeenNode(config, bus, peer, enrolled, voice, node.begin_again)
        face = voice.face(node.status) if voice else plain_face(config, peer.dispatcher, node.status)
        app = build_app(face, ask_timeout_s=config.language_model.timeout_s + ANSWER_GRACE_S)
        if voice is not None:
            app.add_routes(voice.saying.routes())
            app.add_routes(voice.routes())
        key = secrets.token_urlsafe(24)
        api = SwarmApi(
            peer,
            enrolled,
            key=key,
            metrics=lambda: metrics.text(peer, enrolled),
            restart=node.begin_again,
            leave=node.leave,
        )
        app.add_routes(api.routes())
        if enrolled is not None:
            app.add_routes(enrolled.updates.api.peoples_routes(api.owners))
        runner, node.url = await start_people_port(app, port=config.people.port)
        closing.push_async_callback(runner.cleanup)
        if voice is not None:
            voice.url = node.url
            closing.push_async_callback(voice.end_sessions)
        if enrolled is not None:
            enrolled.updates.take_system(system_here())
            if voice is not None:
                assistant = voice
                enrolled.updates.speaking = lambda: assistant.speaking
            await enrolled.start()
            closing.push_async_callback(enrolled.close)
        try:
            announce_node(config.state_dir, NodeAddress(node.url, os.getpid(), key))
        except OSError as error:
            raise StorageError(
                f"cannot write the node's address into {config.state_dir}: {error.strerror}",
                hint="free some space, or make the folder writable by the user that runs mycoswarm",
            ) from error
        closing.callback(withdraw_node, config.state_dir)
        yield node


class _Node:
    """What runs between the start and the end."""

    def __init__(
        self,
        config: Config,
        roles: tuple[str, ...],
        engines: Engines,
        peer: Peer,
        enrolled: EnrolledNode | None,
        voice: VoiceNode | None,
        bus: HomeBus | None,
    ) -> None:
        self.url = ""
        self.forgets = False
        """It left its swarm: its identity is forgotten once it has ended."""
        self.seen: SeenNode | None = None
        """None where there is no bus."""
        self._config = config
        self._roles = roles
        self._engines = engines
        self._peer = peer
        self._enrolled = enrolled
        self._voice = voice
        self._bus = bus
        self._started = time.monotonic()
        self._again = asyncio.Event()
        self._model_offer = (
            ModelOffer(peer.worker, engines.generator, slots=config.language_model.parallel)
            if engines.generator is not None
            else None
        )

    async def serve(self, stop: asyncio.Event, supervisor: Supervisor, *, demo_home: bool) -> None:
        """Run all services until `stop`, or until the node begins again; an error in one ends the node, so that its
        supervisor starts it anew."""
        async with asyncio.TaskGroup() as services:
            tasks = [services.create_task(_either(stop, self._again), name="end")]
            if self._enrolled is not None:
                tasks.append(services.create_task(self._enrolled.run(), name="swarm"))
            if self._voice is not None:
                await self._begin(self._voice)
            if self._enrolled is not None:
                tasks.append(services.create_task(self._engines.load(), name="models"))
            elif isinstance(self._bus, LoneBus):
                tasks.append(services.create_task(self._bus.run(), name="bus"))
            if self._model_offer is not None:
                tasks.append(services.create_task(self._model_offer.run(), name="language model on offer"))
            log.info("the node %s is up: %s", self._config.node.name, self.url)
            if self._voice is not None:
                for name, service in self._voice.services(demo_home=demo_home):
                    tasks.append(services.create_task(service, name=name))
            if self.seen is not None:
                for name, service in self.seen.services():
                    tasks.append(services.create_task(service, name=name))
            supervisor.ready(self._doing())
            tasks.append(services.create_task(supervisor.following(self._doing), name="word to the supervisor"))
            await tasks[0]
            if stop.is_set():
                supervisor.stopping()
            else:
                supervisor.status("beginning again")
            if self.seen is not None and self._enrolled is None and introduced(self._config.state_dir / FOLDER):
                await self.seen.part()
            log.info("beginning again" if self._again.is_set() and not stop.is_set() else "ending")
            for task in tasks:
                task.cancel()

    async def _begin(self, voice: VoiceNode) -> None:
        await voice.begin()
        if not self._config.swarm.roles:
            self._roles = voice.roles
            if self._enrolled is not None:
                self._enrolled.take_roles(self._roles)

    def _doing(self) -> str:
        """For the supervisor: one line."""
        members = self._peer.members()
        swarm = "in no swarm"
        if self._enrolled is not None:
            alive = sum(each.state == "alive" for each in members)
            swarm = f"swarm {self._enrolled.roster.swarm_id}, machines alive: {alive}"
        tasks = sum(each.running for each in members[0].capabilities)
        return f"{' and '.join(self._roles) or 'worker'}; {swarm}; tasks: {tasks}; {self.url}"

    def begin_again(self) -> None:
        """End, and start with what is on the disk then."""
        self._again.set()

    async def leave(self) -> None:
        """Part from the swarm, and begin again as a machine that belongs to none."""
        if self._enrolled is not None:
            if self.seen is not None:
                await self.seen.part()
            heard = await self._enrolled.part()
            log.info("leaving the swarm %s; %d nodes heard it", self._enrolled.roster.swarm_id, heard)
        self.forgets = True
        self.begin_again()

    def status(self) -> Status:
        """For the people's port."""
        status = Status(
            version=__version__,
            node=self._config.node.name,
            url=self.url,
            roles=self._roles,
            uptime_s=round(time.monotonic() - self._started, 1),
            broker=self._bus.status() if self._bus is not None else BrokerStatus("none", connected=False),
            engines=self._engines.names(),
            satellites=(),
            language_model=self._model_offer.model if self._model_offer is not None else None,
            entities=0,
        )
        return status if self._voice is None else self._voice.add_to(status)


async def _either(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


def _bus(config: Config, broker: Broker | None, enrolled: EnrolledNode | None) -> HomeBus | None:
    """The swarm's, or that of the own broker; None for a node that has neither."""
    if enrolled is not None:
        return enrolled.bus
    return LoneBus(broker, config.node.name) if broker is not None else None


@asynccontextmanager
async def _enrolled(
    config: Config, roles: tuple[str, ...], metrics: NodeMetrics, broker: Broker | None
) -> AsyncIterator[EnrolledNode | None]:
    """This machine's part in its swarm; None when it belongs to none."""
    folder = config.state_dir / FOLDER
    if not introduced(folder):
        yield None
        return
    async with AsyncExitStack() as closing:
        # Who lets it in has the folder until all is there, and writes the ledger's first pages itself.
        async with claimed_in_turn(folder, wait_s=LET_IN_S, waiting=_tell_that_it_waits):
            identity = open_identity(folder)
            require_certificate(identity)
            roster = await closing.enter_async_context(open_roster(identity))
        yield EnrolledNode(config, identity, roster, roles=roles, broker=broker, ended=metrics.ended)


def _tell_that_it_waits() -> None:
    log.info("this machine is just being let into a swarm: the node begins when it is")


def _forget(config: Config) -> None:
    forget_identity(config.state_dir / FOLDER)
    (config.state_dir / "addresses.json").unlink(missing_ok=True)
    log.info("this machine belongs to no swarm any more and listens nowhere beyond loopback")


def _make_state_folder(state_dir: Path) -> None:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot make the state folder {state_dir}: {error.strerror}",
            hint="set node.state_dir in the configuration to a folder that this user can write",
        ) from error


@contextmanager
def _claimed(state_dir: Path) -> Iterator[None]:
    """The state folder belongs to this node until the block ends."""
    with ExitStack() as claim:
        try:
            claim.enter_context(claimed(state_dir))
        except StorageError as error:
            raise StorageError(
                f"another mycoswarm node keeps its state in {state_dir}",
                hint="end that one first, or give this one a folder of its own: node.state_dir in the configuration",
            ) from error
        yield
