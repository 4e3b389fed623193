"""English sentences about what came of commands. Nothing is claimed that a device did not confirm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub.answers.english import counted, is_plural, listed, named, noun, place, sentence, the
from hub.answers.verbs import LACKS, Predicate, be, imperative, lacks, past, state_now
from hub.home.entity import Command, Entity, Outcome

Entities = Mapping[str, Entity]


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
        facts = [(each.command.entity_id, state_now(each, entities.get(each.command.entity_id))) for each in singles]
        done += _clauses(facts, entities)
        problems = [(each.command.entity_id, _problem(each, entities.get(each.command.entity_id))) for each in failed]
        not_done = _clauses(problems, entities, it=_only_subject(singles))
        if done and not_done:
            return sentence(f"{listed(done)}, but {listed(not_done)}")
        return sentence(listed(done or not_done))

    def unreachable(self, why: str) -> str:
        """No device at all; `why` without a full stop."""
        return sentence(f"I can't reach the devices right now: {why or 'the MQTT broker is down'}")

    def may_i(self, commands: Sequence[Command], entities: Entities) -> str:
        """Asks before any of this is done: `Unlock the front door?`"""
        return sentence(self.orders(commands, entities), "?")

    def left_alone(self, commands: Sequence[Command]) -> str:
        """The person said no."""
        if {command.verb for command in commands} == {"unlock"}:
            return "OK, I left it locked." if len(commands) == 1 else "OK, I left them locked."
        return "OK, I left it as it is." if len(commands) == 1 else "OK, I left them as they are."

    def already(self, command: Command, entities: Entities) -> str:
        """Nothing to do."""
        how = {"unlock": "unlocked", "open": "open", "disarm": "disarmed"}.get(command.verb, "so")
        return sentence(f"{the(entities[command.entity_id], entities)} is already {how}")

    def refused(self, commands: Sequence[Command], entities: Entities) -> str:
        """A person forbade it."""
        return sentence(f"I may not {self.orders(commands, entities)} by voice")

    def nobody_to_ask(self, commands: Sequence[Command], entities: Entities) -> str:
        """It needs a person's yes, and no person said this."""
        return sentence(f"I only {self.orders(commands, entities)} when a person says so and confirms it")

    def too_late(self, question: str) -> str:
        """A yes to a question of a while ago."""
        return f'I asked "{question}" too long ago. Please say it again.'

    def orders(self, commands: Sequence[Command], entities: Entities) -> str:
        """What was asked, inside a sentence: `unlock the front door and the back door, and turn on the fan`."""
        together: dict[str, list[Entity]] = {}
        for command in commands:
            entity = entities.get(command.entity_id) or Entity(command.entity_id, "", "a device that is gone")
            together.setdefault(imperative(command, "{}", unit=entity.unit), []).append(entity)
        return listed([pattern.replace("{}", named(things, entities)) for pattern, things in together.items()])

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
        can = LACKS[command.verb].replace("can't", "can")
        return f"None of the {noun(kind, 2)}{place(area)} {can}."


def _group_clauses(deed: Deed, confirmed: Sequence[Outcome]) -> list[str]:
    """`turned off 3 lights in the living room`, for each verb of the deed."""
    by_verb: dict[str, list[Outcome]] = {}
    for outcome in confirmed:
        by_verb.setdefault(past(outcome), []).append(outcome)
    where = place(deed.area)
    return [done.replace("{}", f"{counted(len(outcomes), deed.group)}{where}") for done, outcomes in by_verb.items()]


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


def _problem(outcome: Outcome, entity: Entity | None) -> Predicate:
    match outcome.result:
        case "unavailable":
            return be("offline")
        case "unsupported":
            said = lacks(outcome.command, entity)
            return said, said
        case "bus_down":
            return "could not be reached", "could not be reached"
        case _:
            return "did not answer", "did not answer"
