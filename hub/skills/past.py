"""Skill: puts back what was done last, and tells why something was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hub.answers import Wording
from hub.answers.deeds import Deed
from hub.deeds import UNDO_S, Done
from hub.home.entity import Command, Entity, State, Verb
from hub.intent import Intent
from hub.skills.carrying import carry_out, cause_of, may_i, not_done
from hub.skills.control import Control, worst
from hub.skills.restoring import restoring
from hub.skills.skill import Home, Reply, Request
from hub.skills.targets import IT, find_targets


class Past:
    """Looks back at what the hub did. What somebody else did it knows nothing of, and says so."""

    intents = frozenset({"Undo", "Why"})

    def abilities(self, home: Home, words: Wording) -> tuple[str, ...]:
        """Nothing that needs to be told."""
        return ()

    async def perform(self, intents: tuple[Intent, ...], request: Request) -> Reply:
        """Of several only the first: "undo that, put it back" is one thing said twice."""
        return await _undo(intents[0], request) if intents[0].name == "Undo" else _why(intents[0], request)


async def _undo(intent: Intent, request: Request) -> Reply:
    words, entities = request.words, request.home.entities
    done = request.deeds.last_at(request.context.place)
    wanted = str(intent.slots.get("state", ""))
    spoken = request.dialogue.spoken_of(request.now)
    if wanted and spoken and not (done is not None and done.before.keys() >= set(spoken)):
        return await Control().perform((Intent(f"HassTurn{wanted.title()}", {"name": IT}, intent.words),), request)
    if done is None and wanted:  # a rule did it, in this room
        done = request.deeds.last(request.context.place, request.context.area, UNDO_S)
    if done is None:
        return Reply(words.past.nothing_to_undo(), "failed")
    if not done.outcomes:
        return Reply(words.past.no_device(done.cause.intents), "failed")
    commands, stays, unknown = _backwards(done, entities, wanted)
    cause = replace(cause_of([intent], request), kind="undo")
    carried = await carry_out(commands, request, cause)
    if carried.asked or any(outcome.result == "confirmed" for outcome in carried.outcomes):
        request.deeds.forget(done)
    said = []
    if carried.outcomes:
        said.append(words.deeds.told([Deed(carried.outcomes)], entities, why_down=request.home.why_down))
    said += not_done(carried, request)
    said += [words.past.stays(stays, entities)] if stays else []
    said += [words.past.unknown_before(unknown, entities)] if unknown else []
    question = may_i(carried, request)
    said += [question.text] if question is not None else []
    failed = bool(stays or unknown or carried.refused or carried.unattended)
    return Reply(
        " ".join(said) or words.past.nothing_to_undo(),
        worst(carried.outcomes, failed=failed),
        question,
        tuple(dict.fromkeys(command.entity_id for command in commands)),
        why=words.past.took_as(words.deeds.orders(commands, entities) if commands else "", [intent.name]),
    )


def _backwards(
    done: Done, entities: Mapping[str, Entity], wanted: str
) -> tuple[list[Command], list[Entity], list[Entity]]:
    """The commands that put everything back, what cannot be put back, and what is not known to have been how.

    `wanted`: `on` or `off`, for "turn that back off": so it shall be, however it was; empty: as it was.
    """
    verbs: dict[str, set[Verb]] = {}
    for outcome in done.changed:
        verbs.setdefault(outcome.command.entity_id, set()).add(outcome.command.verb)
    commands: list[Command] = []
    stays: list[Entity] = []
    unknown: list[Entity] = []
    for entity_id, did in verbs.items():
        entity = entities.get(entity_id)
        if entity is None:
            continue
        if wanted and "on_off" in entity.features:
            commands.append(Command(entity_id, "turn_off" if wanted == "off" else "turn_on"))
            continue
        back = restoring(entity, did, done.before.get(entity_id, State()))
        if back == "cannot":
            stays.append(entity)
        elif back == "unknown":
            unknown.append(entity)
        else:
            commands += back
    return commands, stays, unknown


def _why(intent: Intent, request: Request) -> Reply:
    """Of an entity that is named: what was last done to it. Else what was last done, or understood, at this place."""
    past = request.words.past
    if "name" in intent.slots:
        return _why_of(intent, request)
    turn = request.dialogue.last_turn
    done = request.deeds.last(request.context.place, request.context.area)
    if done is not None and done.cause.kind in ("rule", "program"):
        since = None if turn is None else request.now - turn.at
        if since is None or request.deeds.age_s(done) < since:
            return Reply(_because(done, request))
    if turn is None:
        return Reply(past.nothing_done())
    return Reply(past.heard(request.now - turn.at, turn.said, turn.area, turn.why, request.recorder.node))


def _why_of(intent: Intent, request: Request) -> Reply:
    targets = find_targets(intent, request)
    if not targets.entities:
        return Reply(targets.missing, "failed")
    entity = targets.entities[0]
    done = request.deeds.last_of(entity.id)
    text = request.words.past.not_me(entity.name) if done is None else _because(done, request, entity)
    return Reply(text, entities=(entity.id,))


def _because(done: Done, request: Request, entity: Entity | None = None) -> str:
    past, cause, age_s = request.words.past, done.cause, request.deeds.age_s(done)
    commands = [each.command for each in done.outcomes if entity is None or each.command.entity_id == entity.id]
    orders = _orders(commands, request)
    if cause.kind in ("rule", "program"):
        return past.not_said(age_s, cause.words, orders)
    if cause.kind == "undo":
        return past.undone(age_s, orders)
    why = past.after_yes(orders) if cause.confirmed else past.took_as(orders, cause.intents)
    return past.heard(age_s, cause.words, cause.area, why, cause.node)


def _orders(commands: Sequence[Command], request: Request) -> str:
    return request.words.deeds.orders(commands, request.home.entities)
