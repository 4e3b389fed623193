"""What every kind of device has in common: how its state is read from messages and how a command becomes messages."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import msgspec

from hub.home.color import parse_color, same_color
from hub.home.entity import Feature, State, Verb
from hub.home.options import Options
from hub.home.templates import Message, NoValue, Template

Read = Callable[[State, Message], State]
"""The state after a message; raises `NoValue` when the message says nothing about it."""
Reached = Callable[[State, State], bool]
"""From the state before a command and the state now: whether the device has done it."""

SAME_PERCENT = 2
"""Brightness, position or speed this near counts as reached: devices count in steps of their own."""
SAME_DEGREES = 0.11
SAME_KELVIN = 0.04
"""Part of the value; mireds are coarse at the cold end."""


class Unsupported(Exception):
    """The device cannot do this."""


@dataclass(frozen=True)
class Reader:
    """One topic on which the device tells its state, and which fields of `State` it fills."""

    topic: str
    fields: frozenset[str]
    read: Read
    of_events: bool = False
    """Each message is something that happens: what the broker kept of it happened long ago."""


@dataclass(frozen=True)
class Publication:
    """One message to the device."""

    topic: str
    payload: str
    retain: bool = False


@dataclass(frozen=True)
class Plan:
    """How to do a command."""

    publications: tuple[Publication, ...]
    reached: Reached | None
    """None when the device has no way to tell."""
    assumed: State
    """Fields that are taken as set once the command is through, because the device never reports them."""


@dataclass(frozen=True)
class Setting:
    """Something of a device that is set by a command of its own: to one of `payloads`, or to a number."""

    field: str
    """Of `State`."""
    topic: str
    template: Template | None
    payloads: Mapping[str, str]
    """What each choice is sent as; empty for a number."""
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    """0: any number will do."""


class Component:
    """A device of one kind, as its discovery message described it. Subclasses fill in readers and features."""

    def __init__(self, options: Options) -> None:
        """Raises `MalformedMessage`."""
        self._retain = options.flag("retain")
        self.readers: list[Reader] = []
        self.features: set[Feature] = set()
        self.settings: dict[Verb, Setting] = {}
        self.off_after_s = 0.0
        """So long after it said that it is on it counts as off; 0: until it says so."""

    @property
    def choices(self) -> tuple[tuple[Verb, tuple[str, ...]], ...]:
        """As `Entity.choices`."""
        return tuple((verb, tuple(each.payloads)) for verb, each in self.settings.items() if each.payloads)

    @property
    def limits(self) -> tuple[tuple[Verb, float, float], ...]:
        """As `Entity.limits`."""
        return tuple((verb, each.low, each.high) for verb, each in self.settings.items() if not each.payloads)

    @property
    def reported(self) -> frozenset[str]:
        """The fields of `State` that the device tells."""
        return frozenset().union(*(reader.fields for reader in self.readers))

    def plan(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        """How to do this from `state`; raises `Unsupported`."""
        return self._planned(verb, value, state)

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        """As `plan`; subclasses do what they can and leave the rest to their parent."""
        setting = self.settings.get(verb)
        if setting is None:
            raise Unsupported(verb)
        wanted = chosen(setting, str(value)) if setting.payloads else _amount(setting, number_in(value))
        sent = self._send(setting.topic, setting.template, setting.payloads.get(str(wanted), wanted))
        fields: dict[str, object] = {setting.field: wanted}
        return self._plan(sent, reached=None, **fields)

    def _chooses(
        self, options: Options, prefix: str, verb: Verb, feature: Feature, field: str, payloads: Mapping[str, str]
    ) -> None:
        """Have `verb` set one of `payloads`, and `field` read which is set, by the topics that begin with `prefix`."""
        meanings = {payload: choice for choice, payload in payloads.items()}
        self._reads(options.topic(f"{prefix}state_topic"), _read_by(options, prefix), field, one_of(meanings))
        self._sets(options, prefix, verb, feature, Setting(field, "", None, payloads))

    def _measures(
        self,
        options: Options,
        prefix: str,
        verb: Verb,
        feature: Feature,
        field: str,
        bounds: tuple[float, float, float],
    ) -> None:
        """As `_chooses`, of a number from `bounds[0]` to `bounds[1]` in steps of `bounds[2]`."""
        low, high, step = bounds
        self._reads(options.topic(f"{prefix}state_topic"), _read_by(options, prefix), field, number)
        self._sets(options, prefix, verb, feature, Setting(field, "", None, {}, low, high, step))

    def _sets(self, options: Options, prefix: str, verb: Verb, feature: Feature, setting: Setting) -> None:
        topic, template = options.topic(f"{prefix}command_topic"), options.template(f"{prefix}command_template")
        if topic and (setting.payloads or setting.low < setting.high):
            self.settings[verb] = replace(setting, topic=topic, template=template)
            self.features.add(feature)

    def _reads(self, topic: str, template: Template | None, field: str, parse: Callable[[str], object]) -> None:
        """Fill one field from a topic, if there is one. `parse` raises ValueError or `NoValue` on what is no news."""
        if topic:
            self.readers.append(Reader(topic, frozenset({field}), _field_reader(template, field, parse)))

    def _plan(self, *publications: Publication, reached: Reached | None = None, **wanted: object) -> Plan:
        """A plan that is reached when the fields of `wanted` which the device reports are as wanted."""
        told = {field: value for field, value in wanted.items() if field in self.reported}
        untold = {field: value for field, value in wanted.items() if field not in self.reported}
        if reached is None and told:
            reached = lambda _, now: all(same(field, value, getattr(now, field)) for field, value in told.items())  # noqa: E731
        return Plan(publications, reached, msgspec.structs.replace(State(), **untold))

    def _send(self, topic: str, template: Template | None, value: object, **variables: object) -> Publication:
        """A message whose payload is `value`, through the command template if there is one."""
        if not topic:
            raise Unsupported("no topic for it")
        if template is None:
            return Publication(topic, as_text(value), self._retain)
        try:
            return Publication(topic, template.render({"value": value, **variables}), self._retain)
        except NoValue as error:
            raise Unsupported(f"its command template fails: {error}") from error


def _read_by(options: Options, prefix: str) -> Template | None:
    """The two words that Home Assistant has for the same thing."""
    return options.template(f"{prefix}value_template") or options.template(f"{prefix}state_template")


def chosen(setting: Setting, value: str) -> str:
    """The choice that `value` names, as the device spells it; raises `Unsupported`."""
    found = [choice for choice in setting.payloads if choice.casefold() == value.casefold()]
    if not found:
        raise Unsupported(f"{value!r:.80} is none of {', '.join(setting.payloads)}"[:300])
    return value if value in found else found[0]


def _amount(setting: Setting, value: float) -> float:
    if not setting.low <= value <= setting.high:
        raise Unsupported(f"{value:g} is outside {setting.low:g} to {setting.high:g}")
    return round(round(value / setting.step) * setting.step, 6) if setting.step else value


def _field_reader(template: Template | None, field: str, parse: Callable[[str], object]) -> Read:
    def read(state: State, message: Message) -> State:
        text = read_text(message, template)
        try:
            value = None if text == "None" else parse(text)
        except (ValueError, OverflowError) as error:
            raise NoValue(f"{text!r:.80} is no {field}") from error
        return msgspec.structs.replace(state, **{field: value})

    return read


def read_text(message: Message, template: Template | None) -> str:
    """The message as text, through a template if there is one; raises `NoValue` when that leaves nothing."""
    text = template.read(message) if template is not None else message.text.strip()
    if not text:
        raise NoValue("empty")
    return text


def same(field: str, wanted: object, now: object) -> bool:
    """Whether a device's field is as wanted, within what devices round."""
    if wanted is None or now is None:
        return wanted is now
    if isinstance(wanted, str) and isinstance(now, str):
        if field == "color":
            one, other = parse_color(wanted), parse_color(now)
            return one is not None and other is not None and same_color(one, other)
        return wanted == now
    if isinstance(wanted, int | float) and isinstance(now, int | float):
        if field == "color_temperature":
            return abs(wanted - now) <= SAME_KELVIN * wanted
        return abs(wanted - now) <= (SAME_DEGREES if field == "target_temperature" else SAME_PERCENT)
    return False


def as_text(value: object) -> str:
    """A payload: whole numbers without `.0`, lists and objects as JSON."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def number(text: str) -> float:
    """A finite number; raises ValueError."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def percent_of(low: float, high: float) -> Callable[[str], int]:
    """A parser of a device's own scale from `low` (0 %) to `high` (100 %)."""

    def parse(text: str) -> int:
        share = (number(text) - low) / (high - low)
        return round(min(max(share, 0.0), 1.0) * 100)

    return parse


def on_scale(percent: float, low: float, high: float) -> int:
    """The inverse of `percent_of`, whole."""
    return round(low + (high - low) * percent / 100.0)


def one_of(meanings: dict[str, str]) -> Callable[[str], str]:
    """A parser of payloads that have a meaning; raises `NoValue` at others."""

    def parse(text: str) -> str:
        if text not in meanings:
            raise NoValue(f"{text!r:.80} is none of {', '.join(meanings)}"[:300])
        return meanings[text]

    return parse


def percentage(value: float | str | None) -> float:
    """A command's value as percent, kept within 0 to 100; raises `Unsupported`."""
    return min(max(number_in(value), 0.0), 100.0)


def number_in(value: float | str | None) -> float:
    """A command's value as a finite number; raises `Unsupported`."""
    try:
        return number(str(value))
    except ValueError:
        raise Unsupported(f"{value!r} is no number") from None
