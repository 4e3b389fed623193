from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt
import msgspec
import pytest

from swarm import swarm_bus
from swarm.broker import BrokerAddress
from swarm.bus_port import BusPort
from swarm.bus_rules import presence_topic, state_topic
from swarm.capability import Capability
from swarm.certificates import NodeId
from swarm.errors import BusError
from swarm.health import Health
from swarm.lease import rank
from swarm.presence import Document
from swarm.swarm_bus import HubBroker, SwarmBus
from tests.buses import background, kill, running_broker, until
from tests.nats import nats_cluster, needs_nats
from tests.swarm.bus_hubs import Hub, hub_before
from tests.swarm.enrolled import Member, founder, member

both_brokers = pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])


class Swarm:
    """Hubs in the order of their rank, and who believes which of them to live."""

    def __init__(self) -> None:
        self.hubs: list[Hub] = []
        self.alive: set[NodeId] = set()
        self.nodes: dict[NodeId, SwarmBus] = {}
        self.documents: dict[NodeId, Document] = {}
        self.starts = 0

    def living(self, asked_by: NodeId) -> list[HubBroker]:
        return [
            HubBroker(node, () if node == asked_by else (("127.0.0.1", hub.port.port),))
            for hub in self.hubs
            if (node := hub.member.node_id) in self.alive
        ]

    @contextlib.asynccontextmanager
    async def on_bus(self, who: Member, hub: Hub | None = None) -> AsyncIterator[SwarmBus]:
        node = who.node_id
        self.starts += 1
        self.documents[node] = Document(name=who.identity.folder.name, addresses=("10.0.0.1:7334",))
        bus = SwarmBus(
            node=node,
            incarnation=self.starts,
            contexts=who.contexts,
            trust=who.trust,
            hubs=lambda: self.living(node),
            describe=lambda: self.documents[node],
            health=lambda: Health(1, 2.0, 3, 4, 5),
            own_broker=hub.broker if hub else None,
            port=hub.port if hub else None,
        )
        self.nodes[node] = bus
        async with background(bus.run()):
            yield bus
        del self.nodes[node]

    def all_at(self, hub: Hub) -> bool:
        return all(bus.bus.connected and bus.hub == hub.member.node_id for bus in self.nodes.values())

    def all_see(self, *nodes: Member) -> bool:
        wanted = {each.node_id for each in nodes}
        return all(set(bus.present()) == wanted - {node} for node, bus in self.nodes.items())


async def ranked_hubs(folder: Path, count: int) -> list[Member]:
    """Members of one swarm, the first in rank first."""
    first = founder(folder / "hub0")
    others = [await member(first, folder / f"hub{number}") for number in range(1, count)]
    by_id = {each.node_id: each for each in (first, *others)}
    for each in by_id.values():
        if each is not first:
            await each.trust.admit(first.node_id, "hub0")
        for other in by_id.values():
            await each.trust.admit(other.node_id, other.identity.folder.name)
    return [by_id[node] for node in rank("bus", by_id)]


def enroller_of(hubs: list[Member]) -> Member:
    return next(each for each in hubs if each.identity.authority is not None)


@both_brokers
def test_when_the_broker_of_the_hub_in_charge_is_killed_all_follow_the_next_and_return(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm.bus_choice.STEADY_S", (1.0, 60.0))

    async def scenario() -> None:
        swarm, members = Swarm(), await ranked_hubs(tmp_path, 2)
        attic = await member(enroller_of(members), tmp_path / "attic")
        async with contextlib.AsyncExitStack() as closing:
            brokers = []
            for each in members:
                broker = await closing.enter_async_context(
                    running_broker(kind, tmp_path / each.node_id)  # type: ignore[arg-type]
                )
                brokers.append(broker)
                hub = await closing.enter_async_context(
                    hub_before(each, lambda broker=broker: broker.address)  # type: ignore[misc]
                )
                swarm.hubs.append(hub)
                swarm.alive.add(each.node_id)
            first, second = swarm.hubs
            for each, hub in zip(members, swarm.hubs, strict=True):
                await closing.enter_async_context(swarm.on_bus(each, hub))
            bus = await closing.enter_async_context(swarm.on_bus(attic))
            heard: list[bytes] = []
            bus.bus.subscribe("home/lamp/set", lambda _, payload: heard.append(payload))
            await until(lambda: swarm.all_at(first) and swarm.all_see(attic, *members))

            changes: list[bool] = []
            reasons: list[str] = []
            bus.bus.on_connection(changes.append)
            bus.bus.on_connection(lambda _: reasons.append(bus.why_waiting))
            swarm.alive.remove(first.member.node_id)
            await kill(brokers[0])
            own = swarm.nodes.pop(first.member.node_id)  # it is dead to the others, and knows nobody
            await until(lambda: swarm.all_at(second))
            # Either the connection is lost first, or the hub is missed first.
            assert re.fullmatch("they wait for (one of the 2 hubs|the hub) to take over the bus", reasons[0])
            assert reasons[1] == ""
            await bus.bus.wait_subscribed()
            await swarm.nodes[second.member.node_id].bus.publish("home/lamp/set", "on")
            await until(lambda: b"on" in heard)
            assert changes == [False, True]

            swarm.nodes[first.member.node_id] = own
            swarm.alive.add(first.member.node_id)
            await until(lambda: swarm.all_at(first) and swarm.all_see(attic, *members), seconds=60)
            assert changes == [False, True, False, True]

    asyncio.run(scenario())


@needs_nats
@pytest.mark.timeout(180)
def test_with_one_of_three_nats_servers_killed_presence_retained_messages_and_commands_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        swarm, members = Swarm(), await ranked_hubs(tmp_path, 3)
        attic = await member(enroller_of(members), tmp_path / "attic")
        async with contextlib.AsyncExitStack() as closing:
            servers = await closing.enter_async_context(nats_cluster(tmp_path))
            for each, server in zip(members, servers, strict=True):
                hub = await closing.enter_async_context(
                    hub_before(each, lambda server=server: server.address)  # type: ignore[misc]
                )
                swarm.hubs.append(hub)
                swarm.alive.add(each.node_id)
            for each, hub in zip(members, swarm.hubs, strict=True):
                await closing.enter_async_context(swarm.on_bus(each, hub))
            bus = await closing.enter_async_context(swarm.on_bus(attic))
            await until(lambda: swarm.all_see(attic, *members), seconds=60)
            heard: list[bytes] = []
            # With QoS 1 the cluster agrees on a keeper for each subscription, which takes it between 1 s and 30 s.
            bus.bus.subscribe("home/lamp/set", lambda _, payload: heard.append(payload), qos=0)
            await bus.bus.publish("home/lamp/state", "off", retain=True)

            await servers[0].kill()
            await until(lambda: swarm.all_at(swarm.hubs[1]), seconds=60)
            kept: list[bytes] = []
            bus.bus.subscribe("home/lamp/state", lambda _, payload: kept.append(payload), qos=0)
            await bus.bus.wait_subscribed()
            await until(lambda: kept == [b"off"], seconds=60)
            switch = swarm.nodes[swarm.hubs[2].member.node_id].bus
            async with asyncio.timeout(60):
                while b"on" not in heard:  # while the cluster elects, a message may be lost
                    with contextlib.suppress(BusError):
                        await switch.publish("home/lamp/set", "on")
                    await asyncio.sleep(0.05)
            await until(lambda: swarm.all_see(attic, *members), seconds=60)

    asyncio.run(scenario())


@both_brokers
def test_everybody_learns_what_a_node_offers_when_it_changes_and_when_it_goes(kind: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with one_hub(kind, tmp_path) as (swarm, hub):
            attic = await member(hub.member, tmp_path / "attic")
            async with swarm.on_bus(hub.member, hub) as hubs:
                await (
                    hubs.bus.wait_subscribed()
                )  # so that it hears the attic's first words, not those five seconds later
                async with swarm.on_bus(attic) as attics:
                    await until(lambda: attic.node_id in hubs.present() and hubs.health(attic.node_id))
                    assert hubs.present()[attic.node_id].name == "attic"
                    offered = Capability("generate", "tiny", running=3)
                    swarm.documents[attic.node_id] = msgspec.structs.replace(
                        swarm.documents[attic.node_id], capabilities=(offered,)
                    )
                    await until(lambda: hubs.present()[attic.node_id].capabilities)
                    assert hubs.present()[attic.node_id].capabilities[0].running == 0
                    hub.port.cut(lambda tls: True)
                    await until(lambda: attic.node_id not in hubs.present())
                    await until(lambda: attic.node_id in hubs.present())
                    assert hubs.present()[attic.node_id].capabilities == (Capability("generate", "tiny"),)
                    assert attics.present()[hub.member.node_id].name == "hub"
                await until(lambda: attic.node_id not in hubs.present())
                assert hubs.health(attic.node_id) is None

    asyncio.run(scenario())


def test_a_replayed_presence_and_a_late_last_will_change_nothing_for_long(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with one_hub("mosquitto", tmp_path) as (swarm, hub):
            attic = await member(hub.member, tmp_path / "attic")
            recorded: list[bytes] = []
            topic = presence_topic(attic.node_id)
            async with (
                swarm.on_bus(hub.member, hub) as hubs,
                aiomqtt.Client("127.0.0.1", hub.broker().port) as device,
            ):
                hubs.bus.subscribe(topic, lambda _, payload: recorded.append(payload))
                async with swarm.on_bus(attic):
                    await until(lambda: attic.node_id in hubs.present())
                swarm.documents[attic.node_id] = Document(name="attic")
                await until(lambda: attic.node_id not in hubs.present())
                said = len(recorded)
                for old in recorded[:said]:
                    await device.publish(topic, old, qos=1, retain=True)
                await until(lambda: len(recorded) >= 2 * said)
                assert attic.node_id not in hubs.present()
                async with swarm.on_bus(attic):
                    await until(lambda: attic.node_id in hubs.present())
                    for old in recorded[:said]:
                        await device.publish(topic, old, qos=1, retain=True)
                    await until(lambda: recorded[-1] not in recorded[:said] and len(recorded) > 3 * said)
                    assert attic.node_id in hubs.present()
                    await device.publish(topic, b'{"node":"', qos=1, retain=True)
                    await device.publish(topic, recorded[-1].replace(attic.node_id.encode(), b"x" * 26), qos=1)

    asyncio.run(scenario())


def test_a_revoked_node_is_on_the_bus_no_more_and_leaves_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swarm_bus, "LEFTOVERS_S", 0.1)

    async def scenario() -> None:
        async with one_hub("mosquitto", tmp_path) as (swarm, hub):
            attic = await member(hub.member, tmp_path / "attic")
            async with swarm.on_bus(hub.member, hub) as hubs, swarm.on_bus(attic) as attics:
                await until(lambda: attic.node_id in hubs.present())
                kept: dict[str, bytes] = {}
                for topic in (presence_topic(attic.node_id), state_topic(attic.node_id)):
                    hubs.bus.subscribe(topic, kept.__setitem__)
                await attics.bus.publish(state_topic(attic.node_id), "{}", retain=True)
                await until(lambda: len(kept) == 2 and all(kept.values()))
                await hub.member.trust.revoke(attic.node_id)
                assert attic.node_id not in hubs.present()
                await until(lambda: not attics.bus.connected)
                await until(lambda: not any(kept.values()))

    asyncio.run(scenario())


def test_a_hub_that_lives_but_whose_broker_does_not_answer_is_passed_over_without_flapping(tmp_path: Path) -> None:
    async def scenario() -> None:
        swarm, members = Swarm(), await ranked_hubs(tmp_path, 2)
        async with contextlib.AsyncExitStack() as closing:
            broker = await closing.enter_async_context(running_broker("mosquitto", tmp_path / "b"))
            nobody = BrokerAddress("127.0.0.1", 1)
            addresses: list[Callable[[], BrokerAddress]] = [lambda: nobody, lambda: broker.address]
            for each, address in zip(members, addresses, strict=True):
                swarm.hubs.append(await closing.enter_async_context(hub_before(each, address)))
                swarm.alive.add(each.node_id)
            changes: list[bool] = []
            for each, hub in zip(members, swarm.hubs, strict=True):
                bus = await closing.enter_async_context(swarm.on_bus(each, hub))
                bus.bus.on_connection(changes.append)
            await until(lambda: swarm.all_at(swarm.hubs[1]))
            looked = swarm.hubs[0].port
            changes.clear()
            logging.getLogger("swarm.swarm_bus").setLevel(logging.DEBUG)
            told: list[str] = []
            watch = logging.Handler()
            watch.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
            logging.getLogger("swarm.swarm_bus").addHandler(watch)
            closing.callback(logging.getLogger("swarm.swarm_bus").removeHandler, watch)
            await until(lambda: any("does not take the bus" in each for each in told))
            assert isinstance(looked, BusPort)
            assert changes == []
            assert swarm.all_at(swarm.hubs[1])

    asyncio.run(scenario())


@contextlib.asynccontextmanager
async def one_hub(kind: str, folder: Path) -> AsyncIterator[tuple[Swarm, Hub]]:
    swarm, first = Swarm(), founder(folder / "hub")
    async with (
        running_broker(kind, folder) as broker,  # type: ignore[arg-type]
        hub_before(first, lambda: broker.address) as hub,
    ):
        swarm.hubs.append(hub)
        swarm.alive.add(first.node_id)
        yield swarm, hub
