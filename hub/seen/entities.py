"""The entities by which a node, and the swarm, are shown. Pure.

Names of options are those of Home Assistant's MQTT integration (home-assistant.io/integrations/mqtt). All of it is read
from what nodes say anyway: presence, state, health and events (`swarm.bus_rules`), and templates pick from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from hub.answers.seen import entity_name
from swarm.bus_rules import (
    command_topic,
    event_topic,
    health_topic,
    presence_topic,
    state_topic,
    swarm_state_topic,
)
from swarm.certificates import is_node_id
from swarm.node_state import EventType, NodeState, Phase, SatelliteView

IS_THERE = "{{ 'online' if value_json is defined and value_json.document is defined else 'offline' }}"
"""Of an enrolled node's presence (`swarm.presence.Presence`)."""
MEASURED = {"state_class": "measurement"}
DIAGNOSTIC = {"entity_category": "diagnostic"}
CONFIG = {"entity_category": "config"}
PRESS = "PRESS"
SYSTEM = (
    "{% set system = value_json.system %}"
    "{{ {'installed_version': system.version, 'latest_version': system.latest, 'in_progress': system.in_progress,"
    " 'update_percentage': system.percent, 'release_summary': system.summary} | tojson }}"
)
"""The update of an image. There is no command topic: whoever publishes on the broker could restart the house by it.
Home Assistant before 2024.11 reads no progress and leaves it out."""


@dataclass(frozen=True)
class Part:
    """One entity of a device."""

    component: str
    key: str
    """Unique within the device."""
    options: dict[str, Any]


def availability(node: str) -> dict[str, str]:
    """Whether the node is there: by its own word, or by its Last Will."""
    topic = presence_topic(node)
    return {"topic": topic, "value_template": IS_THERE} if is_node_id(node) else {"topic": topic}


def parts_of_node(node: str, state: NodeState, *, swarm_id: str, language: str) -> Iterator[Part]:
    """What is shown of one node; `node` is its level in its topics, `swarm_id` empty for one without a swarm."""
    own, health = {"state_topic": state_topic(node)}, {"state_topic": health_topic(node)}

    def part(component: str, key: str, *options: dict[str, Any], template: str = "", number: int = 1) -> Part:
        merged = {"name": entity_name(key, language, number)}
        for each in options:
            merged |= each
        if template:
            merged["value_template"] = template
        return Part(component, key if number == 1 else f"{key}_{number}", merged)

    def button(key: str, *options: dict[str, Any]) -> Part:
        return part("button", key, {"command_topic": command_topic(node, key), "payload_press": PRESS}, *options)

    if state.satellite is not None:
        yield from _parts_of_satellite(node, state.satellite, part)
        if state.satellite.speaker:
            yield button("identify", {"device_class": "identify"}, DIAGNOSTIC)
    if state.assistant:
        yield part("event", "event", {"state_topic": event_topic(node), "event_types": list(get_args(EventType))})
        latency = {"unit_of_measurement": "ms", "suggested_display_precision": 0}
        yield part("sensor", "latency", own, latency, MEASURED, DIAGNOSTIC, template="{{ value_json.latency_ms }}")
    if state.words:
        yield part("sensor", "transcript", own, template="{{ value_json.transcript }}")
        yield part("sensor", "answer", own, template="{{ value_json.answer }}")
    yield part("sensor", "model", own, DIAGNOSTIC, template="{{ value_json.model }}")
    percent = {"unit_of_measurement": "%", "suggested_display_precision": 0}
    yield part("sensor", "cpu", health, percent, MEASURED, DIAGNOSTIC, template="{{ value_json.cpu }}")
    yield part("sensor", "running", health, MEASURED, DIAGNOSTIC, template="{{ value_json.running | default(0) }}")
    if state.temperature:
        celsius = {"device_class": "temperature", "unit_of_measurement": "°C"}
        template = "{{ value_json.temperature | default(none) }}"
        yield part("sensor", "temperature", health, celsius, MEASURED, DIAGNOSTIC, template=template)
    for gpu in range(state.gpus):
        template = (
            f"{{% set gpu = (value_json.gpus | default([]))[{gpu}] | default({{}}) %}}"
            "{{ gpu.memory_used_mb | default(0) }}"
        )
        size = {"device_class": "data_size", "unit_of_measurement": "MB"}
        yield part("sensor", "gpu_memory", health, size, MEASURED, DIAGNOSTIC, template=template, number=gpu + 1)
    if state.system is not None:
        yield part("update", "update", own, DIAGNOSTIC, template=SYSTEM)
    else:
        newest = (swarm_state_topic(swarm_id), "newest") if swarm_id else (state_topic(node), "version")
        latest = {"latest_version_topic": newest[0], "latest_version_template": f"{{{{ value_json.{newest[1]} }}}}"}
        yield part("update", "update", own, latest, DIAGNOSTIC, template="{{ value_json.version }}")
    yield button("restart", {"device_class": "restart"}, CONFIG)


def _parts_of_satellite(node: str, satellite: SatelliteView, part: Callable[..., Part]) -> Iterator[Part]:
    own = {"state_topic": state_topic(node)}

    def sets(what: str) -> dict[str, Any]:
        return own | {"command_topic": command_topic(node, what)}

    def slider(key: str) -> Part:
        shape = {"min": 0, "max": 100, "step": 1, "unit_of_measurement": "%", "mode": "slider"}
        return part("number", key, sets(key), shape, CONFIG, template=f"{{{{ value_json.satellite.{key} }}}}")

    phases = {"device_class": "enum", "options": list(get_args(Phase))}
    yield part("sensor", "satellite", own, phases, template="{{ value_json.satellite.phase }}")
    if satellite.speaker:
        yield slider("volume")
    if satellite.microphone:
        on_off = {"payload_on": "ON", "payload_off": "OFF"}
        template = "{{ 'ON' if value_json.satellite.muted else 'OFF' }}"
        yield part("switch", "mute", sets("mute"), on_off, template=template)
        words = {"options": list(satellite.wake_words)}
        template = "{{ value_json.satellite.wake_word }}"
        yield part("select", "wake_word", sets("wake_word"), words, CONFIG, template=template)
        yield slider("sensitivity")


def parts_of_swarm(swarm_id: str, *, language: str) -> Iterator[Part]:
    """What is shown of the swarm as a whole (`SwarmState`)."""
    own = {"state_topic": swarm_state_topic(swarm_id)}
    for key in ("nodes", "running", "bus", "home"):
        options = {"name": entity_name(key, language), **own, "value_template": f"{{{{ value_json.{key} }}}}"}
        yield Part("sensor", key, options | (MEASURED if key in ("nodes", "running") else DIAGNOSTIC))
