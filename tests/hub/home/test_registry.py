from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.home import registry
from hub.home.entity import Command, Outcome
from hub.home.registry import Home
from hub.home.virtual_devices import Switch
from hub.home.virtual_flat import VirtualFlat
from swarm.broker import Broker
from swarm.bus import Bus
from swarm.config import BusSection
from tests.buses import Kind, announce, background, both_brokers, kill, maker, running_broker, running_bus, until

LAMP = "light.flat_kitchen_lamp"
PATIENT = BusSection(confirm_timeout_s=20.0)


@contextlib.asynccontextmanager
async def home_with_flat(
    kind: Kind, folder: Path, *, silent: frozenset[str] = frozenset()
) -> AsyncIterator[tuple[Home, Broker, asyncio.Task[None]]]:
    async with running_broker(kind, folder) as broker:
        bus, flat = Bus(broker.address, "test"), VirtualFlat(broker.address, silent=silent)
        home = Home(bus, PATIENT)
        async with background(bus.run(), flat.run()) as (_, flat_task):
            await flat.ready.wait()
            await until(lambda: len(home.entities) == len(flat.devices) and all_there(home))
            yield home, broker, flat_task


@contextlib.asynccontextmanager
async def empty_home(kind: Kind, folder: Path) -> AsyncIterator[tuple[Home, Broker, Bus]]:
    async with running_broker(kind, folder) as broker, running_bus(broker) as bus:
        home = Home(bus, PATIENT)
        await bus.wait_subscribed()
        yield home, broker, bus


def all_there(home: Home) -> bool:
    return all(home.state(each).available for each in home.entities)


async def do(home: Home, entity_id: str, verb: str, value: object = None, timeout_s: float | None = None) -> Outcome:
    (outcome,) = await home.perform([Command(entity_id, verb, value)], timeout_s)  # type: ignore[arg-type]
    return outcome


@both_brokers
def test_the_flat_is_discovered_with_rooms_names_and_states(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home_with_flat(kind, tmp_path) as (home, _, _):
            assert home.areas() == ("Bedroom", "Hallway", "Kitchen", "Living room")
            names = {entity.name for entity in home.entities.values()}
            assert {"Kitchen lamp", "Living room blinds", "Coffee machine", "Front door", "Movie night"} <= names
            await until(lambda: home.state("sensor.flat_living_room_temperature").value == "20.5")
            assert home.entities["sensor.flat_living_room_temperature"].unit == "°C"
            await until(lambda: home.state("climate.flat_living_room_thermostat").target_temperature == 21.0)
            assert home.state("climate.flat_living_room_thermostat").current_temperature == 20.5
            await until(lambda: home.state("cover.flat_living_room_blinds").position == 100)

    asyncio.run(scenario())


@both_brokers
def test_commands_are_confirmed_by_the_devices_own_state(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home_with_flat(kind, tmp_path) as (home, _, _):
            cases: list[tuple[str, str, object, dict[str, object]]] = [
                (LAMP, "turn_on", None, {"value": "on"}),
                (LAMP, "set_brightness", 40, {"value": "on", "brightness": 40}),
                (LAMP, "change_brightness", -15, {"value": "on", "brightness": 25}),
                (LAMP, "toggle", None, {"value": "off"}),
                ("light.flat_living_room_lamp", "set_color", "turquoise", {"value": "on", "color": "turquoise"}),
                ("light.flat_living_room_lamp", "set_brightness", 0, {"value": "off"}),
                ("light.flat_bedroom_lamp", "set_color_temperature", 4000, {"value": "on", "color_temperature": 4000}),
                ("light.flat_bedroom_lamp", "set_brightness", 33, {"brightness": 33}),
                ("switch.flat_coffee_machine", "turn_on", None, {"value": "on"}),
                ("climate.flat_living_room_thermostat", "set_temperature", 22.5, {"target_temperature": 22.5}),
                ("climate.flat_living_room_thermostat", "turn_off", None, {"value": "off", "mode": "off"}),
                ("climate.flat_living_room_thermostat", "set_mode", "heat", {"value": "on", "mode": "heat"}),
                ("lock.flat_front_door_lock", "unlock", None, {"value": "unlocked"}),
                ("fan.flat_bedroom_fan", "set_speed", 75, {"value": "on", "speed": 75}),
                ("fan.flat_bedroom_fan", "set_speed", 0, {"value": "off"}),
            ]
            for entity_id, verb, value, expected in cases:
                outcome = await do(home, entity_id, verb, value)
                assert outcome.result == "confirmed", outcome
                assert {name: getattr(outcome.state, name) for name in expected} == expected, outcome

    asyncio.run(scenario())


@both_brokers
def test_many_commands_at_once_have_their_outcomes_in_order(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home_with_flat(kind, tmp_path) as (home, _, _):
            commands = [
                Command("light.flat_hallway_light", "turn_on"),
                Command("sensor.flat_bedroom_temperature", "turn_on"),
                Command(LAMP, "set_color", "red"),
                Command("light.not_there", "turn_on"),
                Command("climate.flat_living_room_thermostat", "set_temperature", 50),
                Command("light.flat_living_room_lamp", "set_color", "black"),
                Command(LAMP, "set_brightness", "bright"),
                Command("switch.flat_coffee_machine", "turn_on"),
            ]
            outcomes = await home.perform(commands)
            assert [outcome.command for outcome in outcomes] == commands
            assert [outcome.result for outcome in outcomes] == [
                *("confirmed", "unsupported", "unsupported", "unavailable"),
                *("unsupported", "unsupported", "unsupported", "confirmed"),
            ]

    asyncio.run(scenario())


@both_brokers
def test_a_scene_is_confirmed_when_sent_and_its_lamps_follow(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home_with_flat(kind, tmp_path) as (home, _, _):
            assert (await do(home, "scene.flat_movie_night", "activate")).result == "confirmed"
            await until(lambda: home.state("light.flat_living_room_lamp").color == "orange")
            await until(lambda: home.state("cover.flat_living_room_blinds").value == "closed")

    asyncio.run(scenario())


@both_brokers
def test_blinds_confirm_by_moving_the_right_way_and_stop(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home_with_flat(kind, tmp_path) as (home, _, _):
            blinds = "cover.flat_living_room_blinds"
            outcome = await do(home, blinds, "close")
            assert outcome.result == "confirmed"
            assert outcome.state.value in ("closing", "closed")
            assert (await do(home, blinds, "stop")).result == "confirmed"
            outcome = await do(home, blinds, "set_position", 30)
            assert outcome.result == "confirmed"
            await until(lambda: home.state(blinds).position == 30 and home.state(blinds).value == "open")
            assert (await do(home, blinds, "open")).result == "confirmed"

    asyncio.run(scenario())


@both_brokers
def test_a_device_that_never_confirms_is_not_claimed_to_have_obeyed(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        silent = frozenset({"kitchen_lamp", "living_room_blinds"})
        async with home_with_flat(kind, tmp_path, silent=silent) as (home, _, _):
            outcome = await do(home, LAMP, "turn_on", timeout_s=0.2)
            assert (outcome.result, outcome.state.value) == ("unconfirmed", "off")
            outcome = await do(home, "cover.flat_living_room_blinds", "set_position", 50, timeout_s=0.2)
            assert outcome.result == "unconfirmed"

    asyncio.run(scenario())


@both_brokers
def test_a_device_that_answers_otherwise_has_not_obeyed(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, _), maker(broker) as client:
            await announce(client, "switch", "s", command_topic="~/set", state_topic="~/state")
            await client.publish("dev/s/state", "OFF", qos=1, retain=True)
            await until(lambda: home.state("switch.s").value == "off")
            performing = asyncio.create_task(do(home, "switch.s", "turn_on", timeout_s=0.5))
            device = home._devices["switch.s"]
            await until(lambda: device.waits)
            await client.publish("dev/s/state", "OFF", qos=1, retain=True)
            assert (await performing).result == "unconfirmed"

    asyncio.run(scenario())


@both_brokers
def test_an_outcome_tells_the_state_that_was_confirmed_not_what_others_made_of_it_since(
    kind: Kind, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, _), maker(broker) as client:
            for name in ("quick", "slow"):
                await announce(client, "switch", name, command_topic="~/set", state_topic="~/state")
                await client.publish(f"dev/{name}/state", "OFF", qos=1, retain=True)
                await until(lambda name=name: home.state(f"switch.{name}").value == "off")  # type: ignore[misc]
            commands = [Command(f"switch.{name}", "turn_on") for name in ("quick", "slow")]
            performing = asyncio.create_task(home.perform(commands))
            quick, slow = (home._devices[each.entity_id] for each in commands)
            await until(lambda: quick.waits and slow.waits)
            await client.publish("dev/quick/state", "ON", qos=1, retain=True)
            await until(lambda: not quick.waits)
            await client.publish("dev/quick/state", "OFF", qos=1, retain=True)
            await until(lambda: quick.state.value == "off")
            await client.publish("dev/slow/state", "ON", qos=1, retain=True)
            assert [(each.result, each.state.value) for each in await performing] == [("confirmed", "on")] * 2

    asyncio.run(scenario())


@both_brokers
def test_a_silent_device_that_already_is_as_wanted_counts_as_confirmed(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home_with_flat(kind, tmp_path, silent=frozenset({"kitchen_lamp"})) as (home, _, _):
            assert (await do(home, LAMP, "turn_off")).result == "confirmed"

    asyncio.run(scenario())


@both_brokers
def test_a_device_without_state_is_taken_at_its_word(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, _), maker(broker) as client:
            await announce(client, "switch", "blind", command_topic="~/set")
            await announce(client, "button", "bell", command_topic="~/press")
            await until(lambda: len(home.entities) == 2)
            outcome = await do(home, "switch.blind", "turn_on")
            assert (outcome.result, outcome.state.value) == ("confirmed", "on")
            assert (await do(home, "button.bell", "press")).result == "confirmed"

    asyncio.run(scenario())


@both_brokers
def test_a_device_that_goes_offline_is_unavailable_and_gets_no_command(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home_with_flat(kind, tmp_path) as (home, broker, flat_task), running_bus(broker, "ear") as ear:
            heard: list[str] = []
            ear.subscribe("flat/+/set", lambda topic, _: heard.append(topic))
            await ear.wait_subscribed()
            flat_task.cancel()
            await until(lambda: not any(home.state(each).available for each in home.entities))
            assert (await do(home, LAMP, "turn_on")).result == "unavailable"
            assert len(home.entities) == 14
            assert heard == []

    asyncio.run(scenario())


@both_brokers
def test_the_home_survives_the_broker(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home_with_flat(kind, tmp_path) as (home, broker, _):
            await do(home, LAMP, "set_brightness", 40)
            version = home.version
            await kill(broker)
            await until(lambda: not home.state(LAMP).available)
            assert home.state(LAMP).brightness == 40
            assert (await do(home, LAMP, "turn_off")).result == "bus_down"
            await until(lambda: all_there(home))
            # The lamp may be back later than the hub: its word "online" is from before.
            await until(lambda: broker._process is not None)
            for _ in range(20):
                if (await do(home, LAMP, "turn_off", timeout_s=1.0)).result == "confirmed":
                    break
            assert home.state(LAMP).value == "off"
            assert home.version == version

    asyncio.run(scenario())


def test_a_command_under_way_ends_when_the_broker_dies(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with home_with_flat("mosquitto", tmp_path, silent=frozenset({"kitchen_lamp"})) as (home, broker, _):
            performing = asyncio.create_task(do(home, LAMP, "turn_on"))
            device = home._devices[LAMP]
            await until(lambda: device.waits)
            await kill(broker)
            assert (await performing).result == "bus_down"

    asyncio.run(scenario())


@both_brokers
def test_devices_come_are_renamed_move_and_go(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, _), maker(broker) as client:
            lamp = {"command_topic": "~/set", "state_topic": "~/state"}
            version = home.version
            waiting = asyncio.create_task(home.changed(version, debounce_s=0.01))
            await announce(client, "light", "l1", name="Flur/Lampe 💡", device={"suggested_area": "Hall"}, **lamp)
            assert await waiting == home.version != version
            assert home.entities["light.l1"].name == "Flur/Lampe 💡"
            assert home.areas() == ("Hall",)
            await client.publish("dev/l1/state", "ON", qos=1)
            await until(lambda: home.state("light.l1").value == "on")

            before, version = home.entities, home.version
            await announce(client, "light", "l1", name="Desk lamp", device={"suggested_area": "Study"}, **lamp)
            await until(lambda: home.version != version)
            assert (home.entities["light.l1"].name, home.areas()) == ("Desk lamp", ("Study",))
            assert home.state("light.l1").value == "on"
            assert before["light.l1"].name == "Flur/Lampe 💡"

            await client.publish("homeassistant/light/l1/config", b"", qos=1, retain=True)
            await until(lambda: not home.entities)
            assert home.areas() == ()
            assert not home.state("light.l1").available

    asyncio.run(scenario())


@both_brokers
def test_a_device_that_moved_to_other_topics_is_heard_and_told_there(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, bus), maker(broker) as client:
            await announce(client, "switch", "s", command_topic="old/set", state_topic="old/state")
            await client.publish("old/state", "ON", qos=1, retain=True)
            await until(lambda: home.state("switch.s").value == "on")
            await client.publish("new/state", "OFF", qos=1, retain=True)
            await announce(client, "switch", "s", command_topic="new/set", state_topic="new/state")
            await until(lambda: home.state("switch.s").value == "off")
            assert "old/state" not in bus._callbacks
            told: list[str] = []
            bus.subscribe("+/set", lambda topic, _: told.append(topic))
            await bus.wait_subscribed()
            await do(home, "switch.s", "turn_on", timeout_s=0.1)
            await until(lambda: told == ["new/set"])

    asyncio.run(scenario())


@both_brokers
def test_a_repeated_announcement_changes_nothing(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, _), maker(broker) as client:
            for _ in range(3):
                await announce(client, "switch", "s", command_topic="c")
            await announce(client, "switch", "last", command_topic="c")
            await until(lambda: "switch.last" in home.entities)
            assert home.version == 2

    asyncio.run(scenario())


@both_brokers
def test_bad_announcements_are_named_once_and_harm_nobody(
    kind: Kind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, bus), maker(broker) as client:
            await announce(client, "light", "good", command_topic="~/set")
            for _ in range(3):
                await client.publish("homeassistant/light/a/config", b"{oops", qos=1, retain=True)
                await client.publish("homeassistant/light/b/config", b'{"name": "no command"}', qos=1, retain=True)
            await client.publish("homeassistant/light/c/config", b'"' + b"x" * 1_000_000 + b'"', qos=0)
            await client.publish("homeassistant/light/good/config", b"{oops", qos=1)
            await client.publish("homeassistant/light/d/config", b'{"command_topic": "mycoswarm/x"}', qos=1)
            await client.publish(
                "homeassistant/light/twin/config", b'{"command_topic": "x", "unique_id": "good"}', qos=1
            )
            await announce(client, "light", "later", command_topic="~/set")
            await until(lambda: "light.later" in home.entities)
            assert set(home.entities) == {"light.good", "light.later"}
            assert bus.connected

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    said = [record.getMessage() for record in caplog.records if "homeassistant/light/" in record.getMessage()]
    for topic, reason in (
        ("light/a/", "not JSON"),
        ("light/b/", "no command_topic"),
        ("light/c/", "1000002 bytes"),
        ("light/good/", "not JSON"),
        ("light/d/", "not a device's"),
        ("light/twin/", "unique_id"),
    ):
        assert len([line for line in said if f"homeassistant/{topic}" in line and reason in line]) == 1, (topic, said)


@both_brokers
def test_state_messages_that_make_no_sense_leave_the_state_as_it_was(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, bus), maker(broker) as client:
            await announce(
                client, "light", "l", schema="json", command_topic="~/set", state_topic="~/s", brightness=True
            )
            await until(lambda: "light.l" in home.entities)
            await bus.wait_subscribed()
            for payload in (
                b'{"state": "ON", "brightness": 51}',
                b"\xff\xfe",
                b"[" * 70_000,
                b"[",
                b"null",
                b'{"brightness": {}}',
            ):
                await client.publish("dev/l/s", payload, qos=1)
            await client.publish("dev/l/s", b'{"state": "OFF"}', qos=1)
            await until(lambda: home.state("light.l").value == "off")
            assert home.state("light.l").brightness == 20

    asyncio.run(scenario())


@both_brokers
def test_one_topic_serves_many_devices_and_outlives_each(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with empty_home(kind, tmp_path) as (home, broker, bus), maker(broker) as client:
            for unit in ("temperature", "humidity"):
                template = "{{ value_json." + unit + " }}"
                await announce(client, "sensor", unit, state_topic="climate/all", value_template=template)
            await until(lambda: len(home.entities) == 2)
            await client.publish("climate/all", json.dumps({"temperature": 20.5, "humidity": 45}), qos=1, retain=True)
            await until(lambda: home.state("sensor.temperature").value == "20.5")
            await until(lambda: home.state("sensor.humidity").value == "45")
            await client.publish("homeassistant/sensor/humidity/config", b"", qos=1, retain=True)
            await until(lambda: len(home.entities) == 1)
            await client.publish("climate/all", json.dumps({"temperature": 21}), qos=1, retain=True)
            await until(lambda: home.state("sensor.temperature").value == "21")
            await announce(
                client, "sensor", "late", state_topic="climate/all", value_template="{{ value_json.temperature }}"
            )
            await until(lambda: home.state("sensor.late").value == "21")
            assert len(bus._callbacks["climate/all"]) == 1
            for each in ("temperature", "late"):
                await client.publish(f"homeassistant/sensor/{each}/config", b"", qos=1, retain=True)
            await until(lambda: not home.entities)
            assert "climate/all" not in bus._callbacks

    asyncio.run(scenario())


@both_brokers
def test_two_thousand_devices_are_taken_in_and_can_be_used(kind: Kind, tmp_path: Path) -> None:
    count = 2000

    async def scenario() -> None:
        async with running_broker(kind, tmp_path) as broker, maker(broker) as client:
            for number in range(count):
                options = {"name": f"Lamp {number}", "command_topic": "~/set", "state_topic": "all/state"}
                await announce(
                    client, "switch", f"s{number}", **options, device={"suggested_area": f"Room {number % 20}"}
                )
            await client.publish("all/state", "ON", qos=1, retain=True)
            async with running_bus(broker) as bus:
                home = Home(bus, PATIENT)
                await home.settled(timeout_s=60)
                await until(lambda: len(home.entities) == count, seconds=60)
                assert len(home.areas()) == 20
                await until(lambda: all(home.state(each).value == "on" for each in home.entities), seconds=60)
                assert (await do(home, "switch.s1999", "turn_on")).result == "confirmed"

    asyncio.run(scenario())


def test_entities_beyond_the_bound_are_refused_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "MAX_ENTITIES", 3)

    async def scenario() -> None:
        async with empty_home("mosquitto", tmp_path) as (home, broker, _), maker(broker) as client:
            for number in range(6):
                await announce(client, "switch", f"s{number}", command_topic="c")
            await announce(client, "switch", "s0", command_topic="c", name="Still known")
            await until(lambda: any(entity.name == "Still known" for entity in home.entities.values()))
            assert set(home.entities) == {"switch.s0", "switch.s1", "switch.s2"}
            await client.publish("homeassistant/switch/s1/config", b"", qos=1, retain=True)
            await announce(client, "switch", "s9", command_topic="c")
            await until(lambda: "switch.s9" in home.entities)

    asyncio.run(scenario())
    assert len([record for record in caplog.records if "entities already" in record.getMessage()]) == 1


def test_a_flat_can_be_told_to_end_at_any_moment(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_broker("mosquitto", tmp_path) as broker, running_bus(broker) as bus:
            await bus.wait_subscribed()
            for rounds in range(30):
                flat = VirtualFlat(broker.address, devices=(Switch("s", "Switch", "Hall"),))
                task = asyncio.create_task(flat.run())
                await flat.ready.wait()
                for _ in range(5):
                    await bus.publish("flat/s/set", "ON", qos=0)
                for _ in range(rounds):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait_for(asyncio.wait([task]), 20)
                assert task.cancelled()

    asyncio.run(scenario())
