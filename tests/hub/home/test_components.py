"""Payloads as Home Assistant would send them, and states as it would read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.home.component import Unsupported
from hub.home.device import Device
from hub.home.discovery import DiscoveredEntity, parse_discovery
from hub.home.entity import State, Verb
from hub.home.templates import Message


def device(component: str, **options: Any) -> Device:
    found = parse_discovery(f"homeassistant/{component}/x/config", json.dumps(options).encode(), "homeassistant")
    assert isinstance(found, DiscoveredEntity)
    return Device(found, found.entity, b"")


def sent(one: Device, verb: Verb, value: float | str | None = None) -> list[tuple[str, str]]:
    plan = one.discovered.component.plan(verb, value, one.state)
    return [(each.topic, each.payload) for each in plan.publications]


def after(one: Device, **messages: str) -> State:
    for topic, text in messages.items():
        one.hear(topic, Message(text), 0.0)
    return one.state


def test_a_dimmer_gets_its_own_scale_and_is_switched_on_after() -> None:
    lamp = device("light", command_topic="c", brightness_command_topic="b", brightness_scale=100, payload_on="an")
    assert sent(lamp, "set_brightness", 40) == [("b", "40"), ("c", "an")]
    assert sent(lamp, "set_brightness", 0.2) == [("b", "1"), ("c", "an")]
    assert sent(lamp, "set_brightness", 0) == [("c", "OFF")]
    assert sent(lamp, "set_brightness", 500) == [("b", "100"), ("c", "an")]


def test_on_command_type_decides_the_order() -> None:
    def order(kind: str) -> list[str]:
        lamp = device("light", command_topic="c", brightness_command_topic="b", on_command_type=kind)
        return [topic for topic, _ in sent(lamp, "set_brightness", 50)]

    assert (order("last"), order("first"), order("brightness")) == (["b", "c"], ["c", "b"], ["b"])


@pytest.mark.parametrize(
    ("state", "step", "brightness"),
    [("on", 20, 70), ("on", -70, 1), ("on", 90, 100), ("off", 30, 30)],
)
def test_brightness_changes_by_percent(state: str, step: float, brightness: int) -> None:
    lamp = device("light", command_topic="c", brightness_command_topic="b", brightness_scale=100)
    lamp.state = State(value=state, brightness=50)
    assert sent(lamp, "change_brightness", step)[0] == ("b", str(brightness))


def test_a_lamp_that_is_off_cannot_be_dimmed_further() -> None:
    lamp = device("light", command_topic="c", brightness_command_topic="b")
    lamp.state = State(value="off", brightness=50)
    assert sent(lamp, "change_brightness", -10) == [("c", "OFF")]


def test_colours_in_rgb_hs_and_xy_topics() -> None:
    assert sent(device("light", command_topic="c", rgb_command_topic="r"), "set_color", "red")[0] == ("r", "255,0,0")
    assert sent(device("light", command_topic="c", hs_command_topic="h"), "set_color", "blue")[0] == ("h", "240,100")
    assert sent(device("light", command_topic="c", xy_command_topic="x"), "set_color", "#ff0000")[0][0] == "x"
    tuned = device("light", command_topic="c", rgb_command_topic="r", rgb_command_template="{{ red }}/{{ blue }}")
    assert sent(tuned, "set_color", "red")[0] == ("r", "255/0")


def test_colour_temperature_in_mireds_and_kelvin_within_what_the_lamp_can() -> None:
    mired = device("light", command_topic="c", color_temp_command_topic="t", min_mireds=200, max_mireds=400)
    assert sent(mired, "set_color_temperature", 4000)[0] == ("t", "250")
    assert sent(mired, "set_color_temperature", 9000)[0] == ("t", "200")
    kelvin = device("light", command_topic="c", color_temp_command_topic="t", color_temp_kelvin=True)
    assert sent(kelvin, "set_color_temperature", 4000)[0] == ("t", "4000")


def test_state_topics_of_a_lamp() -> None:
    lamp = device(
        "light",
        command_topic="c",
        state_topic="s",
        brightness_state_topic="b",
        rgb_state_topic="r",
        color_temp_state_topic="t",
        color_mode_state_topic="m",
    )
    state = after(lamp, s="ON", b="128", r="255,165,0", t="250", m="rgb")
    assert (state.value, state.brightness, state.color, state.color_temperature) == ("on", 50, "orange", None)
    assert after(lamp, m="color_temp", t="250").color is None
    assert after(lamp, s="whatever", b="bright", r="1,2", t="nan").value == "on"
    assert after(lamp, s="None").value is None


@pytest.mark.parametrize(
    ("modes", "color"),
    [
        (["rgb"], {"r": 0, "g": 0, "b": 255}),
        (["hs"], {"h": 240.0, "s": 100.0}),
        (["rgbw"], {"r": 0, "g": 0, "b": 255, "w": 0}),
    ],
)
def test_a_json_lamp_gets_one_message(modes: list[str], color: dict[str, float]) -> None:
    lamp = device("light", schema="json", command_topic="c", supported_color_modes=modes)
    (topic, payload), *rest = sent(lamp, "set_color", "blue")
    assert (topic, json.loads(payload), rest) == ("c", {"state": "ON", "color": color}, [])
    assert json.loads(sent(lamp, "set_brightness", 50)[0][1]) == {"state": "ON", "brightness": 128}


def test_a_json_lamp_tells_all_in_one_message() -> None:
    lamp = device(
        "light", schema="json", command_topic="c", state_topic="s", supported_color_modes=["xy", "color_temp"]
    )
    state = after(lamp, s='{"state": "ON", "brightness": 51, "color_mode": "xy", "color": {"x": 0.7006, "y": 0.2993}}')
    assert (state.value, state.brightness, state.color) == ("on", 20, "red")
    state = after(lamp, s='{"color_mode": "color_temp", "color_temp": 250, "color": {"x": 0.38, "y": 0.37}}')
    assert (state.value, state.color, state.color_temperature) == ("on", None, 4000)
    assert after(lamp, s='{"linkquality": 80}') == state


def test_a_cover_that_counts_the_other_way_round() -> None:
    blinds = device(
        "cover", command_topic="c", position_topic="p", set_position_topic="sp", position_open=0, position_closed=255
    )
    assert after(blinds, p="255").position == 0
    assert (after(blinds, p="51").position, blinds.state.value) == (80, "open")
    assert sent(blinds, "set_position", 20) == [("sp", "204")]
    assert sent(blinds, "set_position", 100) == [("c", "OPEN")]


def test_a_cover_without_stop_or_without_buttons() -> None:
    no_stop = device("cover", command_topic="c", payload_stop=None)
    with pytest.raises(Unsupported):
        sent(no_stop, "stop")
    with pytest.raises(Unsupported):
        sent(no_stop, "set_position", 50)
    only_position = device("cover", set_position_topic="sp", set_position_template='{"pos": {{ position }}}')
    assert sent(only_position, "close") == [("sp", '{"pos": 0}')]


def test_a_cover_half_open_is_not_taken_for_open() -> None:
    blinds = device("cover", command_topic="c", state_topic="s", position_topic="p")
    after(blinds, s="open", p="50")
    reached = blinds.discovered.component.plan("open", None, blinds.state).reached
    assert reached is not None
    before = blinds.state
    assert not reached(before, before)
    assert reached(before, after(blinds, s="opening"))
    assert reached(before, after(blinds, s="stopped", p="60"))
    assert not reached(before, after(blinds, s="closing", p="40"))


def test_a_stopped_cover_is_open_unless_it_is_shut() -> None:
    blinds = device("cover", command_topic="c", state_topic="s")
    assert after(blinds, s="closing").value == "closing"
    assert after(blinds, s="stopped").value == "closed"
    after(blinds, s="opening")
    assert after(blinds, s="stopped").value == "open"


def test_a_fan_with_three_speeds() -> None:
    fan = device(
        "fan",
        command_topic="c",
        percentage_command_topic="p",
        percentage_state_topic="ps",
        speed_range_min=1,
        speed_range_max=3,
    )
    assert sent(fan, "set_speed", 50) == [("c", "ON"), ("p", "2")]
    assert after(fan, ps="2").speed == 67
    assert sent(fan, "set_speed", 0) == [("c", "OFF")]
    plan = fan.discovered.component.plan("set_speed", 50, fan.state)
    assert plan.reached is not None
    assert plan.reached(State(), State(value="on", speed=67))


def test_a_thermostat_rounds_to_its_step_and_keeps_its_bounds() -> None:
    thermostat = device("climate", temperature_command_topic="t", temp_step=0.5, min_temp=5, max_temp=30)
    assert sent(thermostat, "set_temperature", 21.3) == [("t", "21.5")]
    assert sent(thermostat, "set_temperature", 21) == [("t", "21")]
    with pytest.raises(Unsupported, match="outside 5 to 30"):
        sent(thermostat, "set_temperature", 31)
    with pytest.raises(Unsupported):
        sent(thermostat, "set_mode", "heat")


def test_a_thermostat_goes_on_in_a_mode_that_it_has() -> None:
    thermostat = device("climate", mode_command_topic="m", mode_state_topic="ms", modes=["off", "cool", "heat"])
    assert sent(thermostat, "turn_on") == [("m", "heat")]
    assert sent(thermostat, "turn_off") == [("m", "off")]
    assert (after(thermostat, ms="cool").mode, thermostat.state.value) == ("cool", "on")
    with pytest.raises(Unsupported, match="off, cool, heat"):
        sent(thermostat, "set_mode", "dry")


def test_a_lock_on_its_way_or_jammed_is_not_locked() -> None:
    lock = device("lock", command_topic="c", state_topic="s")
    plan = lock.discovered.component.plan("lock", None, lock.state)
    assert plan.reached is not None
    for word, done in (("LOCKING", False), ("JAMMED", False), ("LOCKED", True)):
        assert plan.reached(State(), after(lock, s=word)) is done
    with pytest.raises(Unsupported, match="code"):
        sent(device("lock", command_topic="c", code_format="^\\d{4}$"), "unlock")


def test_retain_and_command_templates_are_obeyed() -> None:
    plug = device("switch", command_topic="c", retain=True, command_template='{"power": "{{ value }}"}')
    plan = plug.discovered.component.plan("turn_on", None, plug.state)
    assert [(each.payload, each.retain) for each in plan.publications] == [('{"power": "ON"}', True)]
    with pytest.raises(Unsupported, match="template"):
        sent(device("switch", command_topic="c", command_template="{{ 1 / 0 }}"), "turn_on")


def test_what_a_device_does_not_report_is_no_part_of_the_confirmation() -> None:
    lamp = device("light", command_topic="c", state_topic="s", brightness_command_topic="b")
    plan = lamp.discovered.component.plan("set_brightness", 40, lamp.state)
    assert plan.reached is not None
    assert plan.reached(State(), State(value="on"))
    assert plan.assumed.brightness == 40
