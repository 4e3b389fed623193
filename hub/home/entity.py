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
    "oscillation",
    "direction",
    "target_temperature",
    "target_humidity",
    "mode",
    "preset",
    "fan_mode",
    "lock",
    "activate",
    "press",
    "number",
    "option",
    "start",
    "pause",
    "stop",
    "return_to_base",
    "locate",
    "arm",
]

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
    "open_tilt",
    "close_tilt",
    "set_tilt",
    "set_speed",
    "oscillate",
    "set_direction",
    "set_temperature",
    "set_humidity",
    "set_mode",
    "set_preset",
    "set_fan_mode",
    "lock",
    "unlock",
    "activate",
    "press",
    "set_number",
    "select_option",
    "start",
    "pause",
    "return_to_base",
    "locate",
    "arm",
    "disarm",
]

Category = Literal["", "config", "diagnostic"]


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
    category: Category = ""
    """Not empty: a device's setting or inner life (a child lock, a signal strength), meant only when it is named."""
    choices: tuple[tuple[Verb, tuple[str, ...]], ...] = ()
    """What some verbs may be given; see `choices_of`."""
    limits: tuple[tuple[Verb, float, float], ...] = ()
    """Within what some verbs' numbers must be; see `limits_of`."""

    def choices_of(self, verb: Verb) -> tuple[str, ...]:
        """The values that `verb` may be given, as the device spells them; empty when they are no matter of choice."""
        return next((choices for of, choices in self.choices if of == verb), ())

    def limits_of(self, verb: Verb) -> tuple[float, float] | None:
        """The lowest and the highest number that `verb` may be given, in the entity's unit; None when it has none."""
        return next(((low, high) for of, low, high in self.limits if of == verb), None)


class State(msgspec.Struct, frozen=True):
    """How an entity is now, in units people use. None: the device never said, or it has no such thing."""

    available: bool = True
    value: str | None = None
    """`on`/`off`, `open`/`closed`/`opening`/`closing`, `locked`/`unlocked`, what a vacuum or an alarm panel does
    (`cleaning`, `docked`, `armed_away`, …), the option that is selected, the kind of the last event, or a reading or a
    number as text."""
    brightness: int | None = None
    """Percent, 0 to 100."""
    color: str | None = None
    """A colour name of Home Assistant's list when one fits, else `#rrggbb`."""
    color_temperature: int | None = None
    """Kelvin."""
    position: int | None = None
    """Percent open, 0 closed to 100 open."""
    tilt: int | None = None
    """Percent open of a cover's slats."""
    speed: int | None = None
    """Percent of a fan's full speed."""
    oscillation: str | None = None
    """`on` or `off`."""
    direction: str | None = None
    """A fan's: `forward` or `reverse`."""
    current_temperature: float | None = None
    """Degrees in the device's own unit."""
    target_temperature: float | None = None
    current_humidity: float | None = None
    """Percent."""
    target_humidity: float | None = None
    """Percent."""
    mode: str | None = None
    """`heat`, `cool`, `auto`, `off`, …"""
    preset: str | None = None
    """`eco`, `away`, `boost`, …; `none` when none of them is set."""
    fan_mode: str | None = None
    """`low`, `high`, `auto`, … of a climate's fan; a vacuum's suction."""
    action: str | None = None
    """What a climate does at this moment: `heating`, `cooling`, `idle`, `off`, …"""
    events: int | None = None
    """Of an event entity: how often something happened since the hub knows it; `value` is what happened last."""


class Command(msgspec.Struct, frozen=True):
    """One thing to do to one entity."""

    entity_id: str
    verb: Verb
    value: float | str | None = None
    """Percent, percent step, degrees, kelvin, colour name, number, or one of `Entity.choices_of`, as the verb needs;
    `oscillate` takes `on` and `off`."""


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
