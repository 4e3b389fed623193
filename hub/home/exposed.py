"""What Zigbee2MQTT exposes of a device, and the words in which options of discovery speak of it: pure.

See `hub.home.exposes`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

STATE, SET = 0b001, 0b010
"""Bits of `access`: the property is told, the property can be set."""
MAX_EXPOSES = 200
"""Of one device; real ones have up to 40 or so."""

Options = dict[str, Any]
Value = bool | str | int | float | None
Name = Annotated[str, msgspec.Meta(max_length=200)]


class Expose(msgspec.Struct, frozen=True):
    """One thing that a device has: a property, or what several `features` make together."""

    type: Name
    name: Name = ""
    property: Name = ""
    access: int = 0
    endpoint: Name | None = None
    """Where a device has several of a kind: `left`, `l1`, …"""
    category: Name | None = None
    unit: Name | None = None
    value_on: Value = None
    value_off: Value = None
    value_min: float | None = None
    value_max: float | None = None
    value_step: float | None = None
    values: Annotated[tuple[Value, ...], msgspec.Meta(max_length=MAX_EXPOSES)] = ()
    features: Annotated[tuple[Expose, ...], msgspec.Meta(max_length=MAX_EXPOSES)] = ()

    def feature(self, *names: str) -> Expose | None:
        """The first feature of one of these names whose property a template can read."""
        found = (each for name in names for each in self.features if each.name == name)
        return next((each for each in found if re.fullmatch(r"\w{1,100}", each.property, re.ASCII)), None)


class Described(msgspec.Struct, frozen=True):
    """One entity: what `hub.home.discovery.described` takes."""

    component: str
    object_id: str
    """Of its part of the unique id, as Zigbee2MQTT's own discovery has it."""
    options: Options


def value_of(feature: Expose) -> str:
    """The template that reads a property."""
    return f"{{{{ value_json.{feature.property} }}}}"


def set_topic(feature: Expose, topic: str) -> str:
    """Where a property is set by a plain payload."""
    return f"{topic}/set/{feature.property}"


def on_off(state: Expose, topic: str) -> Options:
    """Options of what is switched by this property."""
    reads = {"state_topic": topic, "value_template": value_of(state)} if state.access & STATE else {}
    return {**reads, "command_topic": set_topic(state, topic), **payloads(state), **commands(state)}


def payloads(state: Expose) -> Options:
    """What stands for on and off."""
    return {"payload_on": text_of(state.value_on, "ON"), "payload_off": text_of(state.value_off, "OFF")}


def commands(state: Expose) -> Options:
    """Templates write a boolean as Python does, and Zigbee2MQTT reads it as JSON does."""
    return {"command_template": "{{ value | lower }}"} if isinstance(state.value_on, bool) else {}


def text_of(value: Value, default: str) -> str:
    """As templates write it."""
    return default if value is None else str(value)


def bounds(feature: Expose | None, low: str, high: str) -> Options:
    """The least and the largest value, as these options, where they are known."""
    if feature is None or feature.value_min is None or feature.value_max is None:
        return {}
    return {low: feature.value_min, high: feature.value_max}


def most(feature: Expose | None, default: float) -> float:
    """The largest value."""
    return default if feature is None or feature.value_max is None else feature.value_max


def with_endpoint(kind: str, expose: Expose) -> str:
    """An object id."""
    return f"{kind}_{expose.endpoint}" if expose.endpoint else kind


def spoken(expose: Expose) -> str:
    """The name of a property."""
    name = expose.name.replace("_", " ")
    return f"{name} {expose.endpoint}" if expose.endpoint else name
