"""The publisher of discovery messages on a real broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from hub.home.birth import Birth
from hub.seen.discovery import Form, Seen, device_id, wanted
from hub.seen.publisher import Publisher, SwarmState
from swarm.broker import Broker
from swarm.bus import Bus
from swarm.bus_rules import state_topic, swarm_state_topic
from swarm.node_state import NodeState, encode_state
from tests.buses import Kind, background, both_brokers, maker, running_broker, running_bus, until

A, B = "a" * 26, "b" * 26
STATES = {A: NodeState("attic", "0.1.0", assistant=True), B: NodeState("kitchen", "0.1.0", assistant=True)}


class Hub:
    """A hub's publisher and what is true for it."""

    def __init__(self, form: Form = "components") -> None:
        self.form: Form = form
        self.members = frozenset(STATES)
        self.speaks = True

    def known(self, states: Mapping[str, NodeState], shown: frozenset[str]) -> Seen:
        here = {node: state for node, state in states.items() if node in self.members}
        return Seen(
            here, self.members, gone=shown & (frozenset(STATES) - self.members), swarm_id="s", hubs=self.members
        )

    def swarm(self, states: Mapping[str, NodeState]) -> SwarmState:
        return SwarmState(len(self.members), 0, "attic", "attic", "0.1.0")

    def wanted(self) -> dict[str, bytes]:
        states = {node: state for node, state in STATES.items() if node in self.members}
        return wanted(self.known(states, frozenset()), self.form, prefix="homeassistant", language="en")


class Log:
    """Every message to the broker, and what it holds."""

    def __init__(self, bus: Bus) -> None:
        self.published: list[str] = []
        self.held: dict[str, bytes] = {}
        bus.subscribe("homeassistant/#", self._heard)
        bus.subscribe("mycoswarm/swarm/#", self._heard)

    def _heard(self, topic: str, payload: bytes) -> None:
        self.published.append(topic)
        self.held[topic] = payload

    def configs(self) -> dict[str, bytes]:
        return {topic: payload for topic, payload in self.held.items() if payload and topic.endswith("/config")}


@contextlib.asynccontextmanager
async def published(broker: Broker, hub: Hub) -> AsyncIterator[Publisher]:
    bus = Bus(broker.address, "hub")
    birth = Birth(bus, prefix="homeassistant", speaks=lambda: hub.speaks)
    publisher = Publisher(
        bus,
        birth,
        prefix="homeassistant",
        form=hub.form,
        language="en",
        speaks=lambda: hub.speaks,
        known=hub.known,
        swarm=hub.swarm,
    )
    async with background(bus.run(), birth.run(), publisher.run()):
        yield publisher


@contextlib.asynccontextmanager
async def home(kind: Kind, folder: Path) -> AsyncIterator[tuple[Broker, Log]]:
    async with running_broker(kind, folder) as broker, running_bus(broker, "log") as bus, maker(broker) as nodes:
        log = Log(bus)
        await bus.wait_subscribed()
        for node, state in STATES.items():
            await nodes.publish(state_topic(node), encode_state(state), qos=1, retain=True)
        yield broker, log


def once(log: Log) -> bool:
    configs = [topic for topic in log.published if topic.endswith("/config")]
    return len(configs) == len(set(configs))


@both_brokers
def test_each_message_is_published_once_and_by_whoever_takes_over_not_again(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home(kind, tmp_path) as (broker, log):
            one, two = Hub(), Hub()
            two.speaks = False
            async with published(broker, two) as second:
                async with published(broker, one):
                    await until(lambda: log.configs() == one.wanted())
                two.speaks = True
                second.look_again()
                two.members = frozenset({A})
                await until(lambda: log.configs() == two.wanted())
            assert not any(device_id(B) in topic for topic in log.configs())
            removed = sum(device_id(B) in topic for topic in one.wanted())
            kept = [topic for topic in log.published if device_id(A) in topic]
            assert removed and len(kept) == len(set(kept))

    asyncio.run(scenario())


def test_home_assistant_that_starts_is_told_everything_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home("mosquitto", tmp_path) as (broker, log), maker(broker) as home_assistant:
            hub = Hub()
            async with published(broker, hub):
                await until(lambda: log.configs() == hub.wanted())
                assert once(log), "our own word that we read announcements makes nobody repeat them"
                log.published.clear()
                await home_assistant.publish("homeassistant/status", "online", qos=1)
                await until(lambda: set(log.configs()) <= set(log.published))
                assert once(log)

    asyncio.run(scenario())


def test_what_somebody_else_left_or_changed_is_set_right(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home("mosquitto", tmp_path) as (broker, log), maker(broker) as stranger:
            hub = Hub()
            async with published(broker, hub):
                await until(lambda: log.configs() == hub.wanted())
                topic = next(iter(hub.wanted()))
                await stranger.publish(topic, b"{}", qos=1, retain=True)
                await stranger.publish(f"homeassistant/light/{device_id(A)}/old/config", b"{}", qos=1, retain=True)
                await stranger.publish("homeassistant/light/lamp/config", b"{}", qos=1, retain=True)
                await until(lambda: log.configs() == hub.wanted() | {"homeassistant/light/lamp/config": b"{}"})

    asyncio.run(scenario())


def test_switched_off_it_leaves_nothing_of_the_swarm(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home("mosquitto", tmp_path) as (broker, log):
            hub = Hub("device")
            swarm = swarm_state_topic("s")
            async with published(broker, hub):
                await until(lambda: log.configs() == hub.wanted() and bool(log.held.get(swarm)))
                assert msgspec.json.decode(log.held[swarm])["nodes"] == 2
            async with published(broker, Hub("off")):
                await until(lambda: not log.configs() and not log.held[swarm])

    asyncio.run(scenario())


def test_the_last_one_to_leave_takes_the_swarm_along(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home("mosquitto", tmp_path) as (broker, log):
            hub = Hub()
            swarm = swarm_state_topic("s")
            async with published(broker, hub) as publisher:
                await until(lambda: log.configs() == hub.wanted() and bool(log.held.get(swarm)))
                hub.speaks = False
                await publisher.forget(Seen({}, frozenset(), gone=frozenset(STATES), swarm_id="s"))
                await until(lambda: not log.configs() and not log.held[swarm])

    asyncio.run(scenario())
