"""English sentences about how things are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from hub.answers.english import (
    article,
    counted,
    degrees,
    is_plural,
    listed,
    named,
    noun,
    place,
    sentence,
    the,
    with_unit,
)
from hub.home.entity import Entity, State

Entities = Mapping[str, Entity]
Found = Sequence[tuple[Entity, State]]
Question = Literal["any", "all", "which", "how_many"]

_BINARY = {
    "battery": ("low", "fine"),
    "battery_charging": ("charging", "not charging"),
    "carbon_monoxide": ("detecting carbon monoxide", "clear"),
    "cold": ("cold", "not cold"),
    "connectivity": ("connected", "disconnected"),
    "door": ("open", "closed"),
    "garage_door": ("open", "closed"),
    "gas": ("detecting gas", "clear"),
    "heat": ("hot", "not hot"),
    "light": ("detecting light", "dark"),
    "lock": ("unlocked", "locked"),
    "moisture": ("wet", "dry"),
    "motion": ("detecting motion", "clear"),
    "moving": ("moving", "still"),
    "occupancy": ("occupied", "clear"),
    "opening": ("open", "closed"),
    "plug": ("plugged in", "unplugged"),
    "power": ("on", "off"),
    "presence": ("occupied", "clear"),
    "problem": ("reporting a problem", "fine"),
    "running": ("running", "not running"),
    "safety": ("unsafe", "safe"),
    "smoke": ("detecting smoke", "clear"),
    "sound": ("detecting sound", "quiet"),
    "tamper": ("reporting tampering", "fine"),
    "vibration": ("vibrating", "still"),
    "window": ("open", "closed"),
}


class StateWords:
    """Answers to questions about the home."""

    def one(self, entity: Entity, state: State, entities: Entities) -> str:
        """How one thing is."""
        subject = the(entity, entities)
        if not state.available:
            return sentence(f"{subject} {'are' if is_plural(entity) else 'is'} offline")
        how = _how(entity, state)
        return sentence(f"{subject} {how}") if how else self.unknown(entity, entities)

    def none_reachable(self) -> str:
        """Every device of the home is offline, or the broker is."""
        return "I can't reach any device right now."

    def unknown(self, entity: Entity, entities: Entities) -> str:
        """The device never reported."""
        return sentence(f"I don't know: {the(entity, entities)} has not reported yet")

    def is_so(self, entity: Entity, state: State, so: bool, entities: Entities) -> str:
        """Yes or no, and how it is."""
        return f"{'Yes' if so else 'No'}, {the(entity, entities)} {_how(entity, state) or 'has not reported yet'}."

    def of_kind(
        self,
        question: Question,
        yes: Found,
        no: Found,
        unsure: Found,
        *,
        kind: str,
        state: str,
        area: str,
        entities: Entities,
    ) -> str:
        """Whether any or all of a kind are in a state, which, or how many. `unsure`: offline or never reported."""
        is_state = self.state_word(kind, state, (yes or no or unsure)[0][0] if yes or no or unsure else None)
        where = place(area)
        count = len(yes)
        names = named([entity for entity, _ in yes], entities)
        verb = "is" if count == 1 and not is_plural(yes[0][0]) else "are"
        none = f"no {noun(kind, 2)}{where} are {is_state}"
        match question:
            case "how_many":
                text = f"{counted(count, kind)}{where} {verb} {is_state}" if count else none
            case "which":
                text = f"{names} {verb} {is_state}" if count else none
            case "any":
                text = f"yes, {names} {verb} {is_state}" if count else none
            case "all" if no:
                rest = named([entity for entity, _ in no], entities)
                text = f"no, {rest} {'are' if len(no) > 1 or is_plural(no[0][0]) else 'is'} not {is_state}"
            case _:
                everything = f"all {counted(count, kind)}" if count > 1 else names
                text = f"yes, {everything}{where if count > 1 else ''} {verb} {is_state}" if count else none
        return sentence(text) + self._unsure(unsure, entities)

    def _unsure(self, unsure: Found, entities: Entities) -> str:
        if not unsure:
            return ""
        return f" I can't tell for {named([entity for entity, _ in unsure], entities)}."

    def state_word(self, kind: str, state: str, entity: Entity | None) -> str:
        """`on` of a window's sensor is `open`."""
        if entity is not None and entity.component == "binary_sensor" and state in ("on", "off"):
            return _BINARY.get(entity.device_class, ("on", "off"))[state == "off"]
        return state

    def reading(self, what: str, value: str, unit: str, area: str) -> str:
        """One measured value: `The humidity in the bathroom is 55%.`"""
        return sentence(f"{article(what)}{place(area)} is {with_unit(value, unit)}")

    def readings(self, what: str, values: Sequence[tuple[str, str, str]]) -> str:
        """The same quantity in several places, each (room or name, value, unit)."""
        shown = [f"{with_unit(value, unit)} in {article(where)}" for where, value, unit in values[:6]]
        return sentence(f"{article(what)} is {listed(shown)}")

    def no_sensor(self, what: str, area: str) -> str:
        """Nothing measures that there."""
        return f"Nothing measures the {what}{place(area)}."

    def silent_sensor(self, what: str, area: str) -> str:
        """What measures it is offline or has not reported."""
        return f"The sensor for the {what}{place(area)} does not answer."

    def quantity(self, device_class: str) -> str:
        """What a sensor of a device class measures."""
        return {"pm25": "fine dust", "carbon_dioxide": "carbon dioxide", "illuminance": "brightness"}.get(
            device_class, device_class.replace("_", " ")
        )


def _how(entity: Entity, state: State) -> str:
    """The predicate, `is on at 50%`, agreeing with the entity's name; empty when the device never said."""
    how = _predicate(entity, state)
    return re.sub(r"^is\b", "are", how) if is_plural(entity) else how


def _predicate(entity: Entity, state: State) -> str:
    value = state.value
    match entity.component:
        case "light" if value == "on" and state.brightness is not None:
            return f"is on at {state.brightness}%"
        case "fan" if value == "on" and state.speed is not None:
            return f"is on at {state.speed}%"
        case "cover" | "valve" if value == "open" and state.position not in (None, 0, 100):
            return f"is {state.position}% open"
        case "climate" | "water_heater":
            return _climate(entity, state)
        case "humidifier" if value == "on":
            return _humidifier(state)
        case "number" if value:
            return f"is set to {with_unit(value, entity.unit)}"
        case "select" if value:
            return f"is set to {_words(value)}"
        case "event":
            return f"last said {_words(value)}" if value else ""
        case "alarm_control_panel" if value:
            how, _, way = value.partition("_")
            return f"is {how} ({_words(way)})" if way else f"is {how}"
        case "vacuum" | "lawn_mower" if value in _ROBOTS:
            return _ROBOTS[value]
        case "binary_sensor" if value in ("on", "off"):
            return f"is {_BINARY.get(entity.device_class, ('on', 'off'))[value == 'off']}"
        case "sensor":
            return f"is {with_unit(value, entity.unit)}" if value else ""
        case "scene" | "button":
            return "has no state"
    return f"is {' '.join(value.split())[:60]}" if value else ""


_ROBOTS = {"returning": "is on its way home", "error": "reports an error"}


def _words(value: str) -> str:
    return " ".join(value.replace("_", " ").split())[:60]


def _humidifier(state: State) -> str:
    parts = ["is on"]
    if state.target_humidity is not None:
        parts.append(f"is set to {round(state.target_humidity)}%")
    if state.current_humidity is not None:
        parts.append(f"measures {round(state.current_humidity)}%")
    return listed(parts)


def _climate(entity: Entity, state: State) -> str:
    parts = []
    if state.mode == "off":
        parts.append("is off")
    elif state.target_temperature is not None:
        parts.append(f"is set to {degrees(state.target_temperature, entity.unit)}")
    elif state.mode:
        parts.append(f"is set to {state.mode}")
    if state.current_temperature is not None:
        parts.append(f"measures {degrees(state.current_temperature, entity.unit)}")
    return listed(parts)
