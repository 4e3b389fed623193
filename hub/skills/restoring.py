"""What puts an entity back as it was before it was told to do something. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from hub.home.entity import Command, Entity, State, Verb

Why = Literal["cannot", "unknown"]
"""It is of a kind that does not go back (a scene, a vacuum) / it never said how it was."""

_ONE_WAY: frozenset[Verb] = frozenset(
    {"activate", "press", "start", "pause", "return_to_base", "locate", "stop", "set_direction"}
)
_COLORS: frozenset[Verb] = frozenset({"set_color", "set_color_temperature"})
_POWER: frozenset[Verb] = frozenset({"turn_on", "turn_off", "toggle"})
_SETTINGS: tuple[tuple[Verb, str], ...] = (
    ("set_temperature", "target_temperature"),
    ("set_humidity", "target_humidity"),
    ("set_preset", "preset"),
    ("set_fan_mode", "fan_mode"),
    ("set_tilt", "tilt"),
    ("oscillate", "oscillation"),
)
"""What is put back by the same verb, and where it is read."""


def restoring(entity: Entity, verbs: Collection[Verb], before: State) -> tuple[Command, ...] | Why:
    """The commands that undo what `verbs` did to `entity`, which was in `before`; or why there are none.

    Only what the verbs touched is put back: who set the temperature since keeps the mode that was chosen since.
    """
    touched = set(verbs)
    if touched & _ONE_WAY:
        return "cannot"
    match entity.component:
        case "light":
            return _light(entity, touched, before)
        case "fan" if touched - {"oscillate", "set_preset"}:
            return _fan(entity, before)
        case "cover" | "valve" if touched - {"set_tilt", "open_tilt", "close_tilt"}:
            return _cover(entity, before)
        case "lock":
            verb: Verb | None = _VERB_OF.get(before.value or "")
            return (Command(entity.id, verb),) if verb else "unknown"
        case "alarm_control_panel":
            return _alarm(entity, before)
        case "number":
            return _number(entity, before)
        case "select":
            return (Command(entity.id, "select_option", before.value),) if before.value else "unknown"
    return _settings(entity, touched, before)


_VERB_OF: dict[str, Verb] = {
    "locked": "lock",
    "locking": "lock",
    "unlocked": "unlock",
    "unlocking": "unlock",
    "open": "open",
    "opening": "open",
    "closed": "close",
    "closing": "close",
    "on": "turn_on",
    "off": "turn_off",
}


def _light(entity: Entity, touched: set[Verb], before: State) -> tuple[Command, ...] | Why:
    if before.value not in ("on", "off"):
        return "unknown"
    if before.value == "off":
        return (Command(entity.id, "turn_off"),)
    commands = []
    if touched & _COLORS and before.color_temperature is not None and "color_temperature" in entity.features:
        commands.append(Command(entity.id, "set_color_temperature", float(before.color_temperature)))
    elif touched & _COLORS and before.color is not None:
        commands.append(Command(entity.id, "set_color", before.color))
    if before.brightness and "brightness" in entity.features:
        commands.append(Command(entity.id, "set_brightness", float(before.brightness)))
    return tuple(commands) or (Command(entity.id, "turn_on"),)


def _fan(entity: Entity, before: State) -> tuple[Command, ...] | Why:
    if before.value == "on" and before.speed and "speed" in entity.features:
        return (Command(entity.id, "set_speed", float(before.speed)),)
    return _power(entity, before)


def _cover(entity: Entity, before: State) -> tuple[Command, ...] | Why:
    if before.position is not None and "position" in entity.features:
        return (Command(entity.id, "set_position", float(before.position)),)
    verb = _VERB_OF.get(before.value or "")
    return (Command(entity.id, verb),) if verb in ("open", "close") else "unknown"


def _alarm(entity: Entity, before: State) -> tuple[Command, ...] | Why:
    if before.value == "disarmed":
        return (Command(entity.id, "disarm"),)
    how, _, way = (before.value or "").partition("_")
    return (Command(entity.id, "arm", way),) if how == "armed" else "unknown"


def _number(entity: Entity, before: State) -> tuple[Command, ...] | Why:
    try:
        return (Command(entity.id, "set_number", float(before.value or "")),)
    except ValueError:
        return "unknown"


def _settings(entity: Entity, touched: set[Verb], before: State) -> tuple[Command, ...] | Why:
    """Thermostats, humidifiers and plain switches: each setting by itself, and on or off."""
    touched = {"set_tilt" if verb in ("open_tilt", "close_tilt") else verb for verb in touched}
    commands = [
        Command(entity.id, verb, value)
        for verb, field in _SETTINGS
        if verb in touched and (value := getattr(before, field)) is not None
    ]
    if touched & (_POWER | {"set_mode"}):
        if before.mode is not None and "mode" in entity.features:
            commands.append(Command(entity.id, "set_mode", before.mode))
        elif (power := _power(entity, before)) != "unknown":
            assert not isinstance(power, str)
            commands += power
    return tuple(commands) or "unknown"


def _power(entity: Entity, before: State) -> tuple[Command, ...] | Why:
    verb = _VERB_OF.get(before.value or "")
    return (Command(entity.id, verb),) if verb in ("turn_on", "turn_off") else "unknown"
