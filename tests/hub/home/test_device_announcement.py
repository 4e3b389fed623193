"""Whole devices in one message, on a real broker."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from hub.home import registry
from hub.home.announcement import MAX_COMPONENTS, Announcement, parse_announcement
from swarm.errors import MalformedMessage
from tests.buses import Kind, announce, both_brokers, maker, until
from tests.hub.home.test_registry import do, empty_home

TOPIC = "homeassistant/device/plug/config"


def plug(**components: dict[str, Any]) -> bytes:
    """With abbreviations, as most send it."""
    return json.dumps(
        {
            "dev": {"ids": "plug", "name": "Kitchen plug", "sa": "Kitchen"},
            "o": {"name": "maker"},
            "~": "plug/1",
            "avty": [{"t": "~/there"}, {"t": "bridge/state", "val_tpl": "{{ value_json.state }}"}],
            "avty_mode": "all",
            "stat_t": "~/state",
            "cmps": components,
        }
    ).encode()


SWITCH = {"p": "switch", "name": None, "uniq_id": "plug_s", "cmd_t": "~/set", "val_tpl": "{{ value_json.on }}"}
POWER = {
    "p": "sensor",
    "dev_cla": "power",
    "unit_of_meas": "W",
    "uniq_id": "plug_p",
    "val_tpl": "{{ value_json.w }}",
    "ent_cat": "diagnostic",
    "def_ent_id": "sensor.plug_power",
}


def parsed(payload: bytes) -> Announcement:
    return parse_announcement(TOPIC, payload, "homeassistant")


def test_components_share_what_the_device_says_once() -> None:
    found = parsed(plug(relay=SWITCH, power=POWER | {"stat_t": "own/state", "avty": {"t": "own/there"}})).entities
    switch, power = found["relay"], found["power"]
    assert (switch.entity.id, switch.entity.name, switch.entity.area) == ("switch.plug_s", "Kitchen plug", "Kitchen")
    assert (power.entity.name, power.entity.category) == ("Kitchen plug power", "diagnostic")
    assert [reader.topic for reader in switch.component.readers] == ["plug/1/state"]
    assert [reader.topic for reader in power.component.readers] == ["own/state"]
    assert [watch.topic for watch in switch.availability.watches] == ["plug/1/there", "bridge/state"]
    assert [watch.topic for watch in power.availability.watches] == ["own/there"]
    assert switch.availability.mode == "all"
    assert {switch.owner, power.owner} == {"plug"}


def test_component_that_makes_no_sense_costs_only_itself() -> None:
    found = parsed(
        plug(relay=SWITCH, bad=SWITCH | {"cmd_t": "a/#"}, worse={"name": "x"}, camera={"p": "camera", "x": 1})
    )
    assert set(found.entities) == {"relay"}
    assert "wildcard" in found.faults["bad"]
    assert found.faults["worse"] == "no platform"


def test_what_is_disabled_by_default_is_no_part_of_the_home() -> None:
    assert parsed(plug(a=SWITCH | {"en": False})) == Announcement(TOPIC)
    assert (
        parse_announcement("homeassistant/switch/a/config", b'{"cmd_t": "c", "en": false}', "homeassistant").entities
        == {}
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "no components"),
        ({"cmps": []}, "components is no group"),
        ({"cmps": {str(number): {"p": "switch"} for number in range(MAX_COMPONENTS + 1)}}, "501 components"),
        ({"cmps": {}, "x": "x" * 600_000}, "exceeds the limit"),
    ],
)
def test_device_that_makes_no_sense_is_refused_whole(content: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        parsed(json.dumps(content).encode())


@both_brokers
def test_device_comes_changes_and_goes_as_one(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, _), maker(broker) as client:

            async def says(payload: bytes, topic: str = TOPIC) -> None:
                await client.publish(topic, payload, qos=1, retain=True)

            await says(plug(relay=SWITCH, power=POWER))
            await until(lambda: len(home.entities) == 2)
            await says(b'{"on": "ON", "w": 40}', "plug/1/state")
            await says(b"online", "plug/1/there")
            assert not home.state("switch.plug_s").available
            await says(b'{"state": "online"}', "bridge/state")
            await until(lambda: home.state("switch.plug_s").available and home.state("sensor.plug_p").value == "40")
            assert home.state("switch.plug_s").value == "on"

            await says(plug(relay=SWITCH, power=POWER | {"name": "Consumption"}))
            await until(lambda: home.entities["sensor.plug_p"].name == "Kitchen plug Consumption")
            assert home.state("sensor.plug_p").value == "40"

            await says(plug(relay=SWITCH | {"cmd_t": "#"}, power={"p": "sensor"}))
            await until(lambda: set(home.entities) == {"switch.plug_s"})

            await says(plug(relay=SWITCH, timer=POWER | {"uniq_id": "plug_t"}))
            await until(lambda: set(home.entities) == {"switch.plug_s", "sensor.plug_t"})
            await says(b"")
            await until(lambda: not home.entities)
            assert home.areas() == ()

    asyncio.run(scenario())


@both_brokers
def test_device_moves_from_single_topics_to_one_and_back_without_being_gone(kind: Kind, tmp_path: Path) -> None:
    single = "homeassistant/switch/plug/relay/config"
    alone = json.dumps({"uniq_id": "plug_s", "cmd_t": "plug/1/set", "stat_t": "plug/1/state"}).encode()

    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, _), maker(broker) as client:
            gone: list[str] = []

            def look() -> None:
                if "switch.plug_s" not in home.entities:
                    gone.append("gone")

            async def says(topic: str, payload: bytes) -> None:
                await client.publish(topic, payload, qos=1, retain=True)

            await says(single, alone)
            await until(lambda: "switch.plug_s" in home.entities)
            home.on_change(look)
            await says("plug/1/state", b"ON")
            await until(lambda: home.state("switch.plug_s").value == "on")
            for here, there, payload in ((single, TOPIC, plug(relay=SWITCH)), (TOPIC, single, alone)):
                await says(here, b'{"migrate_discovery": true}')
                await says(there, payload)
                await says(here, b"")
                await says("homeassistant/switch/last/config", json.dumps({"cmd_t": "c", "name": here}).encode())
                await until(lambda name=here: any(each.name == name for each in home.entities.values()))  # type: ignore[misc]
                assert home._devices["switch.plug_s"].discovered.topic == there
                assert home.state("switch.plug_s").value == "on"
            await says(single, b'{"migrate_discovery": true}')
            await says(single, b"")
            await until(lambda: "switch.plug_s" not in home.entities)
            assert gone == ["gone"]

    asyncio.run(scenario())


@both_brokers
def test_second_device_of_an_id_may_come_when_the_first_goes(
    kind: Kind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, _), maker(broker) as client:
            await announce(client, "switch", "one", unique_id="twin", name="First", command_topic="~/set")
            await client.publish(TOPIC, plug(relay=SWITCH | {"uniq_id": "twin", "name": "Second"}), qos=1, retain=True)
            await announce(client, "switch", "last", command_topic="c")
            await until(lambda: "switch.last" in home.entities)
            assert home.entities["switch.twin"].name == "First"
            await client.publish("homeassistant/switch/one/config", b"", qos=1, retain=True)
            await until(lambda: "switch.twin" in home.entities and home.entities["switch.twin"].name != "First")
            assert home.entities["switch.twin"].name == "Kitchen plug Second"
            assert not home._refused

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert len([each for each in caplog.records if "has the unique_id of the one on" in each.getMessage()]) == 1


def test_device_without_end_leaves_the_rest_of_the_home_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "MAX_OF_ONE", 20)

    async def scenario() -> None:
        async with empty_home("mosquitto", tmp_path) as (home, broker, _), maker(broker) as client:
            for number in range(200):
                await announce(client, "switch", f"s{number}", command_topic="c", device={"identifiers": ["mad"]})
            endless = {str(number): {"p": "switch", "cmd_t": "c"} for number in range(10_000)}
            await client.publish(TOPIC, plug(**endless), qos=1, retain=True)
            await announce(client, "switch", "lamp", command_topic="~/set", device={"identifiers": ["good"]})
            await until(lambda: "switch.lamp" in home.entities)
            assert len(home.entities) == 21
            assert (await do(home, "switch.lamp", "turn_on")).result == "confirmed"

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if "'mad' has 20 entities already" in line]) == 1
    assert len([line for line in said if "a device of 10000 components" in line]) == 1


@both_brokers
def test_gateways_tell_of_one_sensor_on_any_of_their_topics_but_never_on_ours(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, bus), maker(broker) as client:
            for name in ("tempc", "hum"):
                template = "{{ value_json." + name + " | is_defined }}"
                await announce(client, "sensor", name, state_topic="+/+/BTtoMQTT/A4C1", value_template=template)
            await until(lambda: len(home.entities) == 2)
            await bus.wait_subscribed()
            for topic, reading in (("home/OMG_one", 20), ("home/OMG_two", 21), ("mycoswarm/x", 99)):
                await client.publish(f"{topic}/BTtoMQTT/A4C1", json.dumps({"tempc": reading}), qos=1)
            await client.publish("home/OMG_two/BTtoMQTT/A4C1", b'{"hum": 45}', qos=1)
            await until(lambda: home.state("sensor.hum").value == "45")
            assert home.state("sensor.tempc").value == "21"

    asyncio.run(scenario())
