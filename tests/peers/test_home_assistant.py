"""Home Assistant 2024.3.3 and our node on one Mosquitto: each sees what the other does, whatever was restarted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.a_house import House, Part
from tests.whole.running_node import wait_until

pytestmark = pytest.mark.timeout(300)  # Home Assistant takes its time to start
PARTS: tuple[Part, ...] = ("home assistant", "broker", "node")
ON, OFF = "The kitchen lamp is on.", "The kitchen lamp is off."
DEVICES = 16
"""The flat's, and the two that only Home Assistant knows."""
NOT_BY_MQTT = """\
input_boolean:
  porch:
    name: Porch relay
light:
  - platform: template
    lights:
      porch:
        unique_id: porch
        friendly_name: Porch light
        value_template: "{{ is_state('input_boolean.porch', 'on') }}"
        turn_on: {service: input_boolean.turn_on, target: {entity_id: input_boolean.porch}}
        turn_off: {service: input_boolean.turn_off, target: {entity_id: input_boolean.porch}}
"""
"""A light of Home Assistant's that no broker knows, and what it switches."""
SATELLITE = {"microphone": "one that is not there", "speaker": "one that is not there"}


@pytest.fixture(scope="module")
def house(home_assistant_venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """All at once: by MQTT both ways, and by WebSocket."""
    folder, sections = tmp_path_factory.mktemp("house"), {"satellite": SATELLITE}
    with House(home_assistant_venv, folder, sections=sections, more=NOT_BY_MQTT, websocket=True) as house:
        yield house


def assert_both_are_in_control(house: House) -> None:
    """What we are told to do shows in Home Assistant, what it does shows here, and no device is there twice."""
    wait_until(lambda: len(house.node.client().entities()) == DEVICES, lambda: names(house), seconds=60)
    house.sees("light.kitchen_lamp", lambda seen: seen["state"] in ("on", "off"))
    house.sees("lock.front_door", lambda seen: seen["state"] != "unavailable")
    house.sees("sensor.home_satellite", lambda seen: seen["state"] != "unavailable")
    wait_until(lambda: house.node.ask("turn off the kitchen lamp").answer == OFF, seconds=60)
    house.sees("light.kitchen_lamp", "off")
    assert house.node.ask("set the kitchen lamp to forty percent").outcome == "done"
    house.sees("light.kitchen_lamp", lambda seen: seen["attributes"].get("brightness") == 102)
    house.calls("light", "turn_off", entity_id="light.kitchen_lamp")
    wait_until(lambda: house.node.state_of("Kitchen lamp").get("value") == "off", seconds=60)
    lights = [each for each in house.run(house.home_assistant.states()) if each.startswith("light.")]
    assert len(lights) == 5, lights


def names(house: House) -> str:
    return ", ".join(sorted(each["entity"]["name"] for each in house.node.client().entities()))


def test_each_sees_what_the_other_does(house: House) -> None:
    assert_both_are_in_control(house)
    house.calls("cover", "close_cover", entity_id="cover.living_room_blinds")
    wait_until(lambda: house.node.state_of("Living room blinds").get("position") == 0)
    assert house.node.ask("unlock the front door").answer.endswith("?")
    assert house.node.ask("yes").outcome == "done"
    house.sees("lock.front_door", "unlocked")
    house.calls("lock", "lock", entity_id="lock.front_door")
    wait_until(lambda: house.node.ask("is the front door locked").answer == "Yes, the front door is locked.")


def test_a_light_that_no_broker_knows_is_switched_and_seen(house: House) -> None:
    wait_until(lambda: house.node.ask("turn on the porch light").answer == "The porch light is on.", seconds=60)
    house.sees("light.porch", "on")
    house.calls("light", "turn_off", entity_id="light.porch")
    wait_until(lambda: house.node.state_of("Porch light").get("value") == "off")


@pytest.mark.parametrize("part", PARTS)
def test_one_is_cut_off_and_comes_back_beside_the_others(house: House, part: Part) -> None:
    house.cut(part)
    if part == "node":
        house.sees("sensor.home_satellite", "unavailable")
    house.bring_back(part)
    assert_both_are_in_control(house)


@pytest.mark.parametrize("order", list(itertools.permutations(PARTS)), ids=" ".join)
def test_after_a_power_cut_they_come_back_in_any_order(house: House, order: tuple[Part, ...]) -> None:
    for part in PARTS:
        house.cut(part)
    for part in order:
        house.bring_back(part)
    assert_both_are_in_control(house)
