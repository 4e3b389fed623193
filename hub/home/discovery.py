"""An entity from the options of a discovery message: its kind, its names, and when it counts as there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

from hub.home.abbreviations import DEVICE_ABBREVIATIONS
from hub.home.air import Climate, Fan, Humidifier, WaterHeater
from hub.home.component import Component
from hub.home.components import BinarySensor, Button, Event, Number, Scene, Select, Sensor, Siren, Switch
from hub.home.covers import Cover, Valve
from hub.home.entity import Category, Entity
from hub.home.guards import AlarmPanel, Lock
from hub.home.lights import light
from hub.home.options import Options
from hub.home.robots import LawnMower, Vacuum
from hub.home.templates import Message, NoValue, Template
from swarm.errors import MalformedMessage

MAX_ID = 255
MAX_NAME = 200
"""Characters of what people are to say."""

EMOJI_JOINER = "\u200d"

COMPONENTS: dict[str, Callable[[Options], Component]] = {
    "alarm_control_panel": AlarmPanel,
    "binary_sensor": BinarySensor,
    "button": Button,
    "climate": Climate,
    "cover": Cover,
    "event": Event,
    "fan": Fan,
    "humidifier": Humidifier,
    "lawn_mower": LawnMower,
    "light": light,
    "lock": Lock,
    "number": Number,
    "scene": Scene,
    "select": Select,
    "sensor": Sensor,
    "siren": Siren,
    "switch": Switch,
    "vacuum": Vacuum,
    "valve": Valve,
    "water_heater": WaterHeater,
}
"""To add a kind of device: its class, one line here."""


@dataclass(frozen=True)
class Watch:
    """One topic on which a device says whether it is there."""

    topic: str
    template: Template | None
    available: str
    not_available: str
    presumed: bool = False
    """Whether it counts as there before anything was heard."""

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
    owner: str = ""
    """Whose part it is: an identifier of the device, empty when it has none."""


def described(topic: str, component: str, options: Options, default_id: str, default_name: str) -> DiscoveredEntity:
    """The entity of a known kind that these options describe; raises `MalformedMessage`. `default_id` stands for a
    missing `unique_id`, `default_name` for missing names."""
    built = COMPONENTS[component](options)
    unique = options.text("unique_id", default_id)
    if not unique or len(unique) > MAX_ID:
        raise MalformedMessage(f"unique_id has {len(unique)} characters, not 1 to {MAX_ID}")
    names = _names(options, default=default_name)
    entity = Entity(
        id=f"{component}.{unique}",
        component=component,
        name=names[0],
        area=_spoken("suggested_area", _device(options).text("suggested_area")),
        aliases=names[1:],
        device_class=options.text("device_class"),
        unit=options.text("unit_of_measurement"),
        features=frozenset(built.features),
        category=cast(Category, options.choice("entity_category", get_args(Category))),
        choices=built.choices,
        limits=built.limits,
    )
    expire_after_s = options.number("expire_after", 0.0, low=0.0)
    return DiscoveredEntity(topic, entity, built, _availability(options), expire_after_s, _owner(options))


def _device(options: Options) -> Options:
    return options.group("device", DEVICE_ABBREVIATIONS)


def _owner(options: Options) -> str:
    device = _device(options)
    named = *device.texts("identifiers"), *(" ".join(each) for each in device.pairs("connections"))
    return next(iter(named), "")


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
