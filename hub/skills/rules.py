"""Skill: sets, lists, explains, switches and deletes rules."""

from __future__ import annotations

from collections.abc import Sequence

from hub.answers import Wording
from hub.dialogue import Option, Question
from hub.intent import Intent
from hub.rules.due import next_due
from hub.rules.reading import Draft, NotRead
from hub.rules.rule import MAX_RULES, Action, AtTime, Rule, Say
from hub.rules.rules import Made, TooManyRules
from hub.skills.control import Control, plan_of
from hub.skills.skill import Home, Reply, Request
from hub.skills.targets import IT

MAKE = "MakeRule"
"""The sentence of this intent is the rule."""
_NUMBER, _ID = "rule_number", "rule_id"


class RuleSkill:
    """What people say about rules."""

    intents = frozenset({MAKE, "ListRules", "ExplainRule", "DisableRule", "EnableRule", "RemoveRule"})

    def abilities(self, home: Home, words: Wording) -> tuple[str, ...]:
        """As soon as there is a device."""
        return (words.talk.ability("rules"),) if home.entities else ()

    async def perform(self, intents: tuple[Intent, ...], request: Request) -> Reply:
        """One at a time; only for people."""
        words, intent = request.words.rules, intents[0]
        if intent.name not in ("ListRules", "ExplainRule") and request.context.origin != "person":
            return Reply(words.only_people(), "failed")
        if intent.name == MAKE:
            return await _make(intent, request)
        rules = request.rules.all()
        if intent.name == "ListRules" or not rules:
            return Reply(words.listing(rules, request.home.entities) if rules else words.none())
        wanted = str(intent.slots.get(_NUMBER, ""))
        found = _meant(intent, request)
        if len(found) > 1:
            options = tuple(
                Option(
                    (f"rule {rule.number}", str(rule.number)),
                    (Intent(intent.name, {_ID: rule.id}, intent.words),),
                )
                for rule in found
            )
            question = Question(words.which_rule(found), options=options, said=request.said)
            return Reply(question.text, question=question)
        return await _change(intent, found[0], request) if found else Reply(words.no_such(wanted), "failed")


def why_not(actions: Sequence[Action], request: Request) -> str:
    """Why no rule can do this, as a sentence; empty when it can. `request.context` is that of who makes the rule."""
    words, home = request.words.rules, request.home
    for action in actions:
        if isinstance(action, Say):
            continue
        if not all(intent.name in Control.intents for intent in action.intents):
            return words.only_devices(action.words)
        for intent in action.intents:
            if intent.slots.get("name") == IT:
                return words.which_device()
            plan = plan_of(intent, request)
            if plan.targets.rooms:
                return words.which_room()
            if plan.targets.missing or not plan.commands:
                return plan.targets.missing or words.which_device()
            for command in plan.commands:
                entity, state = home.entities[command.entity_id], home.state(command.entity_id)
                match request.policy.permission(command, entity, state):
                    case "ask":
                        return words.asks_first(request.words.deeds.orders([command], home.entities))
                    case "refuse":
                        return request.words.deeds.refused([command], home.entities)
    return ""


def read(sentence: str, request: Request) -> Draft | str:
    """The rule of a sentence, or a sentence that says why there is none."""
    words = request.words.rules
    draft = request.rules.read(sentence, request.context)
    if isinstance(draft, NotRead):
        return words.not_read(draft)
    hindrance = why_not(draft.actions, request)
    return words.not_made(hindrance) if hindrance else draft


async def _make(intent: Intent, request: Request) -> Reply:
    words = request.words.rules
    draft = read(intent.words, request)
    if isinstance(draft, str):
        return Reply(draft, "failed")
    try:
        (made,) = await request.rules.add([draft], request.context)
    except TooManyRules:
        return Reply(words.too_many(MAX_RULES), "failed")
    return Reply(told(made, request))


def told(made: Made, request: Request) -> str:
    """What is read back."""
    words, rule, entities = request.words.rules, made.rule, request.home.entities
    if made.existed:
        return words.exists(rule, entities)
    rooms = dict.fromkeys(action.room for action in rule.actions if isinstance(action, Say) and action.room)
    silent = [room for room in rooms if room != request.context.area and not request.satellites.in_area(room)]
    return words.made(rule, entities, saved=made.saved, silent=silent)


def explained(rule: Rule, request: Request) -> str:
    """Everything that is known of a rule."""
    now = request.local_time.timestamp()
    due = next_due(rule.trigger, now) if isinstance(rule.trigger, AtTime) else None
    return request.words.rules.explained(rule, request.home.entities, request.rules.ran(rule.id), next_due=due, now=now)


async def _change(intent: Intent, rule: Rule, request: Request) -> Reply:
    words, rules, entities = request.words.rules, request.rules, request.home.entities
    match intent.name:
        case "ExplainRule":
            return Reply(explained(rule, request))
        case "DisableRule" | "EnableRule":
            return Reply(words.switched(await rules.set_enabled(rule, intent.name == "EnableRule"), entities))
        case _ if request.confirmed:
            await rules.remove(rule)
            return Reply(words.removed(rule))
        case _:
            question = Question(
                words.remove_question(rule, entities),
                if_yes=(Intent(intent.name, {_ID: rule.id}, intent.words),),
                if_no=words.kept(),
                said=request.said,
            )
            return Reply(question.text, question=question)


def _meant(intent: Intent, request: Request) -> tuple[Rule, ...]:
    if _ID in intent.slots:
        rule = request.rules.get(str(intent.slots[_ID]))
        return (rule,) if rule is not None else ()
    if _NUMBER in intent.slots:
        return request.rules.find(str(int(float(intent.slots[_NUMBER]))))
    return request.rules.all()
