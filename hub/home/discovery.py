"""Home Assistant's MQTT discovery: what a device says of itself, parsed and checked whole.

One component a topic: `<prefix>/<component>/[<node_id>/]<object_id>/config`, retained JSON; an empty message takes the
component back (home-assistant.io/integrations/mqtt/#mqtt-discovery).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from hub.home.component import Component
from hub.home.components import BinarySensor, Button, Climate, Cover, Fan, Lock, Scene, Sensor, Switch
from hub.home.entity import Entity
from hub.home.lights import light
from hub.home.options import DEVICE_ABBREVIATIONS, Options
from hub.home.templates import Message, NoValue, Template
from swarm.errors import MalformedMessage

MAX_PAYLOAD = 64 * 1024
"""Bytes of a discovery message; real ones have up to a few thousand."""
MAX_ID = 255
MAX_NAME = 200
"""Characters of what people are to say."""

EMOJI_JOINER = "\u200d"

COMPONENTS: dict[str, Callable[[Options], Component]] = {
    "binary_sensor": BinarySensor,
    "button": Button,
    "climate": Climate,
    "cover": Cover,
    "fan": Fan,
    "light": light,
    "lock": Lock,
    "scene": Scene,
    "sensor": Sensor,
    "switch": Switch,
}
"""To add a kind of device: its class, one line here."""


@dataclass(frozen=True)
class Watch:
    """One topic on which a device says whether it is there."""

    topic: str
    template: Template | None
    available: str
    not_available: str

    def says(self, message: Message) -> bool:
        """Whether the message says that the device is there; raises `NoValue` when it says neither."""
        text = self.template.read(message) if self.template else message.text.strip()
        if text in (self.available, self.not_available):
            return text == self.available
        raise NoValue(f"{text!r:.80} is neither available nor not")


@dataclass(frozen=True)
class Availability:
    """When a device counts as there: always, when it has no topic to say so."""

    watches: tuple[Watch, ...]
    mode: Literal["latest", "all", "any"]


@dataclass(frozen=True)
class DiscoveredEntity:
    """A device as it described itself."""

    topic: str
    """Of the discovery message."""
    entity: Entity
    component: Component
    availability: Availability
    expire_after_s: float
    """A sensor's reading this old says nothing any more; 0 for never."""


@dataclass(frozen=True)
class Removal:
    """Nothing of this discovery topic is part of the home: it was taken back, or is of a kind that the hub has no use
    for (cameras, updates, triggers, …)."""

    topic: str


def parse_discovery(topic: str, payload: bytes, prefix: str) -> DiscoveredEntity | Removal:
    """What a message on a discovery topic means; raises `MalformedMessage` saying what is wrong with it."""
    match = re.fullmatch(r"(\w+)/(?:([\w-]+)/)?([\w-]+)/config", topic.removeprefix(f"{prefix}/"), re.ASCII)
    if match is None or not topic.startswith(f"{prefix}/"):
        raise MalformedMessage(f"{topic!r:.200} is no discovery topic")
    component, node_id, object_id = match.groups()
    if not payload.strip() or component not in COMPONENTS:
        return Removal(topic)
    if len(payload) > MAX_PAYLOAD:
        raise MalformedMessage(f"discovery message of {len(payload)} bytes exceeds the limit of {MAX_PAYLOAD}")
    try:
        content = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise MalformedMessage("not a JSON object")
    options = Options(content)
    built = COMPONENTS[component](options)
    default_id = f"{node_id}_{object_id}" if node_id else object_id
    unique = options.text("unique_id", default_id)
    if not unique or len(unique) > MAX_ID:
        raise MalformedMessage(f"unique_id has {len(unique)} characters, not 1 to {MAX_ID}")
    names = _names(options, default=object_id)
    entity = Entity(
        id=f"{component}.{unique}",
        component=component,
        name=names[0],
        area=_spoken("suggested_area", _device(options).text("suggested_area")),
        aliases=names[1:],
        device_class=options.text("device_class"),
        unit=options.text("unit_of_measurement"),
        features=frozenset(built.features),
    )
    expire_after_s = options.number("expire_after", 0.0, low=0.0)
    return DiscoveredEntity(topic, entity, built, _availability(options), expire_after_s)


def _device(options: Options) -> Options:
    return options.group("device", DEVICE_ABBREVIATIONS)


def _names(options: Options, *, default: str) -> tuple[str, ...]:
    """What people call it, then other names.

    As in Home Assistant a part of a device is called by both names ("Kitchen plug power"), and a device's main part,
    whose own name is null, by the device's.
    """
    device = _spoken("device name", _device(options).text("name"))
    own = _spoken("name", options.text("name"))
    if not own and device and "name" not in options:
        own = options.text("device_class").replace("_", " ")
    if not device or own.casefold().startswith(device.casefold()):
        return (own or _spoken("object id", default.replace("_", " ")) or default,)
    return (f"{device} {own}", own) if own else (device,)


def _spoken(what: str, text: str) -> str:
    """A name on one line, without what can be neither seen nor said."""
    name = " ".join("".join(each if each.isprintable() or each == EMOJI_JOINER else " " for each in text).split())
    if len(name) > MAX_NAME:
        raise MalformedMessage(f"{what} has {len(name)} characters, more than {MAX_NAME}")
    return name


def _availability(options: Options) -> Availability:
    watches = [
        Watch(topic, each.template("value_template"), *_payloads(each))
        for each in options.groups("availability")
        if (topic := each.topic("topic", of_nodes=True))
    ]
    topic = options.topic("availability_topic", of_nodes=True)
    if topic:
        watches.append(Watch(topic, options.template("availability_template"), *_payloads(options)))
    modes: dict[str, Literal["latest", "all", "any"]] = {"latest": "latest", "all": "all", "any": "any"}
    return Availability(tuple(watches), modes[options.choice("availability_mode", tuple(modes))])


def _payloads(options: Options) -> tuple[str, str]:
    return options.text("payload_available", "online"), options.text("payload_not_available", "offline")
