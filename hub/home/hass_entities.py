"""What Home Assistant has, as options of its own MQTT discovery: pure.

A person's Home Assistant tells by its WebSocket API what state an entity is in, with attributes, and obeys services
(developers.home-assistant.io/docs/api/websocket, home-assistant.io/docs/configuration/state_object). Translated into
discovery's options, with the entity's id for topic, a state with its attributes for message and a service with its data
for command, so that there is one way to read and to command whatever the home has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hub.home.component import Publication
from hub.home.hass_words import (
    STATE,
    TEXT,
    HassState,
    Options,
    attribute_of,
    bounds,
    call,
    choice,
    on_off,
    reads,
    setting,
)
from swarm.errors import MalformedMessage

LIGHT = "/light"
"""Behind a light's id: the topic of its state and commands as a light with JSON schema has them."""
UNKNOWN = ("unknown", "unavailable")


class Service(msgspec.Struct, frozen=True):
    """What Home Assistant is to do."""

    domain: str
    service: str
    entity_id: str
    data: dict[str, Any]


def options_of(state: HassState) -> tuple[str, Options] | None:
    """Component and options of an entity; None for kinds that the hub has no use for."""
    make = _KINDS.get(state.domain)
    if make is None:
        return None
    component, options = make(state)
    name = state.attributes.get("friendly_name")
    own = {"name": name if isinstance(name, str) and name else state.entity_id.partition(".")[2].replace("_", " ")}
    there = "{{ 'offline' if value_json.state == 'unavailable' else 'online' }}"
    available = {"availability": [{"topic": state.entity_id, "value_template": there}]}
    about = {"device_class": state.attributes.get("device_class")}
    return component, {**about, **options, **own, **available}


def messages_of(state: HassState) -> list[tuple[str, bytes]]:
    """What an entity tells in this state, by topic."""
    kept = {key: value for key, value in state.attributes.items() if key in _READ}
    told = [(state.entity_id, _json({"state": state.state, "attributes": kept}))]
    if state.domain == "light" and state.state in ("on", "off"):
        told.append((state.entity_id + LIGHT, _json(_light_state(state))))
    return told


def service_of(publication: Publication) -> Service:
    """The service that a command to one of these topics means."""
    entity_id = publication.topic.removesuffix(LIGHT)
    content = json.loads(publication.payload)
    if not isinstance(content, dict):
        raise MalformedMessage(f"no command: {publication.payload:.100}")
    if publication.topic != entity_id:
        content = _light_command(content)
    return Service(entity_id.partition(".")[0], content["service"], entity_id, content.get("data", {}))


# ---- lights

_COLORS = ("hs", "xy", "rgb", "rgbw", "rgbww")


def _light(state: HassState) -> tuple[str, Options]:
    modes = state.attributes.get("supported_color_modes")
    able = [each for each in modes if isinstance(each, str)] if isinstance(modes, list) else []
    ours = ["rgb"] if any(each in _COLORS for each in able) else []
    ours += ["color_temp"] if "color_temp" in able else []
    return "light", {
        "schema": "json",
        "command_topic": state.entity_id + LIGHT,
        "state_topic": state.entity_id + LIGHT,
        "supported_color_modes": ours or ["brightness" if set(able) & {"brightness", "white"} else "onoff"],
        "color_temp_kelvin": True,
        **bounds(state, "min_color_temp_kelvin", "max_color_temp_kelvin", "min_kelvin", "max_kelvin"),
    }


def _light_state(state: HassState) -> dict[str, Any]:
    told: dict[str, Any] = {"state": state.state.upper(), "brightness": state.attributes.get("brightness")}
    mode, rgb = state.attributes.get("color_mode"), state.attributes.get("rgb_color")
    if mode == "color_temp":
        told |= {"color_mode": mode, "color_temp": state.attributes.get("color_temp_kelvin")}
    elif mode in _COLORS and isinstance(rgb, list) and len(rgb) == 3:
        told |= {"color_mode": "rgb", "color": dict(zip("rgb", rgb, strict=True))}
    return told


def _light_command(content: Mapping[str, Any]) -> dict[str, Any]:
    if content.get("state") == "OFF":
        return {"service": "turn_off"}
    data = {"brightness": content.get("brightness"), "color_temp_kelvin": content.get("color_temp")}
    if isinstance(color := content.get("color"), dict):
        data["rgb_color"] = [color["r"], color["g"], color["b"]]
    return {"service": "turn_on", "data": {key: value for key, value in data.items() if value is not None}}


# ---- other kinds


def _switch(state: HassState) -> tuple[str, Options]:
    return "switch", on_off(state)


def _siren(state: HassState) -> tuple[str, Options]:
    options = on_off(state)
    return "siren", {**options, "state_value_template": options["value_template"], "command_template": "{{ value }}"}


def _fan(state: HassState) -> tuple[str, Options]:
    options = on_off(state)
    options["state_value_template"] = options["value_template"]
    if state.has(1):
        options |= setting(state, "percentage", "percentage", "set_percentage", read="value_template")
        options |= {"speed_range_min": 1, "speed_range_max": 100}
    if state.has(2):
        swings = {"oscillating": "{{ 'true' if value == 'oscillate_on' else 'false' }}"}
        turns = "{{ 'oscillate_on' if value_json.attributes.oscillating else 'oscillate_off' }}"
        options |= {
            "oscillation_command_topic": state.entity_id,
            "oscillation_command_template": call("oscillate", **swings),
            "oscillation_state_topic": state.entity_id,
            "oscillation_value_template": turns,
        }
    if state.has(4):
        options |= setting(state, "direction", "direction", "set_direction", text=True, read="value_template")
    if state.has(8):
        options |= choice(state, "preset_mode", "preset_modes", "set_preset_mode", read="value_template")
    return "fan", options


def _cover(state: HassState) -> tuple[str, Options]:
    options: Options = {
        **reads(state),
        "command_topic": state.entity_id,
        "payload_open": call("open_cover") if state.has(1) else None,
        "payload_close": call("close_cover") if state.has(2) else None,
        "payload_stop": call("stop_cover") if state.has(8) else None,
    }
    if "current_position" in state.attributes or state.has(4):
        options |= {"position_topic": state.entity_id, "position_template": attribute_of("current_position")}
    if state.has(4):
        options["set_position_topic"] = state.entity_id
        options["set_position_template"] = call("set_cover_position", position="{{ position }}")
    if state.has(128):
        options |= {
            "tilt_status_topic": state.entity_id,
            "tilt_status_template": attribute_of("current_tilt_position"),
            "tilt_command_topic": state.entity_id,
            "tilt_command_template": call("set_cover_tilt_position", tilt_position="{{ value }}"),
        }
    return "cover", options


def _valve(state: HassState) -> tuple[str, Options]:
    return "valve", {
        **reads(state),
        "command_topic": state.entity_id,
        "payload_open": call("open_valve"),
        "payload_close": call("close_valve"),
        "payload_stop": call("stop_valve") if state.has(8) else None,
    }


def _lock(state: HassState) -> tuple[str, Options]:
    words = {f"state_{word}": word for word in ("locked", "unlocked", "locking", "unlocking", "jammed")}
    return "lock", {
        **reads(state),
        **words,
        "command_topic": state.entity_id,
        "payload_lock": call("lock"),
        "payload_unlock": call("unlock"),
        "code_format": state.attributes.get("code_format"),
    }


def _alarm(state: HassState) -> tuple[str, Options]:
    ways = {1: "arm_home", 2: "arm_away", 4: "arm_night", 32: "arm_vacation"}
    return "alarm_control_panel", {
        **reads(state),
        "command_topic": state.entity_id,
        "supported_features": [way for bit, way in ways.items() if state.has(bit)],
        **{f"payload_{way}": call(f"alarm_{way}") for way in (*ways.values(), "disarm")},
        "code": "REMOTE_CODE" if state.attributes.get("code_format") else None,
        "code_arm_required": state.attributes.get("code_arm_required", True),
    }


def _climate(state: HassState) -> tuple[str, Options]:
    return "climate", {
        **_temperature(state),
        **choice(state, "mode", "hvac_modes", "set_hvac_mode", names="modes", data="hvac_mode"),
        "mode_state_template": STATE,
        **(choice(state, "fan_mode", "fan_modes", "set_fan_mode") if state.has(8) else {}),
        **(choice(state, "preset_mode", "preset_modes", "set_preset_mode") if state.has(16) else {}),
    }


def _water_heater(state: HassState) -> tuple[str, Options]:
    modes = choice(state, "mode", "operation_list", "set_operation_mode", names="modes", data="operation_mode")
    return "water_heater", {**_temperature(state), **(modes if state.has(2) else {}), "mode_state_template": STATE}


def _temperature(state: HassState) -> Options:
    options: Options = {
        "current_temperature_topic": state.entity_id,
        "current_temperature_template": attribute_of("current_temperature"),
        **bounds(state, "min_temp", "max_temp", "min_temp", "max_temp"),
    }
    step = state.attributes.get("target_temp_step")
    options |= {"temp_step": step} if isinstance(step, int | float) else {}
    return {**options, **(setting(state, "temperature", "temperature", "set_temperature") if state.has(1) else {})}


def _humidifier(state: HassState) -> tuple[str, Options]:
    return "humidifier", {
        **on_off(state),
        "state_value_template": STATE,
        **setting(state, "target_humidity", "humidity", "set_humidity"),
        **bounds(state, "min_humidity", "max_humidity", "min_humidity", "max_humidity"),
        "current_humidity_topic": state.entity_id,
        "current_humidity_template": attribute_of("current_humidity"),
        **(choice(state, "mode", "available_modes", "set_mode", names="modes") if state.has(1) else {}),
    }


def _vacuum(state: HassState) -> tuple[str, Options]:
    words = {4: ("pause", "pause"), 8: ("stop", "stop"), 16: ("return_home", "return_to_base"), 512: ("locate",) * 2}
    words[8192] = ("start", "start")
    able = {feature: verb for bit, (feature, verb) in words.items() if state.has(bit)}
    return "vacuum", {
        "command_topic": state.entity_id,
        "state_topic": state.entity_id,
        "supported_features": list(able),
        **{f"payload_{verb}": call(verb) for verb in able.values()},
    }


def _lawn_mower(state: HassState) -> tuple[str, Options]:
    options: Options = {"activity_state_topic": state.entity_id, "activity_value_template": STATE}
    for bit, verb in ((1, "start_mowing"), (2, "pause"), (4, "dock")):
        if state.has(bit):
            options |= {f"{verb}_command_topic": state.entity_id, f"{verb}_command_template": call(verb)}
    return "lawn_mower", options


def _number(state: HassState) -> tuple[str, Options]:
    step = state.attributes.get("step")
    return "number", {
        **reads(state),
        "command_topic": state.entity_id,
        "command_template": call("set_value", value="{{ value }}"),
        **bounds(state, "min", "max", "min", "max"),
        **({"step": step} if isinstance(step, int | float) and step > 0 else {}),
        "unit_of_measurement": state.attributes.get("unit_of_measurement"),
    }


def _select(state: HassState) -> tuple[str, Options]:
    options = {"command_topic": state.entity_id, "command_template": call("select_option", option=TEXT)}
    return "select", {**reads(state), **options, "options": state.attributes.get("options")}


def _sensor(state: HassState) -> tuple[str, Options]:
    return "sensor", {**reads(state), "unit_of_measurement": state.attributes.get("unit_of_measurement")}


def _binary_sensor(state: HassState) -> tuple[str, Options]:
    return "binary_sensor", {**reads(state), "payload_on": "on", "payload_off": "off"}


def _event(state: HassState) -> tuple[str, Options]:
    """The state is when it last happened."""
    what = "{{ {'event_type': value_json.attributes.event_type} | to_json }}"
    types = state.attributes.get("event_types")
    return "event", {"state_topic": state.entity_id, "value_template": what, "event_types": types}


def _scene(state: HassState) -> tuple[str, Options]:
    return "scene", {"command_topic": state.entity_id, "payload_on": call("turn_on")}


def _button(state: HassState) -> tuple[str, Options]:
    return "button", {"command_topic": state.entity_id, "payload_press": call("press")}


_KINDS: dict[str, Callable[[HassState], tuple[str, Options]]] = {
    "alarm_control_panel": _alarm,
    "binary_sensor": _binary_sensor,
    "button": _button,
    "climate": _climate,
    "cover": _cover,
    "event": _event,
    "fan": _fan,
    "humidifier": _humidifier,
    "input_boolean": _switch,
    "input_button": _button,
    "input_number": _number,
    "input_select": _select,
    "lawn_mower": _lawn_mower,
    "light": _light,
    "lock": _lock,
    "number": _number,
    "scene": _scene,
    "script": _scene,
    "select": _select,
    "sensor": _sensor,
    "siren": _siren,
    "switch": _switch,
    "vacuum": _vacuum,
    "valve": _valve,
    "water_heater": _water_heater,
}
_READ = frozenset(
    {
        "current_humidity",
        "current_position",
        "current_temperature",
        "current_tilt_position",
        "direction",
        "event_type",
        "fan_mode",
        "humidity",
        "mode",
        "oscillating",
        "percentage",
        "preset_mode",
        "temperature",
    }
)
"""Attributes that the templates read."""


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode()
