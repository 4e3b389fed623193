"""What the hub knows of a device: what it is, how it is, what can be asked of it and what came of asking."""

from __future__ import annotations

from typing import Literal

import msgspec

Feature = Literal[
    "on_off",
    "brightness",
    "color",
    "color_temperature",
    "open_close",
    "position",
    "tilt",
    "speed",
    "target_temperature",
    "mode",
    "lock",
    "activate",
    "press",
]


class Entity(msgspec.Struct, frozen=True):
    """One controllable or readable thing of a device, as its discovery message described it."""

    id: str
    """Unique and stable: `<component>.<unique_id, or the discovery topic's object id>`."""
    component: str
    """Home Assistant's word: `light`, `switch`, `cover`, `fan`, `climate`, `lock`, `sensor`, `scene`, …"""
    name: str
    """What people call it, such as `Kitchen lamp`."""
    area: str = ""
    """The room it is in, such as `Living room`; empty when unknown."""
    aliases: tuple[str, ...] = ()
    device_class: str = ""
    """Home Assistant's device class, such as `temperature` or `blind`."""
    unit: str = ""
    """Unit of a sensor's value, such as `°C` or `%`."""
    features: frozenset[Feature] = frozenset()


class State(msgspec.Struct, frozen=True):
    """How an entity is now, in units people use. None: the device never said, or it has no such thing."""

    available: bool = True
    value: str | None = None
    """`on`/`off`, `open`/`closed`/`opening`/`closing`, `locked`/`unlocked`, or a sensor's reading as text."""
    brightness: int | None = None
    """Percent, 0 to 100."""
    color: str | None = None
    """A colour name of Home Assistant's list when one fits, else `#rrggbb`."""
    color_temperature: int | None = None
    """Kelvin."""
    position: int | None = None
    """Percent open, 0 closed to 100 open."""
    speed: int | None = None
    """Percent of a fan's full speed."""
    current_temperature: float | None = None
    """Degrees in the device's own unit."""
    target_temperature: float | None = None
    current_humidity: float | None = None
    """Percent."""
    mode: str | None = None
    """`heat`, `cool`, `auto`, `off`, …"""


Verb = Literal[
    "turn_on",
    "turn_off",
    "toggle",
    "set_brightness",
    "change_brightness",
    "set_color",
    "set_color_temperature",
    "open",
    "close",
    "stop",
    "set_position",
    "set_speed",
    "set_temperature",
    "set_mode",
    "lock",
    "unlock",
    "activate",
    "press",
]


class Command(msgspec.Struct, frozen=True):
    """One thing to do to one entity."""

    entity_id: str
    verb: Verb
    value: float | str | None = None
    """Percent, percent step, degrees, kelvin, mode or colour name, as the verb needs."""


Result = Literal["confirmed", "unconfirmed", "unavailable", "unsupported", "bus_down"]


class Outcome(msgspec.Struct, frozen=True):
    """What became of a command.

    `confirmed`: the device's own state says so (or it has no state to say it with: scenes and buttons).
    `unconfirmed`: published, but the device did not answer within the deadline. `unavailable`: the device says it is
    offline; not published. `unsupported`: it cannot do this. `bus_down`: no broker to publish to.
    """

    command: Command
    result: Result
    state: State
