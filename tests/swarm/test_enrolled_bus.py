"""Which hubs can carry the bus, and who may command devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarm import enrolled_bus
from swarm.broker import Broker, BrokerAddress
from swarm.certificates import NodeId
from swarm.config import BusSection
from swarm.discovery import Discovery
from swarm.enrolled_bus import HOME, EnrolledBus
from swarm.health import Health
from swarm.membership import Beat
from swarm.peer import Peer
from swarm.presence import Document
from swarm.transport import Transport
from swarm.worker import Worker
from tests.swarm.enrolled import founder


class Nobody(Transport):
    def beat(self, node: str, beat: Beat) -> None:
        pass

    def execute_at(self, node: str, order: Any, receiver: Any) -> Any:
        raise NotImplementedError


class Bench:
    def __init__(self, folder: Path, *, broker: str = "", is_hub: bool = True) -> None:
        self.own = founder(folder / "own")
        node = self.own.node_id
        roles = ("hub",) if is_hub else ("worker",)
        self.peer = Peer(node, name="own", incarnation=1, worker=Worker(node, []), transport=Nobody(), roles=roles)
        self.changes: list[object] = []
        self.discovery = Discovery(swarm_id="s", state_dir=folder, on_change=self.changes.append, multicast=False)
        kept = Broker(BusSection(broker=broker), folder)
        if broker:
            kept._address = BrokerAddress("127.0.0.1", 1, kind="external")
        else:
            kept._address = BrokerAddress("127.0.0.1", 1, kind="mosquitto")
        self.bus = EnrolledBus(
            self.peer,
            self.own.contexts,
            self.own.trust,
            self.discovery,
            incarnation=1,
            places=lambda node: [("127.0.0.1", 7334), ("127.0.0.1", 7335)],
            describe=lambda: Document(name="own"),
            health=lambda: Health(1, 2.0, 3, 4, 5),
            broker=kept if is_hub else None,
        )
        self.bus._settled_at = 0.0

    def hub(self, node: NodeId, **says: Any) -> None:
        told = {"roles": ("hub",), "bus_port": 7336, "addresses": ("127.0.0.1:7334",), **says}
        self.peer.heard(Beat(node, 1, self.peer._sequence + len(self.peer.members()), name=node, **told))

    def carriers(self) -> dict[NodeId, tuple[tuple[str, int], ...]]:
        return {each.node: each.addresses for each in self.bus._hubs()}


def run(scenario: Callable[[], None]) -> None:
    async def inside() -> None:
        scenario()

    asyncio.run(inside())


def test_live_hubs_with_a_broker_and_this_one_can_carry_the_bus(tmp_path: Path) -> None:
    def scenario() -> None:
        bench = Bench(tmp_path)
        bench.hub("attic")
        bench.hub("worker", roles=("worker",))
        bench.hub("no broker", bus_port=0)
        bench.hub("gone")
        bench.peer.peer_refused("gone")
        assert bench.carriers() == {"attic": (("127.0.0.1", 7336),), bench.own.node_id: ()}

    run(scenario)


def test_hubs_at_the_homes_own_broker_come_before_those_that_started_one(tmp_path: Path) -> None:
    def scenario() -> None:
        bench = Bench(tmp_path / "one")
        bench.hub("attic")
        bench.hub("at home", home_broker=True)
        bench.hub("at home too", home_broker=True)
        assert set(bench.carriers()) == {"at home", "at home too"}
        bench.peer.peer_refused("at home")
        bench.peer.peer_refused("at home too")
        assert set(bench.carriers()) == {"attic", bench.own.node_id}
        own = Bench(tmp_path / "two", broker="mqtt://127.0.0.1:1")
        own.hub("attic")
        assert set(own.carriers()) == {own.own.node_id}

    run(scenario)


def test_hub_that_has_just_started_hears_first_who_carries_the_bus(tmp_path: Path) -> None:
    def scenario() -> None:
        bench = Bench(tmp_path)
        bench.bus._settled_at = asyncio.get_running_loop().time() + enrolled_bus.SETTLE_S
        bench.hub("attic", carries_bus=True)
        assert [(each.node, each.carries) for each in bench.bus._hubs()] == [("attic", True)]

    run(scenario)


def test_node_that_is_no_hub_offers_no_broker(tmp_path: Path) -> None:
    def scenario() -> None:
        bench = Bench(tmp_path, is_hub=False)
        bench.hub("attic")
        assert set(bench.carriers()) == {"attic"}
        assert bench.bus.status().why == "no hub of this swarm can be reached"

    run(scenario)


def test_only_hubs_and_edge_nodes_command_devices(tmp_path: Path) -> None:
    def scenario() -> None:
        bench = Bench(tmp_path)
        bench.hub("attic")
        bench.hub("kitchen", roles=("edge",), bus_port=0)
        bench.hub("works", roles=("worker", "gpu"), bus_port=0)
        runs = {node for node in ("attic", "kitchen", "works", "unknown") if bench.bus._runs_home(node)}
        assert runs == {"attic", "kitchen"}

    run(scenario)


def test_presence_on_the_bus_says_where_a_node_is(tmp_path: Path) -> None:
    def scenario() -> None:
        bench = Bench(tmp_path)
        node = "a" * 26
        bench.bus._present(node, Document(name="attic", addresses=("10.0.0.7:7334", "10.0.0.8:9999")))
        [found] = bench.discovery.candidates(node)
        assert (found.addresses, found.port, found.source) == (("10.0.0.7",), 7334, "bus")
        bench.discovery.left_bus(node)
        assert bench.discovery.candidates(node) == ()

    run(scenario)


def test_one_of_two_hubs_speaks_for_the_home(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        gained: list[str] = []
        bench.bus.on_gained(gained.append)
        bench.bus._leases._started_at -= 10.0
        holding = asyncio.create_task(bench.bus._hold_roles())
        await asyncio.sleep(0)
        assert (gained, bench.bus.owns(HOME)) == ([HOME], True)
        holding.cancel()
        await asyncio.wait([holding])

    asyncio.run(scenario())
