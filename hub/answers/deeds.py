"""English sentences about what came of commands. Nothing is claimed that a device did not confirm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub.answers.english import counted, degrees, is_plural, listed, named, noun, number, place, sentence, the
from hub.home.entity import Command, Entity, Outcome, State

Entities = Mapping[str, Entity]
Predicate = tuple[str, str]
"""What is said of one thing and of several: `is on`, `are on`."""


@dataclass(frozen=True)
class Deed:
    """What was asked with one phrase, and what came of it."""

    outcomes: tuple[Outcome, ...]
    group: str = ""
    """The kind, such as `light`, when all of a kind were meant; empty when things were named."""
    area: str = ""
    """The room whose things were meant."""


class DeedWords:
    """Outcomes in one sentence."""

    def told(self, deeds: Sequence[Deed], entities: Entities, *, why_down: str = "") -> str:
        """One sentence for all deeds: first what was done, then what was not and why.

        `entities`: as they were when the commands were sent; `why_down`: why there is no bus, as far as known.
        """
        outcomes = [outcome for deed in deeds for outcome in deed.outcomes]
        if outcomes and all(outcome.result == "bus_down" for outcome in outcomes):
            return self.unreachable(why_down)
        done: list[str] = []
        singles: list[Outcome] = []
        failed: list[Outcome] = []
        for deed in deeds:
            confirmed = [outcome for outcome in deed.outcomes if outcome.result == "confirmed"]
            failed += [outcome for outcome in deed.outcomes if outcome.result != "confirmed"]
            if deed.group and len({outcome.command.entity_id for outcome in deed.outcomes}) > 1:
                done += _group_clauses(deed, confirmed)
            else:
                singles += confirmed
        done += _clauses([(outcome.command.entity_id, _state_now(outcome, entities)) for outcome in singles], entities)
        problems = [(outcome.command.entity_id, _problem(outcome)) for outcome in failed]
        not_done = _clauses(problems, entities, it=_only_subject(singles))
        if done and not_done:
            return sentence(f"{listed(done)}, but {listed(not_done)}")
        return sentence(listed(done or not_done))

    def unreachable(self, why: str) -> str:
        """No device at all; `why` without a full stop."""
        return sentence(f"I can't reach the devices right now: {why or 'the MQTT broker is down'}")

    def unlock_question(self, entity_ids: Sequence[str], entities: Entities) -> str:
        """Asks before anything is unlocked."""
        return f"Unlock {listed([the(entities[entity_id], entities) for entity_id in entity_ids])}?"

    def left_locked(self) -> str:
        """The person said no."""
        return "OK, I left it locked."

    def already_unlocked(self, entity_id: str, entities: Entities) -> str:
        """Nothing to do."""
        return sentence(f"{the(entities[entity_id], entities)} is already unlocked")

    def which_room(self, areas: Sequence[str]) -> str:
        """Asks where."""
        return f"Which room: {listed(list(areas), 'or')}?" if len(areas) <= 5 else "Which room?"

    def which_device(self) -> str:
        """`it` means nothing now."""
        return "I don't know which device you mean. Please say its name."

    def unknown_device(self) -> str:
        """The entity went away between understanding and acting."""
        return "I don't know that device any more."

    def unknown_area(self, area: str) -> str:
        """No such room."""
        return f"I don't know a room called {area[:60]}."

    def none_here(self, kind: str, area: str) -> str:
        """No such thing there, or anywhere when `area` is empty."""
        where = place(area) or " that I know of"
        return f"There are no {noun(kind, 2)}{where}."

    def none_can(self, command: Command, kind: str, area: str) -> str:
        """A whole kind lacks a feature."""
        can = _LACKS[command.verb].replace("can't", "can")
        return f"None of the {noun(kind, 2)}{place(area)} {can}."


def _group_clauses(deed: Deed, confirmed: Sequence[Outcome]) -> list[str]:
    """`turned off 3 lights in the living room`, for each verb of the deed."""
    by_verb: dict[str, list[Outcome]] = {}
    for outcome in confirmed:
        by_verb.setdefault(_past(outcome), []).append(outcome)
    where = place(deed.area)
    return [past.format(f"{counted(len(outcomes), deed.group)}{where}") for past, outcomes in by_verb.items()]


def _clauses(facts: Sequence[tuple[str, Predicate]], entities: Entities, it: str = "") -> list[str]:
    """Facts about entities (by id), those of one entity and those that are the same for several put together."""
    of_entity: dict[str, list[Predicate]] = {}
    for entity_id, predicate in facts:
        known = of_entity.setdefault(entity_id, [])
        if predicate not in known:
            known.append(predicate)
    subjects: dict[tuple[Predicate, ...], list[str]] = {}
    for entity_id, predicates in of_entity.items():
        subjects.setdefault(tuple(predicates), []).append(entity_id)
    clauses = []
    for said, ids in subjects.items():
        plural = len(ids) > 1 or is_plural(entities[ids[0]])
        subject = ("they" if plural else "it") if ids == [it] else named([entities[each] for each in ids], entities)
        clauses.append(f"{subject} {listed([many if plural else one for one, many in said])}")
    return clauses


def _only_subject(outcomes: Sequence[Outcome]) -> str:
    ids = {outcome.command.entity_id for outcome in outcomes}
    return ids.pop() if len(ids) == 1 else ""


def _be(rest: str) -> Predicate:
    return f"is {rest}", f"are {rest}"


def _state_now(outcome: Outcome, entities: Entities) -> Predicate:
    """How a thing is after a confirmed command, from its own state where that tells more than the command."""
    command, state = outcome.command, outcome.state
    match command.verb:
        case "turn_on" | "turn_off" | "toggle":
            return _be(state.value if state.value in ("on", "off") else "off" if command.verb == "turn_off" else "on")
        case "set_brightness" | "change_brightness":
            if state.value == "off":
                return _be("off")
            if state.brightness is None and command.verb == "change_brightness":
                return _be("brighter now" if _amount(command) > 0 else "dimmer now")
            return _be(f"now at {_percent(state.brightness, command)}")
        case "set_color":
            return _be(f"now {command.value}")
        case "set_color_temperature":
            return _be(f"now at {number(_amount(command))} K")
        case "open" | "close":
            return _be(_cover(state, "open" if command.verb == "open" else "closed"))
        case "set_position":
            return _be(_position(state, command))
        case "stop":
            at = f" at {state.position}%" if state.position is not None else ""
            return f"has stopped{at}", f"have stopped{at}"
        case "set_speed":
            return _be(f"now at {_percent(state.speed, command)}")
        case "set_temperature":
            entity = entities.get(command.entity_id)
            wanted = state.target_temperature if state.target_temperature is not None else _amount(command)
            return _be(f"set to {degrees(wanted, entity.unit if entity else '')}")
        case "set_mode":
            return _be(f"set to {command.value}" if command.value != "off" else "off")
        case "lock":
            return _be("locked")
        case "unlock":
            return _be("unlocked")
        case "activate":
            return _be("activated")
        case "press":
            return "was pressed", "were pressed"


def _past(outcome: Outcome) -> str:
    """What was done to many, as a pattern for what they are."""
    command, state = outcome.command, outcome.state
    match command.verb:
        case "turn_on" | "turn_off" | "toggle":
            return {"turn_on": "turned on {}", "turn_off": "turned off {}"}.get(command.verb, "switched {}")
        case "set_brightness":
            return f"set {{}} to {number(_amount(command))}%"
        case "change_brightness":
            return "brightened {}" if _amount(command) > 0 else "dimmed {}"
        case "set_color" | "set_mode":
            return f"set {{}} to {command.value}"
        case "set_color_temperature":
            return f"set {{}} to {number(_amount(command))} K"
        case "open" | "close":
            return (
                f"{'opening' if command.verb == 'open' else 'closing'} {{}}"
                if _moving(state)
                else ("opened {}" if command.verb == "open" else "closed {}")
            )
        case "set_position" | "set_speed":
            return f"set {{}} to {number(_amount(command))}%"
        case "set_temperature":
            return f"set {{}} to {number(_amount(command))}°"
        case "stop" | "lock" | "unlock" | "activate" | "press":
            return {"stop": "stopped {}", "activate": "activated {}"}.get(command.verb, f"{command.verb}ed {{}}")


_LACKS = {
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
    "set_speed": "can't change speed",
    "set_temperature": "can't be set to a temperature",
    "set_mode": "can't be set to that mode",
    "lock": "can't be locked",
    "unlock": "can't be unlocked",
    "activate": "can't be activated",
    "press": "can't be pressed",
}


def _problem(outcome: Outcome) -> Predicate:
    match outcome.result:
        case "unavailable":
            return _be("offline")
        case "unsupported":
            lacks = _LACKS[outcome.command.verb]
            return lacks, lacks
        case "bus_down":
            return "could not be reached", "could not be reached"
        case _:
            return "did not answer", "did not answer"


def _amount(command: Command) -> float:
    return float(command.value) if isinstance(command.value, (int, float)) else 0.0


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
