"""What an intent makes one entity do, and which commands of one sentence contradict each other. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hub.home.entity import Command, Entity, Feature, State, Verb
from hub.intent import Intent
from hub.understanding import CHOOSING

BRIGHTNESS_STEP = 20
"""Percent that "brighter" and "dimmer" mean."""
PERFORM = "Perform"
"""An intent of ours that no sentence has: one command (`name`, `verb`, `value`) to which a person said yes."""
OPENABLE = ("cover", "valve")

_ON: dict[str, Verb] = {
    "alarm_control_panel": "arm",
    "button": "press",
    "cover": "open",
    "lawn_mower": "start",
    "lock": "lock",
    "scene": "activate",
    "vacuum": "start",
    "valve": "open",
}
_OFF: dict[str, Verb] = {
    "alarm_control_panel": "disarm",
    "cover": "close",
    "lawn_mower": "return_to_base",
    "lock": "unlock",
    "vacuum": "return_to_base",
    "valve": "close",
}
_PLAIN: dict[str, Verb] = {
    "CoverStop": "stop",
    "HassVacuumStart": "start",
    "HassVacuumReturnToBase": "return_to_base",
    "HassLawnMowerStartMowing": "start",
    "HassLawnMowerDock": "return_to_base",
    "Pause": "pause",
    "Locate": "locate",
    "DisarmAlarm": "disarm",
}
"""Intents that are one verb without a value."""
_AMOUNTS: dict[str, tuple[Verb, str]] = {
    "HassFanSetSpeed": ("set_speed", "percentage"),
    "HassClimateSetTemperature": ("set_temperature", "temperature"),
    "HassHumidifierSetpoint": ("set_humidity", "humidity"),
    "SetTilt": ("set_tilt", "tilt"),
    "SetNumber": ("set_number", "number"),
}
"""Intents that are one verb with a number, and the slot that has it."""


def commands_for(intent: Intent, entity: Entity, state: State) -> tuple[Command, ...]:
    """What `intent` makes one entity do. Home Assistant's way: on and off also open, close, lock, unlock and start."""
    slots = intent.slots
    if intent.name in _PLAIN:
        return (_command(entity, _PLAIN[intent.name]),)
    if intent.name in _AMOUNTS:
        verb, slot = _AMOUNTS[intent.name]
        return (_command(entity, verb, float(slots[slot])),)
    match intent.name:
        case "HassTurnOn":
            return _on(entity)
        case "HassTurnOff":
            return _off(entity)
        case "HassToggle":
            return (_toggled(entity, state),)
        case "HassLightSet":
            return _light(entity, intent)
        case "ChangeBrightness":
            return (_command(entity, "change_brightness", _step(intent)),)
        case "HassSetPosition":
            return (_position(entity, float(slots["position"])),)
        case "Oscillate":
            return (_command(entity, "oscillate", str(slots["state"])),)
        case "ArmAlarm":
            return (_command(entity, "arm", _way_to_arm(entity, str(slots.get("mode", "")))),)
        case "SetChoice":
            return (_chosen(entity, str(slots["choice"])),)
        case "HassClimateSetFanMode":
            return (_command(entity, "set_fan_mode", str(slots["fan_mode"])),)
        case "Order":
            return _ordered(entity, intent)
    return ()


def as_intent(command: Command) -> Intent:
    """Exactly this command, as an intent to be done once a person said yes."""
    value = {} if command.value is None else {"value": command.value}
    return Intent(PERFORM, {"name": command.entity_id, "verb": command.verb, **value})


def as_command(intent: Intent) -> Command:
    """The inverse of `as_intent`."""
    slots = intent.slots
    return Command(str(slots["name"]), slots["verb"], slots.get("value"))  # type: ignore[arg-type]


def _command(entity: Entity, verb: Verb, value: float | str | None = None) -> Command:
    return Command(entity.id, verb, value)


def _on(entity: Entity) -> tuple[Command, ...]:
    verb = _ON.get(entity.component, "turn_on")
    return (_command(entity, verb, _way_to_arm(entity, "") if verb == "arm" else None),)


def _off(entity: Entity) -> tuple[Command, ...]:
    if entity.component == "climate" and "on_off" not in entity.features and "mode" in entity.features:
        return (_command(entity, "set_mode", "off"),)
    return (_command(entity, _OFF.get(entity.component, "turn_off")),)


def _ordered(entity: Entity, intent: Intent) -> tuple[Command, ...]:
    """What the words say, though the thing may not be able to; only robots are turned on and off like lamps."""
    slots = intent.slots
    if entity.component in ("vacuum", "lawn_mower") and slots["verb"] in ("turn_on", "turn_off"):
        return _on(entity) if slots["verb"] == "turn_on" else _off(entity)
    return (Command(entity.id, slots["verb"], slots.get("color", slots.get("percent"))),)  # type: ignore[arg-type]


def _toggled(entity: Entity, state: State) -> Command:
    if entity.component in OPENABLE:
        return _command(entity, "close" if state.value in ("open", "opening") else "open")
    if entity.component == "lock":
        return _command(entity, "lock" if state.value in ("unlocked", "unlocking") else "unlock")
    return _command(entity, "toggle")


def _light(entity: Entity, intent: Intent) -> tuple[Command, ...]:
    slots = intent.slots
    commands = []
    if "brightness" in slots:
        percent = float(slots["brightness"])
        commands.append(_command(entity, "set_brightness", percent) if percent > 0 else _command(entity, "turn_off"))
    if "color" in slots:
        commands.append(_command(entity, "set_color", str(slots["color"])))
    if "temperature" in slots:
        commands.append(_command(entity, "set_color_temperature", float(slots["temperature"])))
    return tuple(commands)


def _step(intent: Intent) -> float:
    """Signed percent: from `step` alone, or its size with the sign of `direction`."""
    step = intent.slots.get("step", BRIGHTNESS_STEP)
    if isinstance(step, str):
        return float(-BRIGHTNESS_STEP if step == "down" else BRIGHTNESS_STEP)
    return -abs(float(step)) if intent.slots.get("direction") == "down" else float(step)


def _position(entity: Entity, percent: float) -> Command:
    if "position" not in entity.features and percent in (0.0, 100.0):
        return _command(entity, "open" if percent else "close")
    return _command(entity, "set_position", percent)


def _way_to_arm(entity: Entity, wanted: str) -> str:
    """Who says no more than "arm the alarm" goes out."""
    ways = entity.choices_of("arm")
    return wanted or ("away" if "away" in ways or not ways else ways[0])


def _chosen(entity: Entity, wanted: str) -> Command:
    """With the verb that knows this word; with the first one that the entity has when none does."""
    for verb in CHOOSING:
        for choice in entity.choices_of(verb):
            if _plain(choice) == _plain(wanted):
                return _command(entity, verb, choice)
    return _command(entity, next((verb for verb in CHOOSING if entity.choices_of(verb)), "set_mode"), wanted)


def _plain(choice: str) -> str:
    return " ".join(choice.replace("_", " ").casefold().split())


# ---- what an entity can do


_NEEDS: dict[Verb, Feature] = {
    "turn_on": "on_off",
    "turn_off": "on_off",
    "toggle": "on_off",
    "set_brightness": "brightness",
    "change_brightness": "brightness",
    "set_color": "color",
    "set_color_temperature": "color_temperature",
    "open": "open_close",
    "close": "open_close",
    "set_position": "position",
    "open_tilt": "tilt",
    "close_tilt": "tilt",
    "set_tilt": "tilt",
    "set_speed": "speed",
    "oscillate": "oscillation",
    "set_direction": "direction",
    "set_temperature": "target_temperature",
    "set_humidity": "target_humidity",
    "set_mode": "mode",
    "set_preset": "preset",
    "set_fan_mode": "fan_mode",
    "lock": "lock",
    "unlock": "lock",
    "activate": "activate",
    "press": "press",
    "set_number": "number",
    "select_option": "option",
    "start": "start",
    "pause": "pause",
    "return_to_base": "return_to_base",
    "locate": "locate",
    "arm": "arm",
    "disarm": "arm",
}


def is_able(entity: Entity, command: Command) -> bool:
    """Whether an entity can do such a thing at all."""
    if command.verb == "stop":
        return "stop" in entity.features or "open_close" in entity.features
    return _NEEDS[command.verb] in entity.features


# ---- several commands at once


_POWER: frozenset[Verb] = frozenset({"turn_on", "turn_off", "toggle"})
_LIGHT_SETTINGS: frozenset[Verb] = frozenset(
    {"set_brightness", "change_brightness", "set_color", "set_color_temperature"}
)
_SETTINGS = _LIGHT_SETTINGS | {"set_speed"}
"""They switch on what they set."""
_BESIDE: frozenset[Verb] = frozenset(
    {"set_temperature", "set_humidity", "set_mode", "set_preset", "set_fan_mode", "set_tilt", "oscillate"}
)
"""They stand beside each other and beside on and off."""


def without_conflicts(commands: Sequence[Command]) -> list[Command]:
    """All run at once, so of commands to one entity that contradict each other only the one said last is kept.

    "Turn off all lights and turn on the lamp" leaves the lamp on; "turn on the lamp and dim it to 20%" only dims.
    """
    kept: dict[str, list[Command]] = {}
    for command in commands:
        same = kept.setdefault(command.entity_id, [])
        if command.verb == "turn_on" and any(earlier.verb in _SETTINGS for earlier in same):
            continue
        same[:] = [earlier for earlier in same if not _overruled(earlier, command)]
        same.append(command)
    return [command for same in kept.values() for command in same]


def _overruled(earlier: Command, later: Command) -> bool:
    if earlier.verb == later.verb:
        return True
    if earlier.verb in _BESIDE or later.verb in _BESIDE:
        return False
    return later.verb not in _SETTINGS or earlier.verb in _POWER
