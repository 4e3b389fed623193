"""A home whose Zigbee2MQTT does not announce its devices for Home Assistant."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.home.discovery import COMPONENTS, described
from hub.home.entity import Command, State, Verb
from hub.home.exposed import Expose
from hub.home.exposes import describe, describe_group
from hub.home.options import Options
from hub.home.registry import Home
from hub.home.zigbee2mqtt import Zigbee2Mqtt
from swarm.broker import Broker
from swarm.config import BusSection
from swarm.errors import MalformedMessage
from tests.buses import announce, background, maker, running_broker, running_bus, until
from tests.hub.home.zigbee_bridge import (
    AIR,
    BLIND,
    COLOR_BULB,
    CONTACT,
    FAN,
    LOCK,
    PLUG,
    THERMOSTAT,
    TWO_LIGHTS,
    WHITE_BULB,
    Bridge,
    device,
    pretended_bridge,
)

ONE, TWO, THREE = (f"0x00158d000182550{number}" for number in range(3))


@contextlib.asynccontextmanager
async def zigbee_home(folder: Path, base: str = "zigbee2mqtt") -> AsyncIterator[tuple[Home, Bridge, Broker]]:
    async with running_broker("mosquitto", folder) as broker, running_bus(broker) as bus:
        home = Home(bus, BusSection(confirm_timeout_s=20.0))
        async with pretended_bridge(broker, base) as bridge, background(Zigbee2Mqtt(home, bus, base).run()):
            yield home, bridge, broker


def named(home: Home) -> dict[str, str]:
    """Kinds by name."""
    return {entity.name: entity.component for entity in home.entities.values()}


def all_there(home: Home) -> bool:
    return bool(home.entities) and all(home.state(each).available for each in home.entities)


async def do(home: Home, entity_id: str, verb: Verb, value: float | str | None = None) -> tuple[str, State]:
    (outcome,) = await home.perform([Command(entity_id, verb, value)])
    return outcome.result, outcome.state


def test_devices_of_each_kind_are_read_and_obey(tmp_path: Path) -> None:
    kinds = {
        "living_room/lamp": COLOR_BULB,
        "ceiling": TWO_LIGHTS,
        "plug": PLUG,
        "blind": BLIND,
        "heating": THERMOSTAT,
        "front door": LOCK,
        "fan": FAN,
        "window": CONTACT,
        "air": AIR,
    }
    addresses = {name: f"0x{number:016x}" for number, name in enumerate(kinds, start=1)}
    deeds: list[tuple[str, str, Verb, float | str | None, dict[str, object]]] = [
        ("light.{}_light", "living_room/lamp", "turn_on", None, {"value": "on"}),
        ("light.{}_light", "living_room/lamp", "set_brightness", 50, {"value": "on", "brightness": 50}),
        ("light.{}_light", "living_room/lamp", "set_color", "red", {"color": "red"}),
        ("light.{}_light", "living_room/lamp", "set_color_temperature", 3000, {"color": None}),
        ("light.{}_light_l2", "ceiling", "set_brightness", 30, {"value": "on", "brightness": 30}),
        ("light.{}_light_l2", "ceiling", "turn_off", None, {"value": "off"}),
        ("switch.{}_switch", "plug", "turn_on", None, {"value": "on"}),
        ("switch.{}_switch_child_lock", "plug", "turn_on", None, {"value": "on"}),
        ("cover.{}_cover", "blind", "set_position", 40, {"position": 40, "value": "open"}),
        ("climate.{}_climate", "heating", "set_temperature", 21.5, {"target_temperature": 21.5}),
        ("climate.{}_climate", "heating", "set_mode", "off", {"mode": "off", "value": "off"}),
        ("lock.{}_lock", "front door", "lock", None, {"value": "locked"}),
        ("fan.{}_fan", "fan", "set_speed", 100, {"value": "on", "speed": 100}),
        ("fan.{}_fan", "fan", "turn_off", None, {"value": "off"}),
        ("number.{}_calibration", "air", "set_number", 1.5, {"value": "1.5"}),
        ("select.{}_sensitivity", "air", "select_option", "high", {"value": "high"}),
    ]

    async def scenario() -> None:
        async with zigbee_home(tmp_path) as (home, bridge, _):
            await bridge.has([device(addresses[name], name, exposes) for name, exposes in kinds.items()])
            states: dict[str, dict[str, object]] = {
                "living_room/lamp": {"state": "OFF", "brightness": 1, "color_mode": "xy"},
                "ceiling": {"state_l1": "OFF", "state_l2": "OFF", "brightness_l2": 254},
                "plug": {"state": "OFF", "power": 12.5, "child_lock": False},
                "blind": {"state": "OPEN", "position": 100},
                "heating": {"local_temperature": 19.5, "occupied_heating_setpoint": 20, "system_mode": "heat"},
                "front door": {"state": "UNLOCK"},
                "fan": {"fan_state": "OFF", "fan_mode": "low"},
                "window": {"contact": False, "battery": 80},
                "air": {"temperature": 21.2, "humidity": 44, "calibration": 0, "sensitivity": "low"},
            }
            for name, state in states.items():
                await bridge.tell(name, **state)
            await until(lambda: all_there(home))
            found = named(home)
            assert {"living room lamp", "ceiling l1", "ceiling l2", "plug", "window contact"} <= set(found)
            assert not any("linkquality" in name or "power on" in name for name in found)
            window = home.entities[f"binary_sensor.{addresses['window']}_contact_zigbee2mqtt"]
            assert window.device_class == "door"
            await until(lambda: home.state(window.id).value == "on")
            warmth = home.entities[f"sensor.{addresses['air']}_temperature_zigbee2mqtt"]
            assert (warmth.device_class, warmth.unit) == ("temperature", "°C")
            await until(lambda: home.state(warmth.id).value == "21.2")
            for pattern, name, verb, value, expected in deeds:
                entity_id = pattern.format(addresses[name]) + "_zigbee2mqtt"
                if name == "living_room/lamp" and verb == "set_color_temperature":
                    await bridge.tell(name, color_mode="color_temp")
                result, state_now = await do(home, entity_id, verb, value)
                assert result == "confirmed", (entity_id, verb, bridge.heard[-3:])
                now = msgspec.structs.asdict(state_now)
                assert {key: now[key] for key in expected} == expected
            assert ("zigbee2mqtt/plug/set/child_lock", "true") in bridge.heard

    asyncio.run(scenario())


def test_group_is_one_entity_of_the_kind_that_its_devices_have_in_common(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with zigbee_home(tmp_path) as (home, bridge, _):
            members = [{"ieee_address": each, "endpoint": 1} for each in (ONE, TWO)]
            mixed = [*members, {"ieee_address": THREE, "endpoint": 1}]
            await bridge.has(
                [device(ONE, "a", COLOR_BULB), device(TWO, "b", WHITE_BULB), device(THREE, "c", CONTACT)],
                [
                    {"id": 1, "friendly_name": "all lamps", "members": members, "scenes": [{"id": 3, "name": "Cosy"}]},
                    {"id": 2, "friendly_name": "mixed", "members": mixed, "scenes": []},
                    {"id": 3, "friendly_name": "empty", "members": [], "scenes": []},
                ],
            )
            await bridge.tell("all lamps", state="OFF", brightness=10)
            lamps = "light.1_light_zigbee2mqtt"
            await until(lambda: lamps in home.entities and home.state(lamps).value == "off")
            assert home.entities[lamps].features >= {"on_off", "brightness", "color", "color_temperature"}
            assert not {"mixed", "empty"} & set(named(home))
            assert (await do(home, lamps, "turn_on"))[0] == "confirmed"
            assert (await do(home, "scene.1_scene_3_zigbee2mqtt", "activate"))[0] == "confirmed"
            await until(lambda: ("zigbee2mqtt/all lamps/set", '{"scene_recall": 3}') in bridge.heard)

    asyncio.run(scenario())


def test_device_that_announces_itself_for_home_assistant_is_there_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with zigbee_home(tmp_path) as (home, bridge, broker), maker(broker) as client:
            options = {"unique_id": f"{ONE}_switch_zigbee2mqtt", "command_topic": "zigbee2mqtt/plug/set"}
            await announce(client, "switch", ONE, **options, name=None, device={"name": "Announced"})
            await bridge.has([device(ONE, "plug", PLUG), device(TWO, "window", CONTACT)])
            await until(lambda: "window contact" in named(home))
            assert sorted(named(home)) == ["Announced", "window battery", "window contact"]

            await client.publish(f"homeassistant/switch/{ONE}/config", b"", qos=1, retain=True)
            await until(lambda: {"plug", "plug power"} <= set(named(home)))
            await announce(client, "switch", ONE, **options, name=None, device={"name": "Announced"})
            await until(lambda: sorted(named(home)) == ["Announced", "window battery", "window contact"])

    asyncio.run(scenario())


def test_renamed_and_removed_devices_are_followed_and_others_keep_their_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with zigbee_home(tmp_path, "upstairs/zigbee") as (home, bridge, _):
            await bridge.has([device(ONE, "old/name", WHITE_BULB), device(TWO, "stays", WHITE_BULB)])
            await bridge.tell("old/name", state="ON")
            await bridge.tell("stays", state="ON")
            lamp, stays = (f"light.{each}_light_upstairs/zigbee" for each in (ONE, TWO))
            await until(lambda: home.state(lamp).value == "on" and home.state(stays).value == "on")
            kept = home._devices[stays]

            await bridge.has([device(ONE, "new name", WHITE_BULB), device(TWO, "stays", WHITE_BULB)])
            await until(lambda: home.entities[lamp].name == "new name")
            assert home.state(lamp).value == "on"
            await bridge.tell("new name", state="OFF")
            await until(lambda: home.state(lamp).value == "off" and home.state(lamp).available)
            assert home._devices[stays] is kept

            await bridge.has([device(TWO, "stays", WHITE_BULB)])
            await until(lambda: set(home.entities) == {stays})
            await bridge.say("bridge/devices", "")
            await until(lambda: not home.entities)

    asyncio.run(scenario())


@pytest.mark.parametrize("as_json", [True, False])
def test_devices_are_unavailable_when_they_or_zigbee2mqtt_say_so(as_json: bool, tmp_path: Path) -> None:
    def says(word: str) -> object:
        return {"state": word} if as_json else word

    async def scenario() -> None:
        async with zigbee_home(tmp_path) as (home, bridge, _):
            lamp = f"light.{ONE}_light_zigbee2mqtt"
            await bridge.say("bridge/state", says("online"))
            await bridge.say("bridge/devices", [device(ONE, "hall/lamp", WHITE_BULB)])
            await until(lambda: lamp in home.entities and home.state(lamp).available)
            await bridge.say("hall/lamp/availability", says("offline"))
            await until(lambda: not home.state(lamp).available)
            assert (await do(home, lamp, "turn_on"))[0] == "unavailable"
            await bridge.say("hall/lamp/availability", says("online"))
            await until(lambda: home.state(lamp).available)
            await bridge.say("bridge/state", says("offline"))
            await until(lambda: not home.state(lamp).available)

    asyncio.run(scenario())


def test_nonsense_in_the_lists_is_named_and_costs_nobody_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad: list[Any] = [
        *({"ieee_address": "1"}, 5, {"ieee_address": TWO, "friendly_name": "x", "definition": {"exposes": [7]}}),
        device(TWO, "a/+/b", PLUG),
        device(THREE, "../mycoswarm", [{"type": "numeric", "name": "x", "property": "}} {{ 1 }}", "access": 1}]),
    ]

    async def scenario() -> None:
        async with zigbee_home(tmp_path) as (home, bridge, _):
            await bridge.say("bridge/devices", "[[[")
            await until(lambda: "bridge/devices is not usable" in caplog.text)
            await bridge.has([*bad, device(ONE, "good", WHITE_BULB)], [{"id": "x"}])
            await until(lambda: set(named(home)) == {"good"})

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    for each in ("devices is not usable", "groups is not usable", "a/+/b"):
        assert each in caplog.text


names = st.sampled_from(["state", "brightness", "color_temp", "color_xy", "position", "mode", "speed", "x y", "action"])
values = st.one_of(st.none(), st.booleans(), st.text(max_size=5), st.integers(-999, 999), st.floats(allow_nan=False))
exposes = st.recursive(
    st.builds(
        Expose,
        type=st.sampled_from(["binary", "numeric", "enum", "text"]),
        name=names,
        property=names | st.text(max_size=8),
        access=st.integers(0, 7),
        value_on=values,
        value_off=values,
        value_min=st.none() | st.floats(),
        value_max=st.none() | st.floats(),
        value_step=st.none() | st.floats(),
        values=st.lists(values, max_size=3).map(tuple),
        endpoint=st.sampled_from([None, "", "left"]),
    ),
    lambda inner: st.builds(
        Expose,
        type=st.sampled_from(["light", "switch", "cover", "lock", "climate", "fan", "composite"]),
        features=st.lists(inner, max_size=5).map(tuple),
        endpoint=st.sampled_from([None, "l1"]),
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(exposes, max_size=4))
def test_whatever_is_exposed_makes_entities_or_a_complaint(found: list[Expose]) -> None:
    for each in (*describe(found, "z/n"), *describe_group([found, found], "z/g")):
        if each.component in COMPONENTS:
            with contextlib.suppress(MalformedMessage):
                described("z/n", each.component, Options(each.options), "id", "name")
