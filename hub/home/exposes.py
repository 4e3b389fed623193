"""What Zigbee2MQTT exposes of a device, as options of Home Assistant's MQTT discovery: pure.

Zigbee2MQTT describes what a device has by `exposes` (zigbee2mqtt.io/guide/usage/exposes.html): all is told in one JSON
message on `<base>/<friendly name>`, and one property is set on `<base>/<friendly name>/set/<property>`. Translated into
the options that Zigbee2MQTT's own discovery would announce, with the same ids, so that there is one way to read and to
command a device however it became known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from hub.home.exposed import (
    SET,
    STATE,
    Described,
    Expose,
    Options,
    bounds,
    most,
    on_off,
    payloads,
    set_topic,
    spoken,
    text_of,
    value_of,
    with_endpoint,
)

GROUP_KINDS = ("light", "switch", "cover", "lock")


def describe(exposes: Sequence[Expose], topic: str) -> Iterator[Described]:
    """The entities of a device that tells its state on `topic`. What nobody would ask for by voice is left out:
    settings of the device's own working, the quality of its radio link."""
    for expose in exposes:
        make = _KINDS.get(expose.type)
        if make is not None:
            yield from make(expose, topic)
        elif _is_of_use(expose):
            yield from _property(expose, topic)


def describe_group(members: Sequence[Sequence[Expose]], topic: str) -> Iterator[Described]:
    """The one entity that a group of devices is, by what each exposes; none when they have no kind in common."""
    for kind in GROUP_KINDS:
        each = [[expose for expose in exposes if expose.type == kind] for exposes in members]
        if each and all(each):
            features = {
                feature.name: msgspec.structs.replace(feature, property=feature.name, endpoint=None)
                for exposes in each
                for expose in exposes
                for feature in expose.features
            }
            yield from _KINDS[kind](Expose(kind, features=tuple(features.values())), topic)
            return


def scene(name: str, number: int, topic: str) -> Described:
    """A scene that a group remembers."""
    options = {"name": name, "command_topic": f"{topic}/set", "payload_on": json.dumps({"scene_recall": number})}
    return Described("scene", f"scene_{number}", options)


# ---- kinds of their own


def _light(expose: Expose, topic: str) -> Iterable[Described]:
    state = expose.feature("state")
    if state is None:
        return ()
    return (_light_of_one(expose, topic),) if not expose.endpoint else (_light_of_several(expose, state, topic),)


def _light_of_one(expose: Expose, topic: str) -> Described:
    brightness, white = expose.feature("brightness"), expose.feature("color_temp")
    modes = [mode for mode, name in (("xy", "color_xy"), ("hs", "color_hs")) if expose.feature(name)][:1]
    modes += ["color_temp"] if white else []
    return Described(
        "light",
        "light",
        {
            "name": None,
            "schema": "json",
            "command_topic": f"{topic}/set",
            "state_topic": topic,
            "brightness_scale": most(brightness, 254),
            "supported_color_modes": modes or ["brightness" if brightness else "onoff"],
            **bounds(white, "min_mireds", "max_mireds"),
        },
    )


def _light_of_several(expose: Expose, state: Expose, topic: str) -> Described:
    """All that such a device has is in one message, by properties of each light: no single light is a JSON light."""
    options: Options = {
        "name": expose.endpoint,
        "command_topic": set_topic(state, topic),
        "state_topic": topic,
        "state_value_template": value_of(state),
        "on_command_type": "brightness",
    }
    brightness, white = expose.feature("brightness"), expose.feature("color_temp")
    for prefix, feature in (("brightness", brightness), ("color_temp", white)):
        if feature is not None:
            options |= {
                f"{prefix}_command_topic": set_topic(feature, topic),
                f"{prefix}_state_topic": topic,
                f"{prefix}_value_template": value_of(feature),
            }
    if brightness is not None:
        options["brightness_scale"] = most(brightness, 254)
    options |= bounds(white, "min_mireds", "max_mireds")
    if (color := expose.feature("color_xy")) is not None:
        found = f"value_json.{color.property}"
        options |= {
            "xy_command_topic": set_topic(color, topic),
            "xy_command_template": '{"x": {{ x }}, "y": {{ y }}}',
            "xy_state_topic": topic,
            "xy_value_template": f"{{{{ {found}.x }}}},{{{{ {found}.y }}}}",
        }
    return Described("light", f"light_{expose.endpoint}", options)


def _switch(expose: Expose, topic: str) -> Iterable[Described]:
    for state in expose.features:
        if state.type == "binary" and expose.feature(state.name) is state:
            name = "switch" if state.name == "state" else state.name
            object_id = f"{name}_{expose.endpoint}" if expose.endpoint else name
            own = state.endpoint or expose.endpoint if state.name == "state" else spoken(state)
            yield Described("switch", object_id, {"name": own or None, **on_off(state, topic)})


def _cover(expose: Expose, topic: str) -> Iterable[Described]:
    state, position, tilt = expose.feature("state"), expose.feature("position"), expose.feature("tilt")
    options: Options = {"name": expose.endpoint or None}
    if state is not None:
        options["command_topic"] = set_topic(state, topic)
        if position is None and state.access & STATE:
            options |= {
                "state_topic": topic,
                "value_template": value_of(state),
                "state_open": "OPEN",
                "state_closed": "CLOSE",
                "state_stopped": "STOP",
            }
    if position is not None:
        options |= {
            "position_topic": topic,
            "position_template": value_of(position),
            "set_position_topic": set_topic(position, topic),
        }
    if tilt is not None:
        options |= {
            "tilt_status_topic": topic,
            "tilt_status_template": value_of(tilt),
            "tilt_command_topic": set_topic(tilt, topic),
        }
    if state is not None or position is not None:
        yield Described("cover", with_endpoint("cover", expose), options)


def _lock(expose: Expose, topic: str) -> Iterable[Described]:
    state = expose.feature("state")
    if state is None:
        return
    locked, unlocked = text_of(state.value_on, "LOCK"), text_of(state.value_off, "UNLOCK")
    options = {
        "name": expose.endpoint or None,
        "command_topic": set_topic(state, topic),
        "state_topic": topic,
        "value_template": value_of(state),
        "payload_lock": locked,
        "payload_unlock": unlocked,
        "state_locked": locked,
        "state_unlocked": unlocked,
    }
    yield Described("lock", with_endpoint("lock", expose), options)


def _climate(expose: Expose, topic: str) -> Iterable[Described]:
    setpoint = expose.feature("occupied_heating_setpoint", "current_heating_setpoint", "occupied_cooling_setpoint")
    mode, measured = expose.feature("system_mode"), expose.feature("local_temperature")
    options: Options = {"name": expose.endpoint or None}
    if setpoint is not None:
        options |= {
            "temperature_command_topic": set_topic(setpoint, topic),
            "temperature_state_topic": topic,
            "temperature_state_template": value_of(setpoint),
            "temp_step": setpoint.value_step or 0.5,
            "temperature_unit": "F" if setpoint.unit == "°F" else "C",
            **bounds(setpoint, "min_temp", "max_temp"),
        }
    if mode is not None and mode.access & SET:
        options |= {
            "mode_command_topic": set_topic(mode, topic),
            "mode_state_topic": topic,
            "mode_state_template": value_of(mode),
            "modes": [str(value) for value in mode.values],
        }
    if measured is not None:
        options |= {"current_temperature_topic": topic, "current_temperature_template": value_of(measured)}
    if setpoint is not None or "mode_command_topic" in options:
        yield Described("climate", with_endpoint("climate", expose), options)


def _fan(expose: Expose, topic: str) -> Iterable[Described]:
    state, mode, speed = expose.feature("state"), expose.feature("mode"), expose.feature("speed")
    options: Options = {"name": expose.endpoint or None}
    if state is not None:
        told = {"state_topic": topic, "state_value_template": value_of(state)}
        options |= {**told, "command_topic": set_topic(state, topic), **payloads(state)}
    elif mode is not None:
        on = f"{{{{ 'OFF' if value_json.{mode.property} == 'off' else 'ON' }}}}"
        options |= {"state_topic": topic, "state_value_template": on, "command_topic": set_topic(mode, topic)}
        options["command_template"] = "{{ value | lower }}"
    if speed is not None:
        options |= {
            "percentage_state_topic": topic,
            "percentage_value_template": value_of(speed),
            "percentage_command_topic": set_topic(speed, topic),
            **bounds(speed, "speed_range_min", "speed_range_max"),
        }
    elif mode is not None and (steps := [each for each in _FAN_STEPS if each in mode.values]):
        number_of = json.dumps({step: number for number, step in enumerate(steps, start=1)})
        step_of = json.dumps(dict(enumerate(steps, start=1)))
        options |= {
            "percentage_state_topic": topic,
            "percentage_value_template": f"{{{{ {number_of}[value_json.{mode.property}] | default('None') }}}}",
            "percentage_command_topic": set_topic(mode, topic),
            "percentage_command_template": f"{{{{ {step_of}[value | string] }}}}",
            "speed_range_min": 1,
            "speed_range_max": len(steps),
        }
    if "command_topic" in options:
        yield Described("fan", with_endpoint("fan", expose), options)


_KINDS = {
    "climate": _climate,
    "cover": _cover,
    "fan": _fan,
    "light": _light,
    "lock": _lock,
    "switch": _switch,
}
_FAN_STEPS = ("low", "medium", "high")

# ---- single properties


def _is_of_use(expose: Expose) -> bool:
    return (
        expose.category != "config"
        and expose.name != "linkquality"
        and re.fullmatch(r"\w{1,100}", expose.property, re.ASCII) is not None
    )


def _property(expose: Expose, topic: str) -> Iterable[Described]:
    options: Options = {"name": spoken(expose), "entity_category": expose.category}
    told, settable = expose.access & STATE, expose.access & SET
    reads = {"state_topic": topic, "value_template": value_of(expose)} if told else {}
    if expose.type == "binary" and settable:
        yield Described("switch", f"switch_{expose.property}", {**options, **on_off(expose, topic)})
    elif expose.type == "binary" and told:
        options |= {**reads, **payloads(expose), "device_class": _BINARY_CLASSES.get(expose.name)}
        yield Described("binary_sensor", expose.property, options)
    elif expose.type == "numeric" and settable:
        options |= {**reads, "command_topic": set_topic(expose, topic), "unit_of_measurement": expose.unit}
        options |= {"step": expose.value_step or 1, **bounds(expose, "min", "max")}
        yield Described("number", expose.property, options)
    elif expose.type == "numeric" and told:
        device_class = _NUMERIC_CLASSES.get(expose.name)
        options |= {**reads, "unit_of_measurement": expose.unit, "device_class": device_class}
        yield Described("sensor", expose.property, options)
    elif expose.type == "enum" and settable:
        options |= {
            **reads,
            "command_topic": set_topic(expose, topic),
            "options": [str(value) for value in expose.values],
        }
        yield Described("select", expose.property, options)
    elif expose.type == "enum" and expose.name == "action" and told:
        event = f"{{{{ {{'event_type': value_json.{expose.property}}} | to_json if value_json.{expose.property} }}}}"
        options |= {**reads, "value_template": event, "event_types": [str(value) for value in expose.values]}
        yield Described("event", expose.property, options)
    elif expose.type == "enum" and told:
        yield Described("sensor", expose.property, options | reads)


_NUMERIC_CLASSES = {
    "battery": "battery",
    "co2": "carbon_dioxide",
    "current": "current",
    "device_temperature": "temperature",
    "energy": "energy",
    "humidity": "humidity",
    "illuminance": "illuminance",
    "illuminance_lux": "illuminance",
    "local_temperature": "temperature",
    "pm10": "pm10",
    "pm25": "pm25",
    "power": "power",
    "pressure": "atmospheric_pressure",
    "soil_moisture": "moisture",
    "temperature": "temperature",
    "voc": "volatile_organic_compounds",
    "voltage": "voltage",
}
_BINARY_CLASSES = {
    "battery_low": "battery",
    "carbon_monoxide": "carbon_monoxide",
    "contact": "door",
    "gas": "gas",
    "moving": "moving",
    "occupancy": "occupancy",
    "presence": "occupancy",
    "rain": "moisture",
    "smoke": "smoke",
    "tamper": "tamper",
    "vibration": "vibration",
    "water_leak": "moisture",
}
"""Device classes of Home Assistant, by the names that Zigbee2MQTT gives properties."""
