"""Home Assistant's MQTT discovery: what a device says of itself, parsed and checked whole.

One component a topic, `<prefix>/<component>/[<node_id>/]<object_id>/config`, or a whole device with all its components,
`<prefix>/device/[<node_id>/]<object_id>/config`; retained JSON. An empty message takes all of it back, an entry of a
device with nothing but its platform takes one component back, and `{"migrate_discovery": true}` lets the other form of
topic take over what this one announced (home-assistant.io/integrations/mqtt/#mqtt-discovery).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from hub.home.discovery import COMPONENTS, DiscoveredEntity, described
from hub.home.options import Options
from hub.home.own import is_own
from swarm.errors import MalformedMessage

MAX_PAYLOAD = 64 * 1024
"""Bytes of one component's message; real ones have up to a few thousand."""
MAX_DEVICE_PAYLOAD = 512 * 1024
MAX_COMPONENTS = 500
"""Of one device; real ones have up to a hundred."""
MAX_KEY = 255

DEVICE = "device"
MIGRATION = ("migrate_discovery", "migr_discvry")


@dataclass(frozen=True)
class Announcement:
    """What a message on a discovery topic means: from now on the topic stands for these entities and no others."""

    topic: str
    entities: Mapping[str, DiscoveredEntity] = field(default_factory=dict)
    """By the component's key in the device's message; by an empty text where the topic has one component only. Kinds
    that the hub has no use for (cameras, updates, triggers, …) and what is disabled by default are left out."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with other components of the device, by their keys."""
    gives_up: bool = False
    """Another topic may take over what this one announced before; nothing else changes."""


def parse_announcement(topic: str, payload: bytes, prefix: str) -> Announcement:
    """What a message on a discovery topic means; raises `MalformedMessage` saying what is wrong with all of it."""
    match = re.fullmatch(r"(\w+)/(?:([\w-]+)/)?([\w-]+)/config", topic.removeprefix(f"{prefix}/"), re.ASCII)
    if match is None or not topic.startswith(f"{prefix}/"):
        raise MalformedMessage(f"{topic!r:.200} is no discovery topic")
    component, node_id, object_id = match.groups()
    if not payload.strip() or component not in (*COMPONENTS, DEVICE):
        return Announcement(topic)
    limit = MAX_DEVICE_PAYLOAD if component == DEVICE else MAX_PAYLOAD
    if len(payload) > limit:
        raise MalformedMessage(f"discovery message of {len(payload)} bytes exceeds the limit of {limit}")
    try:
        content = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise MalformedMessage("not a JSON object")
    if is_own(content):
        return Announcement(topic)
    if any(content.get(word) for word in MIGRATION):
        return Announcement(topic, gives_up=True)
    default_id = f"{node_id}_{object_id}" if node_id else object_id
    if component == DEVICE:
        return _device(topic, content, default_id)
    options = Options(content)
    if not options.flag("enabled_by_default", default=True):
        return Announcement(topic)
    return Announcement(topic, {"": described(topic, component, options, default_id, object_id)})


def _device(topic: str, content: Mapping[str, Any], default_id: str) -> Announcement:
    whole = Options(content)
    components = whole.inner("components")
    if components is None:
        raise MalformedMessage("no components")
    if len(components) > MAX_COMPONENTS:
        raise MalformedMessage(f"a device of {len(components)} components, more than {MAX_COMPONENTS}")
    entities: dict[str, DiscoveredEntity] = {}
    faults: dict[str, str] = {}
    for key, inner in components.items():
        try:
            if not isinstance(inner, dict) or len(key) > MAX_KEY:
                raise MalformedMessage("no group of options, or a key too long")
            options = Options(inner)
            platform = options.text("platform")
            if not platform:
                raise MalformedMessage("no platform")
            if len(inner) == 1 or platform not in COMPONENTS or not options.flag("enabled_by_default", default=True):
                continue
            entities[key] = described(topic, platform, options.shared_by(whole), f"{default_id}_{key}", key)
        except MalformedMessage as error:
            faults[key] = str(error)
    return Announcement(topic, entities, faults)
