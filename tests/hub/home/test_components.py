"""Payloads as Home Assistant would send them, and states as it would read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.home.announcement import parse_announcement
from hub.home.component import Unsupported
from hub.home.device import Device
from hub.home.entity import State, Verb
from hub.home.templates import Message


def device(component: str, **options: Any) -> Device:
    topic = f"homeassistant/{component}/x/config"
    found = parse_announcement(topic, json.dumps(options).encode(), "homeassistant").entities[""]
    return Device(found, found.entity)


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


def test_lamp_that_is_switched_on_by_its_brightness_comes_on_as_it_was() -> None:
    lamp = device("light", command_topic="c", brightness_command_topic="b", on_command_type="brightness")
    assert sent(lamp, "turn_on") == [("b", "255")]
    lamp.state = State(value="off", brightness=40)
    assert sent(lamp, "toggle") == [("b", "102")]
    assert sent(lamp, "turn_off") == [("c", "OFF")]


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


def test_slats_are_tilted_on_their_own_scale() -> None:
    blinds = device(
        "cover", command_topic="c", tilt_command_topic="t", tilt_status_topic="ts", tilt_min=0, tilt_max=180,
        tilt_opened_value=90,
    )  # fmt: skip
    assert after(blinds, ts="45").tilt == 25
    assert sent(blinds, "set_tilt", 50) == [("t", "90")]
    assert (sent(blinds, "open_tilt"), sent(blinds, "close_tilt")) == ([("t", "90")], [("t", "0")])
    plan = blinds.discovered.component.plan("open_tilt", None, blinds.state)
    assert plan.reached is not None
    assert not plan.reached(blinds.state, blinds.state)
    assert plan.reached(blinds.state, after(blinds, ts="91"))
    with pytest.raises(Unsupported):
        sent(device("cover", command_topic="c"), "set_tilt", 50)


def test_valve_that_is_open_or_closed() -> None:
    valve = device("valve", command_topic="c", state_topic="s", payload_open="auf")
    assert after(valve, s="opening").value == "opening"
    assert after(valve, s='{"state": "closed"}').value == "closed"
    assert sent(valve, "open") == [("c", "auf")]
    for verb in ("stop", "set_position"):
        with pytest.raises(Unsupported):
            sent(valve, verb, 50)


def test_valve_that_tells_its_position_is_moved_by_it() -> None:
    valve = device("valve", command_topic="c", state_topic="s", reports_position=True, position_open=200)
    state = after(valve, s="50")
    assert (state.position, state.value) == (25, "open")
    assert after(valve, s='{"position": 100, "state": "opening"}').value == "opening"
    assert after(valve, s="closing").position == 50
    assert after(valve, s="0").value == "closed"
    assert sent(valve, "set_position", 40) == [("c", "80")]
    assert sent(valve, "open") == [("c", "200")]


def test_fan_swings_turns_and_has_presets() -> None:
    fan = device(
        "fan",
        command_topic="c",
        oscillation_command_topic="o",
        oscillation_state_topic="os",
        payload_oscillation_off="still",
        direction_command_topic="d",
        preset_mode_command_topic="p",
        preset_mode_state_topic="ps",
        preset_modes=["Auto", "Sleep"],
    )
    assert fan.entity.choices_of("set_preset") == ("Auto", "Sleep")
    assert {"oscillation", "direction", "preset"} <= fan.entity.features
    assert after(fan, os="oscillate_on", ps="Auto").oscillation == "on"
    assert sent(fan, "oscillate", "off") == [("o", "still")]
    assert sent(fan, "set_direction", "reverse") == [("d", "reverse")]
    assert sent(fan, "set_preset", "sleep") == [("p", "Sleep")]
    with pytest.raises(Unsupported, match="none of Auto, Sleep"):
        sent(fan, "set_preset", "Turbo")


def test_thermostat_has_presets_a_fan_a_humidity_and_tells_what_it_does() -> None:
    one = device(
        "climate",
        mode_command_topic="m",
        preset_mode_command_topic="p",
        preset_mode_state_topic="ps",
        preset_modes=["eco", "away"],
        fan_mode_command_topic="f",
        fan_mode_state_topic="fs",
        target_humidity_command_topic="h",
        target_humidity_state_topic="hs",
        action_topic="a",
    )
    state = after(one, ps="eco", fs="high", hs="45", a="heating")
    assert (state.preset, state.fan_mode, state.target_humidity, state.action) == ("eco", "high", 45, "heating")
    assert one.entity.choices_of("set_preset") == ("none", "eco", "away")
    assert one.entity.choices_of("set_mode") == ("auto", "off", "cool", "heat", "dry", "fan_only")
    assert sent(one, "set_fan_mode", "LOW") == [("f", "low")]
    assert sent(one, "set_humidity", 50) == [("h", "50")]
    with pytest.raises(Unsupported, match="outside 30 to 99"):
        sent(one, "set_humidity", 10)
    assert after(one, ps="turbo").preset == "eco"


def test_water_heater_has_modes_of_its_own() -> None:
    boiler = device("water_heater", mode_command_topic="m", temperature_command_topic="t")
    assert "heat_pump" in boiler.entity.choices_of("set_mode")
    assert sent(boiler, "set_temperature", 55) == [("t", "55")]


def test_humidifier_has_a_target_and_modes() -> None:
    one = device(
        "humidifier",
        command_topic="c",
        state_topic="s",
        state_value_template="{{ value_json.on }}",
        state_on="True",
        state_off="False",
        target_humidity_command_topic="h",
        target_humidity_state_topic="hs",
        min_humidity=30,
        modes=["auto", "baby"],
        mode_command_topic="m",
    )
    assert after(one, s='{"on": true}', hs="40").value == "on"
    assert sent(one, "set_humidity", 55) == [("h", "55")]
    assert one.entity.limits_of("set_humidity") == (30, 100)
    assert sent(one, "set_mode", "Baby") == [("m", "baby")]
    with pytest.raises(Unsupported):
        sent(one, "set_humidity", 20)


def test_siren_is_told_in_json_unless_it_has_a_template() -> None:
    plain = device("siren", command_topic="c", state_topic="s")
    assert sent(plain, "turn_on") == [("c", '{"state": "ON"}')]
    assert after(plain, s='{"state": "ON", "tone": "bell"}').value == "on"
    assert after(plain, s="OFF").value == "off"
    own = device("siren", command_topic="c", command_template="{{ state }}!", command_off_template="quiet {{ value }}")
    assert (sent(own, "turn_on"), sent(own, "turn_off")) == ([("c", "ON!")], [("c", "quiet OFF")])


def test_number_is_kept_to_its_bounds_and_steps() -> None:
    one = device("number", command_topic="c", state_topic="s", min=-5, max=5, step=0.5, unit_of_measurement="°C")
    assert sent(one, "set_number", 1.3) == [("c", "1.5")]
    assert one.entity.limits_of("set_number") == (-5, 5)
    plan = one.discovered.component.plan("set_number", 1.5, one.state)
    assert plan.reached is not None
    assert not plan.reached(one.state, after(one, s="2.0"))
    assert plan.reached(one.state, after(one, s="1.50"))
    assert after(one, s="nan").value == "1.5"
    with pytest.raises(Unsupported, match="outside -5 to 5"):
        sent(one, "set_number", 6)


def test_select_takes_one_of_its_options() -> None:
    one = device("select", command_topic="c", state_topic="s", options=["Cotton 40°", "Wool"])
    assert sent(one, "select_option", "cotton 40°") == [("c", "Cotton 40°")]
    assert after(one, s="Wool").value == "Wool"
    assert after(one, s="Silk").value == "Wool"
    with pytest.raises(Unsupported):
        sent(one, "select_option", "Silk")


def test_event_counts_what_happens_and_not_what_the_broker_kept() -> None:
    bell = device("event", state_topic="s", event_types=["press", "hold"], device_class="doorbell")
    bell.hear("s", Message('{"event_type": "press"}'), 0.0)
    assert bell.state == State()
    for text in ('{"event_type": "press"}', '{"event_type": "kick"}', "press", '{"event_type": "press", "n": 2}'):
        bell.hear("s", Message(text), 0.0, of_events=True)
    assert (bell.state.value, bell.state.events) == ("press", 2)


def test_alarm_panel_is_armed_in_the_ways_that_it_has() -> None:
    panel = device(
        "alarm_control_panel", command_topic="c", state_topic="s", supported_features=["arm_home", "arm_away"]
    )
    assert panel.entity.choices_of("arm") == ("home", "away")
    assert sent(panel, "arm", "away") == [("c", "ARM_AWAY")]
    assert sent(panel, "disarm") == [("c", "DISARM")]
    plan = panel.discovered.component.plan("arm", "away", panel.state)
    assert plan.reached is not None
    assert plan.reached(panel.state, after(panel, s="arming"))
    assert not plan.reached(panel.state, after(panel, s="armed_home"))
    assert after(panel, s="on fire").value == "armed_home"
    with pytest.raises(Unsupported):
        sent(panel, "arm", "night")


def test_alarm_panel_that_wants_a_code_is_left_to_people() -> None:
    panel = device(
        "alarm_control_panel", command_topic="c", state_topic="s", code="REMOTE_CODE", code_arm_required=False,
        command_template='{"action": "{{ action }}"}',
    )  # fmt: skip
    assert sent(panel, "arm", "home") == [("c", '{"action": "ARM_HOME"}')]
    with pytest.raises(Unsupported, match="code"):
        sent(panel, "disarm")


def test_vacuum_starts_pauses_and_goes_home() -> None:
    robot = device(
        "vacuum",
        command_topic="c",
        state_topic="s",
        supported_features=["start", "pause", "return_home", "locate", "fan_speed"],
        payload_start="go",
        set_fan_speed_topic="f",
        fan_speed_list=["low", "max"],
    )
    assert robot.entity.features == {"start", "pause", "return_to_base", "locate", "fan_mode"}
    assert sent(robot, "start") == [("c", "go")]
    assert sent(robot, "set_fan_mode", "max") == [("f", "max")]
    state = after(robot, s='{"state": "returning", "battery_level": 61, "fan_speed": "low"}')
    assert (state.value, state.fan_mode) == ("returning", "low")
    plan = robot.discovered.component.plan("return_to_base", None, State())
    assert plan.reached is not None
    assert plan.reached(State(), state)
    with pytest.raises(Unsupported):
        sent(robot, "stop")


def test_mower_has_a_topic_for_each_command() -> None:
    mower = device(
        "lawn_mower",
        start_mowing_command_topic="a",
        dock_command_topic="b",
        dock_command_template="go {{ value }}",
        activity_state_topic="s",
    )
    assert (sent(mower, "start"), sent(mower, "return_to_base")) == ([("a", "start_mowing")], [("b", "go dock")])
    assert after(mower, s="mowing").value == "mowing"
    with pytest.raises(Unsupported):
        sent(mower, "pause")


def test_lamp_with_words_of_its_own() -> None:
    lamp = device(
        "light",
        schema="template",
        command_topic="c",
        state_topic="s",
        command_on_template="on{{ ',b' ~ brightness if brightness is defined else '' }}"
        "{{ ',#%02x%02x%02x' | format(red, green, blue) if red is defined }}",
        command_off_template="{{ state }}",
        state_template="{{ value.split(',')[0] }}",
        brightness_template="{{ value.split(',')[1] }}",
        red_template="{{ value[-6:-4] | int(base=16) }}",
        green_template="{{ value[-4:-2] | int(base=16) }}",
        blue_template="{{ value[-2:] | int(base=16) }}",
    )
    assert lamp.entity.features == {"on_off", "brightness", "color"}
    assert (sent(lamp, "turn_on"), sent(lamp, "turn_off")) == ([("c", "on")], [("c", "off")])
    assert sent(lamp, "set_brightness", 50) == [("c", "on,b128")]
    assert sent(lamp, "set_color", "red") == [("c", "on,#ff0000")]
    state = after(lamp, s="on,51,0000ff")
    assert (state.value, state.brightness, state.color) == ("on", 20, "blue")


def test_colours_in_topics_with_whites() -> None:
    lamp = device("light", command_topic="c", rgbw_command_topic="w", rgbw_state_topic="ws")
    assert sent(lamp, "set_color", "red")[0] == ("w", "255,0,0,0")
    assert after(lamp, ws="0,0,255,20").color == "blue"
    other = device("light", command_topic="c", rgbww_command_topic="w")
    assert sent(other, "set_color", "red")[0] == ("w", "255,0,0,0,0")


def test_what_tells_only_that_something_began_counts_as_over_after_its_time() -> None:
    motion = device("binary_sensor", state_topic="s", off_delay=30)
    motion.hear("s", Message("ON"), 100.0)
    assert (motion.state_at(129.0).value, motion.state_at(131.0).value) == ("on", "off")


def test_measurement_that_is_no_number_is_none() -> None:
    one = device("sensor", state_topic="s", unit_of_measurement="°C")
    assert after(one, s="20.5").value == "20.5"
    for text in ("nan", "inf", "hot", "[1]", "unavailable"):
        assert after(one, s=text).value == "20.5"
    assert after(device("sensor", state_topic="s"), s="hot").value == "hot"
