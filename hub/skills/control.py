"""Skill: switches, dims, colors, opens, locks and sets the devices of the home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from hub.answers import Wording
from hub.answers.deeds import Deed
from hub.dialogue import Option, Question
from hub.home.entity import Command, Entity, Feature, Outcome, Verb
from hub.intent import Intent
from hub.skills.skill import Home, Reply, Request, Result
from hub.skills.targets import Targets, find_targets

BRIGHTNESS_STEP = 20
"""Percent that "brighter" and "dimmer" mean."""

_DOMAINS = {
    "HassLightSet": "light",
    "ChangeBrightness": "light",
    "HassSetPosition": "cover",
    "CoverStop": "cover",
    "HassClimateSetTemperature": "climate",
    "HassFanSetSpeed": "fan",
}
"""What an intent means when it names no domain."""
_EVERYWHERE = ("all", "everywhere", "all of them", "every room", "all rooms", "the whole home", "the whole house")


@dataclass(frozen=True)
class Plan:
    """One intent turned into commands, or into the reason why not."""

    intent: Intent
    targets: Targets
    commands: tuple[Command, ...] = ()


class Control:
    """Acts on devices, all of one sentence at once, and says what was confirmed."""

    intents = frozenset(
        {
            "HassTurnOn",
            "HassTurnOff",
            "HassToggle",
            "HassLightSet",
            "ChangeBrightness",
            "HassSetPosition",
            "CoverStop",
            "HassClimateSetTemperature",
            "HassFanSetSpeed",
        }
    )

    def abilities(self, home: Home, words: Wording) -> tuple[str, ...]:
        """What the devices that are there can do."""
        components = {entity.component for entity in home.entities.values()}
        features = {feature for entity in home.entities.values() for feature in entity.features}
        keys = ["light"] if "light" in components else []
        if keys:
            keys += [key for key in ("brightness", "color") if key in features]
        keys += [key for key in ("switch", "cover", "fan", "climate", "lock", "scene") if key in components]
        return tuple(words.talk.ability(key) for key in keys)

    async def perform(self, intents: tuple[Intent, ...], request: Request) -> Reply:
        """Send all commands at once, tell what came of them; ask before unlocking and when no room was named."""
        words, entities = request.words.deeds, request.home.entities
        plans = [_plan(intent, request) for intent in intents]
        locked, open_already = _to_unlock(plans, request)
        skip = frozenset(locked) | frozenset(open_already)
        deeds, outcomes = await _carry_out(plans, skip, request)
        said = [words.told(deeds, entities, why_down=request.home.why_down)] if deeds else []
        said += dict.fromkeys(plan.targets.missing for plan in plans if plan.targets.missing)
        said += [words.already_unlocked(entity_id, entities) for entity_id in open_already]
        question = _question(plans, locked, request)
        if question is not None:
            said.append(question.text)
        ids = [entity.id for plan in plans for entity in plan.targets.entities]
        return Reply(
            " ".join(said),
            _result(outcomes, missing=any(plan.targets.missing for plan in plans)),
            question,
            tuple(dict.fromkeys(ids)),
        )


async def _carry_out(
    plans: Sequence[Plan], skip: frozenset[str], request: Request
) -> tuple[list[Deed], tuple[Outcome, ...]]:
    wanted = [(plan, command) for plan in plans for command in plan.commands]
    wanted = [(plan, command) for plan, command in wanted if command.verb != "unlock" or command.entity_id not in skip]
    kept = {id(command) for command in without_conflicts([command for _, command in wanted])}
    wanted = [(plan, command) for plan, command in wanted if id(command) in kept]
    if not wanted:
        return [], ()
    outcomes = await request.home.perform([command for _, command in wanted])
    if any(outcome.result == "confirmed" for outcome in outcomes):
        request.recorder.mark("action_confirmed")
    deeds = []
    for plan in plans:
        own = tuple(outcome for (of, _), outcome in zip(wanted, outcomes, strict=True) if of is plan)
        if own:
            deeds.append(Deed(own, plan.targets.group, plan.targets.area))
    return deeds, outcomes


# ---- from intent to commands


def _plan(intent: Intent, request: Request) -> Plan:
    targets = find_targets(intent, request, domain=_DOMAINS.get(intent.name, ""))
    commands = tuple(command for entity in targets.entities for command in commands_for(intent, entity))
    if targets.group and targets.entities:
        # Of a whole room's lights those that cannot do it are passed over; a named one is told about.
        able = tuple(command for command in commands if _able(request.home.entities[command.entity_id], command))
        if commands and not able:
            missing = request.words.deeds.none_can(commands[0], targets.group, targets.area)
            return Plan(intent, replace(targets, entities=(), missing=missing))
        commands = able
    return Plan(intent, targets, commands)


def commands_for(intent: Intent, entity: Entity) -> tuple[Command, ...]:
    """What `intent` makes one entity do. Home Assistant's way: on and off also open, close, lock, unlock and start."""
    slots = intent.slots
    match intent.name:
        case "HassTurnOn":
            return (_command(entity, _ON.get(entity.component, "turn_on")),)
        case "HassTurnOff":
            return _off(entity)
        case "HassToggle":
            return (_command(entity, "toggle"),)
        case "HassLightSet":
            return _light(entity, intent)
        case "ChangeBrightness":
            return (_command(entity, "change_brightness", _step(intent)),)
        case "HassSetPosition":
            return (_position(entity, float(slots["position"])),)
        case "CoverStop":
            return (_command(entity, "stop"),)
        case "HassFanSetSpeed":
            return (_command(entity, "set_speed", float(slots["percentage"])),)
        case "HassClimateSetTemperature":
            return (_command(entity, "set_temperature", float(slots["temperature"])),)
    return ()


_ON: dict[str, Verb] = {"cover": "open", "valve": "open", "lock": "lock", "scene": "activate", "button": "press"}
_OFF: dict[str, Verb] = {"cover": "close", "valve": "close", "lock": "unlock"}


def _command(entity: Entity, verb: Verb, value: float | str | None = None) -> Command:
    return Command(entity.id, verb, value)


def _off(entity: Entity) -> tuple[Command, ...]:
    if entity.component == "climate" and "on_off" not in entity.features and "mode" in entity.features:
        return (_command(entity, "set_mode", "off"),)
    return (_command(entity, _OFF.get(entity.component, "turn_off")),)


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
    "stop": "open_close",
    "set_position": "position",
    "set_speed": "speed",
    "set_temperature": "target_temperature",
    "set_mode": "mode",
    "lock": "lock",
    "unlock": "lock",
    "activate": "activate",
    "press": "press",
}


def _able(entity: Entity, command: Command) -> bool:
    return _NEEDS[command.verb] in entity.features


_POWER: frozenset[Verb] = frozenset({"turn_on", "turn_off", "toggle"})
_LIGHT_SETTINGS: frozenset[Verb] = frozenset(
    {"set_brightness", "change_brightness", "set_color", "set_color_temperature"}
)
_SETTINGS = _LIGHT_SETTINGS | {"set_speed"}


def without_conflicts(commands: Sequence[Command]) -> list[Command]:
    """All run at once, so of commands to one entity that contradict each other only the one said last is kept.

    "Turn off all lights and turn on the lamp" leaves the lamp on; "turn on the lamp and dim it to 20%" only dims.
    """
    kept: list[Command] = []
    for command in commands:
        same = [earlier for earlier in kept if earlier.entity_id == command.entity_id]
        if command.verb == "turn_on" and any(earlier.verb in _SETTINGS for earlier in same):
            continue
        kept = [earlier for earlier in kept if earlier not in same or not _overruled(earlier, command)]
        kept.append(command)
    return kept


def _overruled(earlier: Command, later: Command) -> bool:
    if later.verb in _SETTINGS:
        return earlier.verb in _POWER or earlier.verb == later.verb
    return True


# ---- questions


def _to_unlock(plans: Sequence[Plan], request: Request) -> tuple[list[str], list[str]]:
    """Locks to ask about, and those that are open already; both empty once the person has said yes."""
    if request.confirmed:
        return [], []
    ids = dict.fromkeys(command.entity_id for plan in plans for command in plan.commands if command.verb == "unlock")
    able = [entity_id for entity_id in ids if request.home.state(entity_id).available]
    already = [entity_id for entity_id in able if request.home.state(entity_id).value == "unlocked"]
    return [entity_id for entity_id in able if entity_id not in already], already


def _question(plans: Sequence[Plan], locked: Sequence[str], request: Request) -> Question | None:
    words = request.words.deeds
    if locked:
        return Question(
            words.unlock_question(locked, request.home.entities),
            if_yes=tuple(Intent("HassTurnOff", {"name": entity_id}) for entity_id in locked),
            if_no=words.left_locked(),
        )
    unplaced = [plan for plan in plans if plan.targets.rooms]
    if not unplaced:
        return None
    rooms = tuple(dict.fromkeys(room for plan in unplaced for room in plan.targets.rooms))
    options = [Option((room,), tuple(_placed(plan.intent, "area", room) for plan in unplaced)) for room in rooms]
    options.append(Option(_EVERYWHERE, tuple(_placed(plan.intent, "all", "yes") for plan in unplaced)))
    return Question(words.which_room(rooms), options=tuple(options))


def _placed(intent: Intent, slot: str, value: str) -> Intent:
    return msgspec.structs.replace(intent, slots={**intent.slots, slot: value})


def _result(outcomes: Sequence[Outcome], *, missing: bool) -> Result:
    """The worst of all outcomes, as traces name it."""
    results = {outcome.result for outcome in outcomes}
    if "unconfirmed" in results:
        return "unconfirmed"
    if results & {"unavailable", "bus_down"}:
        return "unavailable"
    return "failed" if missing or "unsupported" in results else "done"
