"""Updates of a swarm: real ledgers and nodes' ports on loopback, with slots that are files."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from swarm.capability import Member
from swarm.errors import MycoswarmError
from swarm.identity import Identity, open_identity
from swarm.ledger_following import LedgerFollowing
from swarm.node_api import NodesPort, build_nodes_app, errors_as_json
from swarm.peer_session import Address, PeerRefused, Peers
from swarm.roster import open_roster
from swarm.tls import TlsContexts
from swarm.transfer.content import PIECE_BYTES
from swarm.updates.api import ROLLBACK_PATH
from swarm.updates.fake_slots import FakeSlots, fake_bundle
from swarm.updates.part import UpdatesPart
from swarm.updates.patience import Patience
from swarm.updates.slots import SlotState
from swarm.updates.view import NodeUpdate
from tests.swarm.plain_swarm import until
from tests.swarm.test_ledger_following import found, let_in

HASTE = Patience(look_every_s=0.02, quiet_s=0.0, plan_every_s=0.05)
KIND = "mycoswarm-edge-rpi4"
SIZE = 2 * PIECE_BYTES + 77


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.lease.SETTLE_S", 0.0)
    monkeypatch.setattr("swarm.transfer.fetching.LEAVE_S", 0.1)
    monkeypatch.setattr("swarm.transfer.fetching.LOOK_EVERY_S", 0.05)


class Node:
    """A machine with two slots: it starts anew when they say so."""

    def __init__(self, folder: Path, network: dict[str, Address], *, roles: tuple[str, ...], kind: str = KIND) -> None:
        self.identity: Identity = open_identity(folder)
        self.folder, self.network, self.roles = folder, network, roles
        self.name = folder.name
        self.everybody: list[Node] = []
        self.restarts = asyncio.Event()
        self.slots = FakeSlots(folder / "slots.json", compatible=kind, version="1.0", restarted=self.restarts.set)
        self.alive = False
        self.speaks = False
        self.tasks = 0
        self.starts = 0
        self.way: SlotState | None = None
        self._life: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return self.identity.node_id

    def believes(self) -> tuple[object, ...]:
        return tuple(self.roster.bundle().current.values()) if hasattr(self, "roster") else ()

    def members(self) -> list[Member]:
        return [
            Member(
                each.id, name=each.name, roles=each.roles, here=each is self, state="alive" if each.alive else "dead"
            )
            for each in self.everybody
        ]

    async def start(self) -> None:
        """Until `stop`, starting anew as often as its slots want it."""
        self._life = asyncio.create_task(self._live())
        await until(lambda: self.alive)

    async def stop(self) -> None:
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
            self._life = None

    async def _live(self) -> None:
        while True:
            self.restarts.clear()
            async with self._up():
                await self.restarts.wait()

    @contextlib.asynccontextmanager
    async def _up(self) -> AsyncIterator[None]:
        async with open_roster(self.identity) as self.roster, contextlib.AsyncExitStack() as stack:
            contexts = TlsContexts(self.identity, self.roster)
            peers = Peers(contexts, self.roster, lambda node: [self.network[node]])
            stack.push_async_callback(peers.close)
            self.peers = peers
            self.following = LedgerFollowing(
                self.roster.ledger,
                peers,
                lambda: [each.id for each in self.everybody if each.alive and each is not self],
            )
            self.part = UpdatesPart(
                self.id,
                self.roster,
                self.folder,
                members=self.members,
                session=peers.__getitem__,
                tasks=lambda: self.tasks,
                patience=HASTE,
            )
            self.part.speaking = lambda: self.speaks
            self.part.take_system(self.way or self.slots)
            routes = [*self.following.routes(), *self.part.routes()]
            port = NodesPort(build_nodes_app(routes, self.roster), contexts, self.roster)
            await port.start("127.0.0.1", 0)
            stack.push_async_callback(port.close)
            self.network[self.id] = ("127.0.0.1", port.port)
            await self._open_people_port(stack)
            running = [asyncio.create_task(self.following.run()), asyncio.create_task(self.part.run())]
            self.alive, self.starts = True, self.starts + 1
            for each in self.everybody:
                if each.alive and each is not self:
                    self.following.met(each.id)
                    each.following.met(self.id)
            try:
                yield
            finally:
                self.alive = False
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    async def _open_people_port(self, stack: contextlib.AsyncExitStack) -> None:
        @web.middleware
        async def as_json(request: web.Request, handler: Callable[[web.Request], object]) -> web.StreamResponse:
            return await errors_as_json(request, handler)  # type: ignore[arg-type]

        app = web.Application(middlewares=[as_json])
        app.add_routes(self.part.api.peoples_routes(lambda handler: handler))
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/updates"

    async def apply(self, bundle: bytes, query: str = "") -> tuple[int, dict[str, object]]:
        async with aiohttp.ClientSession() as http, http.post(self.url + query, data=bundle) as answer:
            return answer.status, await answer.json()

    async def roll_back(self, node: str) -> tuple[int, dict[str, object]]:
        async with aiohttp.ClientSession() as http, http.post(f"{self.url}/nodes/{node}/rollback") as answer:
            return answer.status, await answer.json()

    async def runs(self) -> str:
        return (await self.slots.state()).version

    async def sees(self, other: Node) -> NodeUpdate:
        return next(each for each in await self.part.api.status() if each.node == other.id)


@contextlib.asynccontextmanager
async def swarm(folder: Path, *roles: str, kinds: dict[int, str] | None = None) -> AsyncIterator[list[Node]]:
    """The first is a hub that admits others."""
    network: dict[str, Address] = {}
    nodes = [
        Node(folder / f"node{number}", network, roles=(role,), kind=(kinds or {}).get(number, KIND))
        for number, role in enumerate(roles)
    ]
    first = nodes[0]
    await found(first)  # type: ignore[arg-type]
    for node in nodes:
        node.everybody = nodes
    for node in nodes[1:]:
        let_in(first, node)  # type: ignore[arg-type]
    try:
        await first.start()
        for node in nodes[1:]:
            await first.roster.admit(node.id, node.name, node.roles)
        for node in nodes[1:]:
            await node.start()
        await until(lambda: all(node.part.api.knows(other.id) for node in nodes for other in nodes))
        yield nodes
    finally:
        for node in nodes:
            await node.stop()


async def until_seen(seen_at: Node, node: Node, wanted: Callable[[NodeUpdate], bool]) -> NodeUpdate:
    async with asyncio.timeout(20):
        while not wanted(found := await seen_at.sees(node)):  # noqa: ASYNC110 nothing tells of the state of another node
            await asyncio.sleep(0.02)
    return found


async def until_step(seen_at: Node, node: Node, step: str) -> NodeUpdate:
    return await until_seen(seen_at, node, lambda each: each.step == step)


async def until_reason(seen_at: Node, node: Node, *reasons: str) -> NodeUpdate:
    return await until_seen(seen_at, node, lambda each: each.reason in reasons)


def new(folder: Path, version: str = "2.0", *, signer: str = "builder", breaks: str = "") -> bytes:
    path = folder / f"bundle-{version}"
    return fake_bundle(path, compatible=KIND, version=version, signer=signer, breaks=breaks, size=SIZE).read_bytes()


def test_bundle_offered_at_one_node_comes_to_all_of_its_kind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge", "worker", kinds={2: "mycoswarm-worker-x86_64"}) as nodes:
            hub, edge, worker = nodes
            status, told = await edge.apply(new(tmp_path))
            assert (status, told["version"], told["nodes"]) == (200, "2.0", ["first", edge.name])
            await until_step(hub, edge, "good")
            await until_step(edge, hub, "good")
            assert [await node.runs() for node in nodes] == ["2.0", "2.0", "1.0"]
            assert [node.starts for node in nodes] == [2, 2, 1]
            assert (await hub.sees(edge)).slot == "B"
            assert (await hub.sees(worker)).step == "none"

    asyncio.run(scenario())


def test_failed_node_stops_the_others_and_says_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge", "worker") as (hub, edge, worker):
            await hub.apply(new(tmp_path, breaks="the microphone is not heard"))
            failed = await until_step(hub, worker, "failed")
            assert failed.reason == "the microphone is not heard"
            await until_reason(hub, edge, "it failed at node2: the microphone is not heard")
            assert [await node.runs() for node in (hub, edge, worker)] == ["1.0", "1.0", "1.0"]
            assert (hub.starts, edge.starts) == (1, 1)
            await hub.apply(new(tmp_path, "2.1"))  # mended
            for node in (hub, edge, worker):
                await until_step(edge, node, "good")
                assert await node.runs() == "2.1"

    asyncio.run(scenario())


def test_wrongly_signed_bundle_is_not_offered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge") as (hub, edge):
            status, told = await hub.apply(new(tmp_path, signer="somebody"))
            assert status == 409
            assert "signature" in str(told["error"])
            assert (await hub.sees(edge)).offered == ""
            assert list((hub.folder / "updates").iterdir()) == []

    asyncio.run(scenario())


def test_older_bundle_is_not_taken_and_only_named_nodes_install(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge") as (hub, edge):
            status, told = await hub.apply(new(tmp_path, "0.9"))
            assert (status, told["error"]) == (409, "0.9 is older than 1.0, which runs here")
            assert (await hub.apply(new(tmp_path), "?only=node1"))[0] == 200
            await until_step(hub, edge, "good")
            assert (await hub.runs(), await edge.runs()) == ("1.0", "2.0")
            assert (await hub.sees(hub)).step == "none"
            assert (await hub.apply(new(tmp_path), "?only=nobody"))[0] == 503

    asyncio.run(scenario())


def test_node_that_was_off_catches_up_even_when_the_giver_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge", "worker") as (hub, edge, worker):
            await worker.stop()
            await edge.apply(new(tmp_path))
            for node in (hub, edge):
                await until_step(hub, node, "good")
            await edge.stop()
            await worker.start()
            await until_step(hub, worker, "good")

    asyncio.run(scenario())


def test_node_is_not_taken_away_while_it_is_spoken_to_or_has_tasks(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge") as (hub, edge):
            edge.tasks = hub.tasks = 1
            await hub.apply(new(tmp_path))
            await until_reason(hub, edge, "it has tasks")
            edge.tasks, edge.speaks = 0, True
            await until_reason(hub, edge, "somebody speaks there")
            assert (edge.starts, hub.starts) == (1, 1)
            edge.speaks, hub.tasks = False, 0
            await until_step(hub, edge, "good")
            await until_step(edge, hub, "good")

    asyncio.run(scenario())


def test_next_hub_goes_on_planning_when_the_first_dies(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "hub", "edge", "worker") as nodes:
            one, other, edge, worker = nodes
            for node in nodes:
                node.tasks = 1
            await edge.apply(new(tmp_path))
            for node in nodes:
                await until_reason(edge, node, "it has tasks", "one node tries it first")
            await one.stop()
            for node in nodes:
                node.tasks = 0
            for node in (edge, worker):
                await until_step(other, node, "good")
            assert await other.runs() == "1.0"
            assert (await edge.sees(other)).reason == "the other hub is away"
            await one.start()
            for node in (one, other):
                await until_step(edge, node, "good")

    asyncio.run(scenario())


def test_person_sends_a_node_back_and_only_where_that_is_allowed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge", "worker") as (hub, edge, worker):
            assert (await hub.roll_back("node1"))[0] == 503  # there is no other system yet
            await hub.apply(new(tmp_path))
            for node in (hub, edge, worker):
                await until_step(hub, node, "good")
            with pytest.raises(PeerRefused, match="admits no machines"):
                await worker.peers[edge.id].call("POST", ROLLBACK_PATH, reply=dict, timeout_s=5)
            assert (await hub.roll_back("node1"))[0] == 200
            await until(lambda: edge.starts == 3)
            assert await edge.runs() == "1.0"
            back = await until_step(hub, edge, "failed")
            assert back.reason == "a person wanted the version before"
            await until_seen(hub, edge, lambda each: each.version == "1.0")

    asyncio.run(scenario())


def test_new_system_is_good_only_once_it_proved_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge") as (hub, edge):
            edge.slots.proves_itself = False
            await hub.apply(new(tmp_path))
            await until(lambda: edge.starts == 2)
            await until_step(hub, edge, "restarting")
            assert await edge.runs() == "2.0"
            assert hub.starts == 1
            edge.slots.set(good=True)
            await until_step(hub, edge, "good")
            await until_step(edge, hub, "good")

    asyncio.run(scenario())


def test_program_that_ends_before_the_machine_starts_anew_does_that_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge") as (hub, edge):
            hub.tasks = 1
            real, edge.slots.restart = edge.slots.restart, asyncio.Event().wait  # type: ignore[method-assign, assignment]
            await hub.apply(new(tmp_path))
            await until_step(hub, edge, "restarting")
            await edge.stop()
            edge.slots.restart = real  # type: ignore[method-assign]
            await edge.start()
            await until_step(hub, edge, "good")

    asyncio.run(scenario())


def test_version_of_before_that_root_started_again_is_told_and_left_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge") as (hub, edge):
            await hub.apply(new(tmp_path), "?only=node1")
            await until_step(hub, edge, "good")
            edge.slots.set(next="A")
            await edge.slots.restart()
            back = await until_step(hub, edge, "failed")
            assert (back.version, back.reason) == ("1.0", "1.0 was started again")

    asyncio.run(scenario())


def test_newer_offer_waits_for_an_installation_under_way(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge") as (hub, edge):
            real, begun, goes_on, ended = edge.slots.install, asyncio.Event(), asyncio.Event(), []

            async def slow(path: Path, progress: Callable[[int], None]) -> None:
                begun.set()
                await goes_on.wait()
                await real(path, progress)
                ended.append(path)

            edge.slots.install = slow  # type: ignore[method-assign]
            await hub.apply(new(tmp_path), "?only=node1")
            await begun.wait()
            await hub.apply(new(tmp_path, "3.0"), "?only=node1")
            await until_seen(hub, edge, lambda each: each.offered == "3.0")
            goes_on.set()
            await until_step(hub, edge, "good")
            assert await edge.runs() == "3.0"
            assert len(ended) == 2

    asyncio.run(scenario())


def test_node_whose_slots_are_not_known_at_its_start_looks_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge") as (hub, edge):
            await edge.stop()
            real, asked = edge.slots.state, asyncio.Event()

            async def unknown() -> SlotState:
                asked.set()
                raise MycoswarmError("nobody has said it yet")

            edge.slots.state = unknown  # type: ignore[method-assign]
            await edge.start()
            await asked.wait()
            await hub.apply(new(tmp_path), "?only=node1")
            edge.slots.state = real  # type: ignore[method-assign]
            await until_step(hub, edge, "good")

    asyncio.run(scenario())


def test_node_installed_as_a_package_says_whose_its_update_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "worker") as (hub, worker):
            await worker.stop()
            worker.way = SlotState("package", "1.0")
            await worker.start()
            await until_seen(hub, worker, lambda each: each.way == "package")
            status, told = await worker.apply(new(tmp_path))
            assert status == 409
            assert "apt install" in str(told["hint"])

    asyncio.run(scenario())


def test_word_of_others_about_a_node_does_not_count(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with swarm(tmp_path, "hub", "edge", "worker") as (hub, edge, worker):
            hub.tasks = edge.tasks = 1
            await hub.apply(new(tmp_path))
            offer = (await hub.sees(worker)).offered
            assert offer == "2.0"
            go = {"offer": "anything", "at": time.time()}
            await worker.roster.ledger.put("updates", f"go/{edge.id}", go)
            await worker.roster.ledger.put("updates", f"node/{edge.id}", {"way": "slots", "version": "6.6"})
            await until_step(hub, worker, "good")
            assert (await hub.sees(edge)).version != "6.6"
            assert edge.starts == 1

    asyncio.run(scenario())
