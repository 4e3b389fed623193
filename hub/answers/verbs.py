"""English for each thing that a device can be told: to do, being done, done, impossible."""

from __future__ import annotations

from hub.answers.english import degrees, listed, number
from hub.home.entity import Command, Entity, Outcome, State

Predicate = tuple[str, str]
"""What is said of one thing and of several: `is on`, `are on`."""


def be(rest: str) -> Predicate:
    """`is on`, `are on`."""
    return f"is {rest}", f"are {rest}"


def imperative(command: Command, what: str, *, unit: str = "") -> str:
    """What was asked, of `what`: `unlock the front door`, `set the kitchen lamp to 40%`."""
    value = command.value
    match command.verb:
        case "turn_on" | "turn_off":
            return f"turn {command.verb[5:]} {what}"
        case "toggle":
            return f"switch {what}"
        case "set_brightness" | "set_position" | "set_speed" | "set_humidity":
            return f"set {what} to {number(_amount(command))}%"
        case "change_brightness":
            return f"{'brighten' if _amount(command) > 0 else 'dim'} {what}"
        case "set_color_temperature":
            return f"set {what} to {number(_amount(command))} K"
        case "set_temperature":
            return f"set {what} to {degrees(_amount(command), unit)}"
        case "set_number":
            return f"set {what} to {number(_amount(command))}{_space(unit)}{unit}"
        case "set_tilt" | "open_tilt" | "close_tilt":
            return f"tilt {what} to {number(_tilt(command))}%"
        case "set_color" | "set_mode" | "set_preset" | "set_fan_mode" | "select_option" | "set_direction":
            return f"set {what} to {_words(value)}"
        case "oscillate":
            return f"{'swing' if value == 'on' else 'stop swinging'} {what}"
        case "return_to_base":
            return f"send {what} home"
        case "arm":
            return f"arm {what}{_way(value)}"
        case _:
            return f"{command.verb} {what}"


def state_now(outcome: Outcome, entity: Entity | None) -> Predicate:
    """How a thing is after a confirmed command, from its own state where that tells more than the command."""
    command, state = outcome.command, outcome.state
    unit = entity.unit if entity else ""
    match command.verb:
        case "turn_on" | "turn_off" | "toggle":
            return be(state.value if state.value in ("on", "off") else "off" if command.verb == "turn_off" else "on")
        case "set_brightness" | "change_brightness":
            if state.value == "off":
                return be("off")
            if state.brightness is None and command.verb == "change_brightness":
                return be("brighter now" if _amount(command) > 0 else "dimmer now")
            return be(f"now at {_percent(state.brightness, command)}")
        case "set_color":
            return be(f"now {command.value}")
        case "set_color_temperature":
            return be(f"now at {number(_amount(command))} K")
        case "open" | "close":
            return be(_cover(state, "open" if command.verb == "open" else "closed"))
        case "set_position":
            return be(_position(state, command))
        case "set_tilt" | "open_tilt" | "close_tilt":
            return be(f"tilted to {state.tilt if state.tilt is not None else number(_tilt(command))}%")
        case "stop":
            at = f" at {state.position}%" if state.position is not None else ""
            return f"has stopped{at}", f"have stopped{at}"
        case "set_speed":
            return be(f"now at {_percent(state.speed, command)}")
        case "oscillate":
            return be("swinging" if command.value == "on" else "no longer swinging")
        case "set_direction":
            return be(f"turning {_words(command.value)}")
        case "set_temperature":
            wanted = state.target_temperature if state.target_temperature is not None else _amount(command)
            return be(f"set to {degrees(wanted, unit)}")
        case "set_humidity":
            wanted = state.target_humidity if state.target_humidity is not None else _amount(command)
            return be(f"set to {number(wanted)}%")
        case "set_number":
            return be(f"set to {number(_reading(state, command))}{_space(unit)}{unit}")
        case "set_fan_mode":
            return f"has its fan set to {_words(command.value)}", f"have their fans set to {_words(command.value)}"
        case "set_mode" | "set_preset" | "select_option":
            return be(f"set to {_words(command.value)}" if command.value != "off" else "off")
        case "lock" | "unlock":
            return be(f"{command.verb}ed")
        case "arm":
            moving = state.value in ("arming", "pending")
            return be("arming" if moving else f"armed{_way(command.value)}")
        case "disarm":
            return be("disarmed")
        case "start":
            return be(state.value or "started") if state.value in ("cleaning", "mowing") else _simply("has", "started")
        case "pause":
            return be("paused")
        case "return_to_base":
            return be("docked" if state.value == "docked" else "on its way home")
        case "locate":
            return "should be heard now", "should be heard now"
        case "activate":
            return be("activated")
        case "press":
            return "was pressed", "were pressed"


def past(outcome: Outcome) -> str:
    """What was done to many, as a pattern for what they are."""
    command = outcome.command
    match command.verb:
        case "turn_on" | "turn_off" | "toggle":
            return {"turn_on": "turned on {}", "turn_off": "turned off {}"}.get(command.verb, "switched {}")
        case "change_brightness":
            return "brightened {}" if _amount(command) > 0 else "dimmed {}"
        case "open" | "close" if _moving(outcome.state):
            return f"{'opening' if command.verb == 'open' else 'closing'} {{}}"
        case "open" | "close":
            return "opened {}" if command.verb == "open" else "closed {}"
        case "set_temperature":
            return f"set {{}} to {number(_amount(command))}°"
        case "set_tilt" | "open_tilt" | "close_tilt":
            return f"tilted {{}} to {number(_tilt(command))}%"
        case "return_to_base":
            return "sent {} home"
        case "arm" | "locate" | "pause" | "oscillate":
            return {"arm": "armed {}", "locate": "called {}", "pause": "paused {}"}.get(command.verb, "set {}")
        case "stop" | "lock" | "unlock" | "activate" | "press" | "start" | "disarm":
            return {"stop": "stopped {}", "activate": "activated {}"}.get(command.verb, f"{command.verb}ed {{}}")
        case _:
            return imperative(command, "{}")


def lacks(command: Command, entity: Entity | None) -> str:
    """Why a thing can't do it: for want of the ability, or since the value is none of its own."""
    if entity is None:
        return LACKS[command.verb]
    choices, limits = entity.choices_of(command.verb), entity.limits_of(command.verb)
    if choices and str(command.value).casefold() not in (choice.casefold() for choice in choices):
        shown = [_words(choice) for choice in choices[:8]]
        return f"can't be set to {_words(command.value)}, only to {listed(shown, 'or')}"
    if limits is not None and not limits[0] <= _amount(command) <= limits[1]:
        unit = {"set_humidity": "%", "set_temperature": entity.unit or "°"}.get(command.verb, entity.unit)
        low, high = (f"{number(limit)}{_space(unit)}{unit}" for limit in limits)
        return f"can only be set from {low} to {high}"
    return LACKS[command.verb]


LACKS = {
    "turn_on": "can't be switched on",
    "turn_off": "can't be switched off",
    "toggle": "can't be switched",
    "set_brightness": "can't be dimmed",
    "change_brightness": "can't be dimmed",
    "set_color": "can't change color",
    "set_color_temperature": "can't change color temperature",
    "open": "can't be opened",
    "close": "can't be closed",
    "stop": "can't be stopped",
    "set_position": "can't be opened part of the way",
    "open_tilt": "can't be tilted",
    "close_tilt": "can't be tilted",
    "set_tilt": "can't be tilted",
    "set_speed": "can't change speed",
    "oscillate": "can't swing",
    "set_direction": "can't change direction",
    "set_temperature": "can't be set to a temperature",
    "set_humidity": "can't be set to a humidity",
    "set_mode": "can't be set to that mode",
    "set_preset": "can't be set to that mode",
    "set_fan_mode": "can't be set to that mode",
    "lock": "can't be locked",
    "unlock": "can't be unlocked",
    "activate": "can't be activated",
    "press": "can't be pressed",
    "set_number": "can't be set to a number",
    "select_option": "can't be set to that",
    "start": "can't be started",
    "pause": "can't be paused",
    "return_to_base": "can't be sent home",
    "locate": "can't be found",
    "arm": "can't be armed by voice",
    "disarm": "can't be disarmed by voice",
}


def _simply(one: str, rest: str) -> Predicate:
    return f"{one} {rest}", f"have {rest}"


def _amount(command: Command) -> float:
    return float(command.value) if isinstance(command.value, (int, float)) else 0.0


def _tilt(command: Command) -> float:
    return {"open_tilt": 100.0, "close_tilt": 0.0}.get(command.verb, _amount(command))


def _words(value: float | str | None) -> str:
    """A mode or option, as it is said: `high_demand` has two words."""
    return " ".join(str(value).replace("_", " ").split())[:60]


def _way(value: float | str | None) -> str:
    return f" ({_words(value)})" if value else ""


def _space(unit: str) -> str:
    return "" if unit in ("", "%", "°") else " "


def _reading(state: State, command: Command) -> float:
    try:
        return float(state.value or "")
    except ValueError:
        return _amount(command)


def _percent(confirmed: int | None, command: Command) -> str:
    return f"{confirmed if confirmed is not None else number(_amount(command))}%"


def _moving(state: State) -> bool:
    return state.value in ("opening", "closing")


def _cover(state: State, asked: str) -> str:
    if _moving(state) and state.value is not None:
        return state.value
    return asked


def _position(state: State, command: Command) -> str:
    if _moving(state):
        return f"moving to {number(_amount(command))}%"
    at = state.position if state.position is not None else round(_amount(command))
    return "closed" if at <= 0 else "open" if at >= 100 else f"now {at}% open"
