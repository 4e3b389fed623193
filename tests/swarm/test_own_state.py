"""A node's own state on a real broker, and what may be set of it there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from swarm import own_state as own_state_module
from swarm.broker import Broker
from swarm.bus import Bus
from swarm.bus_rules import command_topic, event_topic, state_topic
from swarm.errors import MycoswarmError
from swarm.node_state import NodeEvent, NodeState, decode_state
from swarm.own_state import MAX_WAITING, OwnState
from tests.buses import background, kill, maker, running_broker, running_bus, until

NODE = "attic"


class Shown:
    """A node, and what it was told to do."""

    def __init__(self) -> None:
        self.state = NodeState("attic", "0.1.0")
        self.told: list[str] = []

    async def do(self, payload: str) -> None:
        if payload == "wrong":
            raise MycoswarmError("that is wrong")
        self.told.append(payload)


@contextlib.asynccontextmanager
async def own_state(broker: Broker, shown: Shown | None) -> AsyncIterator[OwnState]:
    bus = Bus(broker.address, NODE)
    look = (lambda: shown.state) if shown is not None else None
    own = OwnState(bus, NODE, look=look, commands={"mute": shown.do} if shown is not None else {})
    async with background(bus.run(), own.run()):
        await bus.wait_subscribed()
        yield own


def test_state_is_retained_told_anew_to_a_new_broker_and_removed_when_nothing_is_to_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_state_module, "AFTER_DEVICES_S", 0.1)

    async def scenario() -> None:
        heard: dict[str, bytes] = {}
        shown = Shown()
        async with running_broker("mosquitto", tmp_path) as broker, running_bus(broker, "log") as log:
            log.subscribe(state_topic(NODE), heard.__setitem__)
            async with own_state(broker, shown) as own:
                await until(lambda: heard.get(state_topic(NODE)))
                shown.state = msgspec.structs.replace(shown.state, model="llama")
                own.changed()
                await until(lambda: decode_state(heard[state_topic(NODE)]).model == "llama")
                heard.clear()
                await kill(broker)
                await until(lambda: heard.get(state_topic(NODE)))
            async with own_state(broker, None):
                await until(lambda: heard[state_topic(NODE)] == b"")

    asyncio.run(scenario())


def test_commands_are_obeyed_and_what_is_none_is_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        shown = Shown()
        async with running_broker("mosquitto", tmp_path) as broker, maker(broker) as person:
            await person.publish(command_topic(NODE, "mute"), "left there", qos=1, retain=True)
            async with own_state(broker, shown):
                for payload in (b"wrong", b"\xff", b"x" * 1000, b" ON "):
                    await person.publish(command_topic(NODE, "mute"), payload, qos=1)
                await person.publish(command_topic(NODE, "approve"), "ABCD", qos=1)
                await person.publish(f"{command_topic(NODE, 'mute')}/else", "OFF", qos=1)
                await person.publish(command_topic(NODE, "mute"), "last", qos=1)
                await until(lambda: "last" in shown.told)
            assert shown.told == ["ON", "last"]

    asyncio.run(scenario())


def test_an_event_is_told_once_and_too_many_are_dropped(tmp_path: Path) -> None:
    async def scenario() -> None:
        heard: list[bytes] = []
        async with running_broker("mosquitto", tmp_path) as broker, running_bus(broker, "log") as log:
            log.subscribe(event_topic(NODE), lambda topic, payload: heard.append(payload))
            await log.wait_subscribed()
            async with own_state(broker, Shown()) as own:
                for _ in range(10 * MAX_WAITING):
                    own.happened(NodeEvent("wake", "okay_nabu"))
                await until(lambda: len(heard) == MAX_WAITING)
            assert msgspec.json.decode(heard[0]) == {"event_type": "wake", "wake_word": "okay_nabu", "text": ""}
            later: list[bytes] = []
            log.subscribe(f"{event_topic(NODE)}/#", lambda topic, payload: later.append(payload))
            await log.wait_subscribed()
            assert later == []

    asyncio.run(scenario())
