"""The words in which options of discovery speak with Home Assistant: pure. See `hub.home.hass_entities`."""

from __future__ import annotations

import json
from typing import Any

import msgspec

Options = dict[str, Any]


class HassState(msgspec.Struct, frozen=True):
    """One entity's state."""

    entity_id: str
    state: str
    attributes: dict[str, Any] = {}

    @property
    def domain(self) -> str:
        """Its kind: `light`, `input_boolean`, …"""
        return self.entity_id.partition(".")[0]

    def has(self, feature: int) -> bool:
        """Whether it supports what this bit of its domain's features stands for."""
        features = self.attributes.get("supported_features")
        return isinstance(features, int) and bool(features & feature)


STATE = "{{ 'None' if value_json.state in ('unknown', 'unavailable') else value_json.state }}"
"""Template that reads a state."""
TEXT = "{{ value | to_json }}"
"""Template of a text in a service's data."""


def reads(state: HassState) -> Options:
    """Its state."""
    return {"state_topic": state.entity_id, "value_template": STATE}


def on_off(state: HassState) -> Options:
    """Its state, and the services that switch it."""
    words = {"state_on": "on", "state_off": "off", "payload_on": call("turn_on"), "payload_off": call("turn_off")}
    return {**reads(state), **words, "command_topic": state.entity_id}


def setting(
    state: HassState, prefix: str, attribute: str, service: str, *, text: bool = False, read: str = "state_template"
) -> Options:
    """An attribute that a service of one value sets."""
    return {
        f"{prefix}_command_topic": state.entity_id,
        f"{prefix}_command_template": call(service, **{attribute: TEXT if text else "{{ value }}"}),
        f"{prefix}_state_topic": state.entity_id,
        f"{prefix}_{read}": attribute_of(attribute),
    }


def choice(
    state: HassState,
    attribute: str,
    list_name: str,
    service: str,
    *,
    names: str = "",
    data: str = "",
    read: str = "state_template",
) -> Options:
    """As `setting`, one of those that the attribute `list_name` lists."""
    listed = state.attributes.get(list_name)
    words = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    if attribute == "preset_mode":
        words = [each for each in words if each != "none"]
    if not words:
        return {}
    options = setting(state, attribute, attribute, service, text=True, read=read)
    options[f"{attribute}_command_template"] = call(service, **{data or attribute: TEXT})
    return {**options, names or list_name: words}


def call(service: str, **data: str) -> str:
    """The command for a service; `data` are templates of JSON values."""
    if not data:
        return json.dumps({"service": service})
    inner = ", ".join(f'"{key}": {value}' for key, value in data.items())
    return f'{{"service": "{service}", "data": {{{inner} }} }}'


def attribute_of(name: str) -> str:
    """The template that reads an attribute."""
    return f"{{{{ value_json.attributes.{name} }}}}"


def bounds(state: HassState, low: str, high: str, low_option: str, high_option: str) -> Options:
    """Two attributes that are a range, as these options, where they are there."""
    found = state.attributes.get(low), state.attributes.get(high)
    if not all(isinstance(each, int | float) for each in found):
        return {}
    return {low_option: found[0], high_option: found[1]}
