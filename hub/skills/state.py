"""Skill: answers questions about how the home is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from hub.answers import Wording
from hub.home.entity import Entity, State
from hub.intent import Intent
from hub.skills.skill import Home, Reply, Request
from hub.skills.targets import SENSOR_KINDS, find_targets

_Kind = Literal["any", "all", "which", "how_many"]
_MEASURED_BY_CLIMATE = {"temperature": "current_temperature", "humidity": "current_humidity"}


class HomeState:
    """Reads states that devices reported; never guesses."""

    intents = frozenset({"HassGetState", "ListOn", "HassClimateGetTemperature"})

    def abilities(self, home: Home, words: Wording) -> tuple[str, ...]:
        """Only where there is something to ask about."""
        return (words.talk.ability("state"),) if home.entities else ()

    async def perform(self, intents: tuple[Intent, ...], request: Request) -> Reply:
        """One answer for each question."""
        home = request.home
        if home.entities and not any(home.state(entity_id).available for entity_id in home.entities):
            return Reply(request.words.states.none_reachable(), "unavailable")
        replies = [_answer(intent, request) for intent in intents]
        return Reply(
            " ".join(reply.text for reply in replies),
            next((reply.result for reply in replies if reply.result != "done"), "done"),
            entities=tuple(entity for reply in replies for entity in reply.entities),
        )


def _answer(intent: Intent, request: Request) -> Reply:
    slots = intent.slots
    if intent.name == "HassClimateGetTemperature":
        return _told(intent, request) if "name" in slots else _reading("temperature", intent, request)
    if intent.name == "ListOn":
        return _of_kind("on", "which", intent, request)
    if "name" not in slots and "state" in slots:
        asked = str(slots.get("response", "which"))
        kind: _Kind = cast(_Kind, asked) if asked in ("any", "all", "how_many") else "which"
        return _of_kind(str(slots["state"]), kind, intent, request)
    if "name" not in slots and slots.get("domain") == "sensor" and "device_class" in slots:
        return _reading(str(slots["device_class"]), intent, request)
    return _told(intent, request)


def _told(intent: Intent, request: Request) -> Reply:
    """How each thing is, or whether it is as asked."""
    targets = find_targets(intent, request, anywhere=True)
    if targets.missing:
        return Reply(targets.missing, "failed")
    words, entities = request.words.states, request.home.entities
    asked = str(intent.slots.get("state", ""))
    said = []
    for entity in targets.entities[:6]:
        state = request.home.state(entity.id)
        if not asked or not state.available:
            said.append(words.one(entity, state, entities))
        elif state.value is None:
            said.append(words.unknown(entity, entities))
        else:
            said.append(words.is_so(entity, state, _is(entity, state, asked), entities))
    offline = any(not request.home.state(entity.id).available for entity in targets.entities)
    return Reply(
        " ".join(said), "unavailable" if offline else "done", entities=tuple(entity.id for entity in targets.entities)
    )


def _of_kind(asked: str, kind: _Kind, intent: Intent, request: Request) -> Reply:
    """Any, all, which or how many of a kind are in a state."""
    targets = find_targets(intent, request, anywhere=True)
    if targets.missing:
        return Reply(targets.missing, "failed")
    found = [(entity, request.home.state(entity.id)) for entity in targets.entities]
    unsure = [(entity, state) for entity, state in found if not state.available or state.value is None]
    sure = [pair for pair in found if pair not in unsure]
    yes = [(entity, state) for entity, state in sure if _is(entity, state, asked)]
    no = [pair for pair in sure if pair not in yes]
    text = request.words.states.of_kind(
        kind, yes, no, unsure, kind=targets.group, state=asked, area=targets.area, entities=request.home.entities
    )
    return Reply(text, entities=tuple(entity.id for entity, _ in yes))


def _is(entity: Entity, state: State, asked: str) -> bool:
    if entity.component == "binary_sensor":
        asked = {"open": "on", "closed": "off", "unlocked": "on", "locked": "off"}.get(asked, asked)
    if entity.component == "climate" and asked in ("on", "off"):
        return (state.mode == "off") == (asked == "off")
    if entity.component == "alarm_control_panel" and asked == "armed":
        return (state.value or "").startswith("armed_")
    return state.value == asked


def _reading(device_class: str, intent: Intent, request: Request) -> Reply:
    """A quantity in the room that was named, else here, else wherever it is measured."""
    words = request.words.states
    what = words.quantity(device_class)
    sources = _sources(device_class, request.home)
    area = str(intent.slots.get("area", "")) or request.context.area
    named = area if area.casefold() != request.context.area.casefold() else ""
    there = [entity for entity in sources if area and entity.area.casefold() == area.casefold()]
    if named and not there:
        return Reply(words.no_sensor(what, named), "failed")
    chosen = there or sources
    if not chosen:
        return Reply(words.no_sensor(what, ""), "failed")
    values = [(entity, value) for entity in chosen if (value := _value(entity, device_class, request.home))]
    ids = tuple(entity.id for entity in chosen)
    if not values:
        return Reply(words.silent_sensor(what, chosen[0].area if there else ""), "unavailable", entities=ids)
    if there or len(values) == 1:
        entity, value = values[0]
        return Reply(words.reading(what, value, _unit(entity), entity.area), entities=ids)
    return Reply(
        words.readings(what, [(entity.area or entity.name, value, _unit(entity)) for entity, value in values]),
        entities=ids,
    )


def _sources(device_class: str, home: Home) -> Sequence[Entity]:
    """Sensors of the quantity, then thermostats, which measure it beside."""
    sensors = [
        entity
        for entity in home.entities.values()
        if entity.component in SENSOR_KINDS and entity.device_class == device_class and not entity.category
    ]
    if device_class in _MEASURED_BY_CLIMATE:
        rooms = {entity.area for entity in sensors if entity.area and _value(entity, device_class, home)}
        sensors += [
            entity
            for entity in home.entities.values()
            if entity.component == "climate" and entity.area not in rooms and _value(entity, device_class, home)
        ]
    return sensors


def _value(entity: Entity, device_class: str, home: Home) -> str:
    state = home.state(entity.id)
    if not state.available:
        return ""
    if entity.component != "climate":
        return state.value or ""
    measured = getattr(state, _MEASURED_BY_CLIMATE[device_class])
    return "" if measured is None else str(measured)


def _unit(entity: Entity) -> str:
    return entity.unit or ("°" if entity.component == "climate" or entity.device_class == "temperature" else "")
