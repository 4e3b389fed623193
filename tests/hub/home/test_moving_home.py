"""The home on a bus that moves from one broker to another, as in a swarm."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest

from hub.home import registry
from hub.home.birth import Birth
from hub.home.entity import Command
from hub.home.flat_on_bus import FlatOnBus
from hub.home.registry import Home
from hub.home.virtual_devices import Switch
from swarm.broker import BrokerAddress
from swarm.bus import Bus
from swarm.bus_rules import presence_topic
from swarm.config import BusSection
from tests.buses import announce, background, maker, running_broker, until

FAN = "switch.flat_fan"


class NodeIsHere:
    """A node's presence, as short as it may be."""

    topic = presence_topic("a" * 26)

    def last_will(self) -> bytes:
        return b"{}"

    def here(self) -> bytes:
        return json.dumps({"document": {"name": "one"}}).encode()


class WhereverToldTo:
    """`Brokers`: the test says which."""

    def __init__(self, address: BrokerAddress) -> None:
        self.address = address

    async def next(self) -> BrokerAddress:
        await asyncio.sleep(0.01)
        return self.address

    def connected(self, address: BrokerAddress) -> None:
        pass

    def lost(self, address: BrokerAddress, *, was_connected: bool) -> None:
        pass

    async def until_another(self, address: BrokerAddress) -> bool:
        await until(lambda: self.address != address, seconds=60.0)
        return True


@contextlib.asynccontextmanager
async def two_brokers(folder: Path) -> AsyncIterator[tuple[WhereverToldTo, Bus, list[BrokerAddress]]]:
    async with running_broker("mosquitto", folder / "a") as one, running_broker("mosquitto", folder / "b") as two:
        where = WhereverToldTo(one.address)
        yield where, Bus(where, "one", presence=NodeIsHere()), [one.address, two.address]


def test_flat_that_shares_the_bus_goes_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two_brokers(tmp_path) as (where, bus, addresses):
            home = Home(bus, BusSection(confirm_timeout_s=20.0))
            flat = FlatOnBus(bus, devices=[Switch("fan", "Fan", "Hall")])
            async with background(bus.run(), flat.run()):
                for address in (*addresses, addresses[0]):
                    where.address = address
                    await until(lambda address=address: bus.connected and bus.broker == address)  # type: ignore[misc]
                    await until(lambda: FAN in home.entities and home.state(FAN).available)
                    for verb, value in (("turn_on", "on"), ("turn_off", "off")):
                        [outcome] = await home.perform([Command(FAN, verb)])  # type: ignore[arg-type]
                        assert (outcome.result, outcome.state.value) == ("confirmed", value)

    asyncio.run(scenario())


def test_flat_is_offline_when_its_node_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_broker("mosquitto", tmp_path) as broker:
            other, flats = Bus(broker.address, "other"), Bus(broker.address, "one", presence=NodeIsHere())
            home = Home(other, BusSection())
            flat = FlatOnBus(flats, devices=[Switch("fan", "Fan", "Hall")])
            async with background(other.run()):
                async with background(flats.run(), flat.run()):
                    await until(lambda: FAN in home.entities and home.state(FAN).available)
                await until(lambda: not home.state(FAN).available)
                [outcome] = await home.perform([Command(FAN, "turn_on")])
                assert outcome.result == "unavailable"

    asyncio.run(scenario())


def test_device_that_stayed_at_the_broker_of_before_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ANNOUNCED_S", 0.2)
    monkeypatch.setattr(registry, "REPEATED_S", 0.2)
    lamp = {"command_topic": "~/set"}

    async def scenario() -> None:
        async with two_brokers(tmp_path) as (where, bus, addresses):
            home = Home(bus, BusSection())
            for address, lamps in zip(addresses, (("stays", "both"), ("both",)), strict=True):
                async with maker_at(address) as client:
                    for each in lamps:
                        await announce(client, "switch", each, **lamp)
            async with background(bus.run()):
                await until(lambda: len(home.entities) == 2)
                assert home.state("switch.stays").available
                where.address = addresses[1]
                await until(lambda: bus.connected and bus.broker == addresses[1])
                await until(lambda: not home.state("switch.stays").available)
                assert home.state("switch.both").available
                [outcome] = await home.perform([Command("switch.stays", "turn_on")])
                assert outcome.result == "unavailable"
                where.address = addresses[0]
                await until(lambda: home.state("switch.stays").available)

    asyncio.run(scenario())


def test_why_no_device_can_be_reached_is_known_while_the_bus_is_down(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_broker("mosquitto", tmp_path) as broker:
            bus = Bus(broker.address, "one")
            home = Home(bus, BusSection(), why_down=lambda: "it rests")
            assert home.why_down == "it rests"
            async with background(bus.run()):
                await bus.wait_connected()
                assert home.why_down == ""

    asyncio.run(scenario())


def test_only_who_speaks_for_the_home_asks_devices_to_announce_themselves(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_broker("mosquitto", tmp_path) as broker, maker(broker) as client:
            await client.subscribe("homeassistant/status")
            bus, speaks = Bus(broker.address, "one"), False
            birth = Birth(bus, prefix="homeassistant", speaks=lambda: speaks)
            async with background(bus.run(), birth.run()):
                await bus.wait_subscribed()
                await until(lambda: not birth._due.is_set())
                await client.publish("homeassistant/status", "nobody", qos=1)
                speaks = True
                birth.again()
                heard = [await anext(client.messages), await anext(client.messages)]
                assert [each.payload for each in heard] == [b"nobody", b"online"]
                assert not heard[1].retain

    asyncio.run(scenario())


@contextlib.asynccontextmanager
async def maker_at(address: BrokerAddress) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client(address.host, address.port) as client:
        yield client
