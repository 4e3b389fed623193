"""Skill: switches, dims, colors, opens, locks, starts and sets the devices of the home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from hub.answers import Wording
from hub.answers.deeds import Deed
from hub.dialogue import Option, Question
from hub.home.entity import Command, Outcome
from hub.intent import Intent
from hub.skills.carrying import Carried, carry_out, cause_of, may_i, not_done
from hub.skills.commands import PERFORM, as_command, commands_for, is_able
from hub.skills.skill import Home, Reply, Request, Result
from hub.skills.targets import Targets, find_targets

_DOMAINS = {
    "HassLightSet": "light",
    "ChangeBrightness": "light",
    "HassSetPosition": "cover",
    "SetTilt": "cover",
    "CoverStop": "cover",
    "HassClimateSetTemperature": "climate",
    "HassClimateSetFanMode": "climate",
    "SetChoice": "climate",
    "HassFanSetSpeed": "fan",
    "Oscillate": "fan",
    "HassHumidifierSetpoint": "humidifier",
    "HassVacuumStart": "vacuum",
    "HassVacuumReturnToBase": "vacuum",
    "HassLawnMowerStartMowing": "lawn_mower",
    "HassLawnMowerDock": "lawn_mower",
    "Pause": "vacuum",
    "Locate": "vacuum",
    "ArmAlarm": "alarm_control_panel",
    "DisarmAlarm": "alarm_control_panel",
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

    intents = frozenset({"HassTurnOn", "HassTurnOff", "HassToggle", "SetNumber", "Order", PERFORM, *_DOMAINS})

    def abilities(self, home: Home, words: Wording) -> tuple[str, ...]:
        """What the devices that are there can do."""
        components = {entity.component for entity in home.entities.values()}
        features = {feature for entity in home.entities.values() for feature in entity.features}
        keys = ["light"] if "light" in components else []
        if keys:
            keys += [key for key in ("brightness", "color") if key in features]
        others = ("switch", "cover", "fan", "climate", "lock", "alarm_control_panel", "vacuum", "scene")
        keys += [key for key in others if key in components]
        return tuple(words.talk.ability(key) for key in keys)

    async def perform(self, intents: tuple[Intent, ...], request: Request) -> Reply:
        """Send all commands at once, tell what came of them; ask before what is risky and when no room was named."""
        words, entities = request.words.deeds, request.home.entities
        plans = [plan_of(intent, request) for intent in intents]
        commands = [command for plan in plans for command in plan.commands]
        carried = await carry_out(commands, request, cause_of(intents, request)) if commands else Carried()
        deeds = _deeds(plans, carried)
        said = [words.told(deeds, entities, why_down=request.home.why_down)] if deeds else []
        said += dict.fromkeys(plan.targets.missing for plan in plans if plan.targets.missing)
        said += not_done(carried, request)
        question = may_i(carried, request) or _which_room(plans, request)
        if question is not None:
            said.append(question.text)
        ids = [entity.id for plan in plans for entity in plan.targets.entities]
        failed = any(plan.targets.missing for plan in plans) or bool(carried.refused or carried.unattended)
        orders = words.orders(commands, entities)
        past = request.words.past
        return Reply(
            " ".join(said),
            worst(carried.outcomes, failed=failed),
            question,
            tuple(dict.fromkeys(ids)),
            why=past.after_yes(orders)
            if request.confirmed
            else past.took_as(orders, [intent.name for intent in intents]),
        )


def _deeds(plans: Sequence[Plan], carried: Carried) -> list[Deed]:
    """Each outcome once, with the first phrase that asked for it."""
    deeds, told = [], set[Command]()
    for plan in plans:
        own = tuple(each for each in carried.outcomes_of(plan.commands) if each.command not in told)
        told.update(outcome.command for outcome in own)
        if own:
            deeds.append(Deed(own, plan.targets.group, plan.targets.area))
    return deeds


def plan_of(intent: Intent, request: Request) -> Plan:
    """What `intent` would make devices do now; does nothing."""
    entities = request.home.entities
    if intent.name == PERFORM:
        command = as_command(intent)
        entity = entities.get(command.entity_id)
        if entity is None:
            return Plan(intent, Targets(missing=request.words.deeds.unknown_device()))
        return Plan(intent, Targets((entity,)), (command,))
    targets = find_targets(intent, request, domain=_DOMAINS.get(intent.name, ""))
    commands = tuple(
        command
        for entity in targets.entities
        for command in commands_for(intent, entity, request.home.state(entity.id))
    )
    if targets.group and targets.entities:
        # Of a whole room's lights those that cannot do it are passed over; a named one is told about.
        able = tuple(command for command in commands if is_able(entities[command.entity_id], command))
        if commands and not able:
            missing = request.words.deeds.none_can(commands[0], targets.group, targets.area)
            return Plan(intent, replace(targets, entities=(), missing=missing))
        commands = able
    return Plan(intent, targets, commands)


def _which_room(plans: Sequence[Plan], request: Request) -> Question | None:
    unplaced = [plan for plan in plans if plan.targets.rooms]
    if not unplaced:
        return None
    rooms = tuple(dict.fromkeys(room for plan in unplaced for room in plan.targets.rooms))
    options = [Option((room,), tuple(_placed(plan.intent, "area", room) for plan in unplaced)) for room in rooms]
    options.append(Option(_EVERYWHERE, tuple(_placed(plan.intent, "all", "yes") for plan in unplaced)))
    return Question(request.words.deeds.which_room(rooms), options=tuple(options), said=request.said)


def _placed(intent: Intent, slot: str, value: str) -> Intent:
    return msgspec.structs.replace(intent, slots={**intent.slots, slot: value})


def worst(outcomes: Sequence[Outcome], *, failed: bool) -> Result:
    """The worst of all outcomes, as traces name it."""
    results = {outcome.result for outcome in outcomes}
    if "unconfirmed" in results:
        return "unconfirmed"
    if results & {"unavailable", "bus_down"}:
        return "unavailable"
    return "failed" if failed or "unsupported" in results else "done"
