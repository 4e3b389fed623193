"""Which discovery messages a broker should hold of our nodes, and how to get there. Pure.

Each node is a device, by its own words; the swarm is one too. Which hub publishes makes no difference to a single byte,
so another one that takes over finds that nothing is to be done. In the form `components` each entity has a topic of its
own, which every version of Home Assistant reads; in the form `device` (2024.12 and later) each device has one. Never
both: a Home Assistant that reads both would be told twice.

Our messages are known by the second level but one, `mycoswarm_…`. What is there of other swarms and machines on the
same broker is theirs.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from hub.home.own import ORIGIN
from hub.seen.entities import Part, availability, parts_of_node, parts_of_swarm
from swarm.certificates import is_node_id
from swarm.node_state import NodeState

Form = Literal["components", "device", "off"]
Message = tuple[str, bytes]
"""Topic and payload."""
OURS = "mycoswarm_"


@dataclass(frozen=True)
class Seen:
    """All that is known of who is to be shown."""

    states: Mapping[str, NodeState]
    """Of each node, by its level in its topics: what it says."""
    members: frozenset[str]
    """All nodes whose devices are ours to keep, also those that said nothing yet on this broker."""
    gone: frozenset[str] = frozenset()
    """Nodes, and machines under names of before, whose devices are ours to remove."""
    swarm_id: str = ""
    """Empty: a machine that belongs to no swarm."""
    hubs: frozenset[str] = frozenset()
    """Members of which each says that the swarm is there."""


def device_id(node: str) -> str:
    """The id of a node's device; of a machine without a swarm it is made of its name."""
    if is_node_id(node):
        return OURS + node
    return f"{OURS}{_slug(node)}_{hashlib.blake2b(node.encode(), digest_size=3).hexdigest()}"


def swarm_device_id(swarm_id: str) -> str:
    """The id of the swarm's device."""
    return f"{OURS}swarm_{swarm_id}"


def device_of_topic(topic: str, prefix: str) -> str | None:
    """Which of our devices a discovery topic is about; None when it is about none of them."""
    levels = topic.removeprefix(f"{prefix}/").split("/")
    if not topic.startswith(f"{prefix}/") or levels[-1] != "config" or len(levels) not in (3, 4):
        return None
    device = levels[1]
    is_device_form = levels[0] == "device" and len(levels) == 3
    return device if device.startswith(OURS) and (len(levels) == 4 or is_device_form) else None


def wanted(seen: Seen, form: Form, *, prefix: str, language: str) -> dict[str, bytes]:
    """Every retained discovery message of ours."""
    if form == "off":
        return {}
    messages: dict[str, bytes] = {}
    hubs = sorted(seen.hubs & seen.members)
    if seen.swarm_id and hubs:
        # The first of all: a device that is told to be reached by way of another finds it there.
        about = _about(swarm_device_id(seen.swarm_id), "mycoswarm", "swarm", "")
        parts = list(parts_of_swarm(seen.swarm_id, language=language))
        messages.update(_messages(about, parts, [availability(hub) for hub in hubs], "", form, prefix))
    for node, state in seen.states.items():
        if node in seen.members:
            about = _about(device_id(node), state.name, "node", state.version)
            if state.area:
                about["suggested_area"] = state.area
            if seen.swarm_id:
                about["via_device"] = swarm_device_id(seen.swarm_id)
            parts = list(parts_of_node(node, state, swarm_id=seen.swarm_id, language=language))
            messages.update(_messages(about, parts, [availability(node)], state.version, form, prefix))
    return messages


def changes(
    held: Mapping[str, bytes], seen: Seen, target: Mapping[str, bytes], form: Form, *, prefix: str
) -> list[Message]:
    """From what the broker holds to `target`: what to publish, retained, in this order; an empty payload removes.
    Removals come first, so that no entity is there twice for a moment.

    Of members that have said nothing here what is there stays, unless nothing is to be shown at all.
    """
    told = frozenset(device_id(node) for node in seen.states)
    ours = {device_id(node) for node in seen.members}
    gone = {device_id(node) for node in seen.gone}
    swarm = swarm_device_id(seen.swarm_id) if seen.swarm_id else None
    removed: list[Message] = []
    for topic in held:
        device = device_of_topic(topic, prefix)
        if topic in target or device is None:
            continue
        stays = device in ours and device not in told and form != "off"
        if (device in ours or device in gone or device == swarm) and not stays:
            removed.append((topic, b""))
    fresh: list[Message] = []
    for topic, payload in target.items():
        before = held.get(topic)
        if before != payload:
            fresh += [(topic, step) for step in _steps(before, payload)]
    return [*removed, *fresh]


def _steps(before: bytes | None, payload: bytes) -> Iterator[bytes]:
    """A component leaves a device when it is named without options once (MQTT discovery, "device discovery")."""
    old, new = _components(before), _components(payload)
    if dropped := {key: {"platform": each["platform"]} for key, each in old.items() if key not in new}:
        whole = msgspec.json.decode(payload)
        yield msgspec.json.encode({**whole, "components": {**new, **dropped}})
    yield payload


def _components(payload: bytes | None) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(payload or b"{}").get("components", {})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: each for key, each in found.items() if isinstance(each, dict) and "platform" in each}


def _messages(
    about: dict[str, Any],
    parts: list[Part],
    available: list[dict[str, str]],
    version: str,
    form: Form,
    prefix: str,
) -> Iterator[Message]:
    device: str = about["identifiers"][0]
    common = {"availability": available, "availability_mode": "any"}
    origin = {"name": ORIGIN, "sw_version": version} if version else {"name": ORIGIN}
    options: dict[str, dict[str, Any]] = {}
    for part in parts:
        object_id = f"{_slug(about['name'])}_{part.key}"
        options[part.key] = {
            "unique_id": f"{device}_{part.key}",
            "object_id": object_id,  # for Home Assistant before 2025.10, the next for it and those after
            "default_entity_id": f"{part.component}.{object_id}",
            **part.options,
        }
    if form == "device":
        components = {part.key: {"platform": part.component, **options[part.key]} for part in parts}
        whole = {"device": about, "origin": origin, **common, "components": components}
        yield f"{prefix}/device/{device}/config", msgspec.json.encode(whole)
        return
    for part in parts:
        single = {**options[part.key], **common, "device": about, "origin": origin}
        yield f"{prefix}/{part.component}/{device}/{part.key}/config", msgspec.json.encode(single)


def _about(device: str, name: str, model: str, version: str) -> dict[str, Any]:
    about: dict[str, Any] = {"identifiers": [device], "name": name, "manufacturer": ORIGIN, "model": model}
    if version:
        about["sw_version"] = version
    return about


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:40] or "node"
