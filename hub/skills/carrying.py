"""Carries out commands as far as the policy allows: the rest is asked about, or refused with a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hub.deeds import Cause, CauseKind
from hub.dialogue import Question
from hub.home.entity import Command, Outcome
from hub.intent import Intent, Origin
from hub.skills.commands import as_intent, is_able, without_conflicts
from hub.skills.skill import Request

_KINDS: dict[Origin, CauseKind] = {"person": "words", "program": "program", "rule": "rule"}
_REACHED = {"unlock": "unlocked", "open": "open", "disarm": "disarmed"}


@dataclass(frozen=True)
class Carried:
    """What became of commands; each stands in one of these."""

    outcomes: tuple[Outcome, ...] = ()
    """Those that were carried out, or were tried."""
    asked: tuple[Command, ...] = ()
    """Not done: a person has to say yes first."""
    unattended: tuple[Command, ...] = ()
    """Not done: they need a yes, and whoever wants them is no person."""
    refused: tuple[Command, ...] = ()
    """Not done: a person forbade it."""
    already: tuple[Command, ...] = ()
    """Nothing to do, and so nothing to ask."""

    def outcomes_of(self, commands: Sequence[Command]) -> tuple[Outcome, ...]:
        """What became of these."""
        wanted = frozenset(commands)
        return tuple(outcome for outcome in self.outcomes if outcome.command in wanted)


async def carry_out(commands: Sequence[Command], request: Request, cause: Cause) -> Carried:
    """Do at once all of `commands` that may be done without a question, or all that may be done at all once the person
    said yes."""
    home, policy = request.home, request.policy
    sorted_out: dict[str, list[Command]] = {"do": [], "ask": [], "refuse": [], "already": []}
    failed: list[Outcome] = []
    for command in dict.fromkeys(without_conflicts(commands)):
        entity, state = home.entities.get(command.entity_id), home.state(command.entity_id)
        permission = "do" if entity is None else policy.permission(command, entity, state)
        if permission == "ask":
            assert entity is not None
            if request.confirmed:
                permission = "do"
            elif not is_able(entity, command):
                failed.append(Outcome(command, "unsupported", state))
                continue
            elif not state.available:
                # Not even tried: it might come back in this moment, and nobody was asked.
                failed.append(Outcome(command, "bus_down" if home.why_down else "unavailable", state))
                continue
        done_already = permission == "ask" and _REACHED.get(command.verb, state) == state.value
        sorted_out["already" if done_already else permission].append(command)
    asking = request.context.origin == "person"
    outcomes = await request.deeds.perform(sorted_out["do"], cause) if sorted_out["do"] else ()
    if any(outcome.result == "confirmed" for outcome in outcomes):
        request.recorder.mark("action_confirmed")
    return Carried(
        (*outcomes, *failed),
        asked=tuple(sorted_out["ask"]) if asking else (),
        unattended=() if asking else tuple(sorted_out["ask"]),
        refused=tuple(sorted_out["refuse"]),
        already=tuple(sorted_out["already"]),
    )


def not_done(carried: Carried, request: Request) -> list[str]:
    """Sentences about what was not even tried, without the question."""
    words, entities = request.words.deeds, request.home.entities
    said = [words.already(command, entities) for command in carried.already]
    if carried.refused:
        said.append(words.refused(carried.refused, entities))
    if carried.unattended:
        said.append(words.nobody_to_ask(carried.unattended, entities))
    return said


def may_i(carried: Carried, request: Request) -> Question | None:
    """The question whether to do the rest; None when there is none."""
    if not carried.asked:
        return None
    words = request.words.deeds
    return Question(
        words.may_i(carried.asked, request.home.entities),
        if_yes=tuple(as_intent(command) for command in carried.asked),
        if_no=words.left_alone(carried.asked),
        said=request.said,
    )


def cause_of(intents: Sequence[Intent], request: Request) -> Cause:
    """Why something is done now, for who asks later."""
    context = request.context
    return Cause(
        _KINDS[context.origin],
        place=context.place,
        words=context.cause or request.said,
        area=context.area,
        intents=tuple(dict.fromkeys(intent.name for intent in intents)),
        node=request.recorder.node,
        utterance_id=request.recorder.utterance_id,
        confirmed=request.confirmed,
    )
