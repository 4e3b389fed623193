"""English sentences about rules: what was understood, what there is, why something was done or was not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from hub.answers.english import article, clock, is_plural, listed, number, place, sentence, the, weekday, with_unit
from hub.answers.states import StateWords
from hub.home.entity import Entity
from hub.rules.reading import NotRead
from hub.rules.rule import (
    WEEKDAYS,
    WEEKEND,
    Action,
    AtTime,
    Between,
    Condition,
    Days,
    Do,
    Ran,
    Rule,
    StateTest,
    entities_of,
)

Entities = Mapping[str, Entity]
_WORDS = StateWords()
MOST_TOLD = 5
"""Rules that are listed in one answer; more are only counted."""


class RuleWords:
    """Everything about rules. `entities` are those of the home now."""

    # ---- a rule in words

    def told(self, rule: Rule, entities: Entities) -> str:
        """What will be done: `Every weekday at 7 AM I will turn on the bedroom lights.`"""
        return sentence(f"{self._when(rule, entities)} I will {_deeds(rule.actions)}")

    def short(self, rule: Rule, entities: Entities) -> str:
        """The same inside a sentence, or in a list: `every weekday at 7 AM turn on the bedroom lights`."""
        return f"{self._when(rule, entities)} {_deeds(rule.actions)}"

    def cause(self, rule: Rule, entities: Entities) -> str:
        """To follow "because of": `rule 2, "every weekday at 7 AM turn on the bedroom lights"`."""
        return f'rule {rule.number}, "{self.short(rule, entities)}"'

    def happened(self, rule: Rule, entities: Entities) -> str:
        """What started the rule, to be said aloud: `The front door is open.`"""
        if isinstance(rule.trigger, AtTime):
            return sentence(f"it is {clock(rule.trigger.minute)}")
        return sentence(f"{_name(rule.trigger.test, rule, entities)} {_state(rule.trigger.test, entities)}")

    def _when(self, rule: Rule, entities: Entities) -> str:
        if isinstance(rule.trigger, AtTime):
            start = f"{_days(rule.trigger.days)} at {clock(rule.trigger.minute)}"
        else:
            test = rule.trigger.test
            start = f"when {_name(test, rule, entities)} {_event(test, entities)}"
        conditions = [self.condition(each, rule, entities) for each in rule.conditions]
        return f"{start}, {', '.join(conditions)}," if conditions else start

    def condition(self, condition: Condition, rule: Rule, entities: Entities) -> str:
        """`between 10 PM and 5 AM`, `if the kitchen window is closed`."""
        if isinstance(condition, Between):
            hours = f"between {clock(condition.start)} and {clock(condition.end)}"
            days = f"on {_days(condition.days).removeprefix('every ')}s" if condition.days else ""
            if len(condition.days) > 1 and condition.days not in (WEEKDAYS, WEEKEND):
                days = f"on {listed([weekday(day) for day in condition.days])}"
            return hours if not days else days if condition.start == condition.end else f"{hours} {days}"
        word = "unless" if condition.negated else "if"
        return f"{word} {_name(condition.test, rule, entities)} {_state(condition.test, entities)}"

    # ---- making rules

    def made(self, rule: Rule, entities: Entities, *, saved: bool, silent: Sequence[str]) -> str:
        """Read back, so that a mistake is heard. `silent`: rooms in which nobody would hear it now."""
        said = f"Rule {rule.number}: {self.told(rule, entities)}"
        for room in silent:
            said += f" There is no satellite in {article(room)} now."
        return said if saved else f"{said} I could not save it: it is lost when I am switched off."

    def exists(self, rule: Rule, entities: Entities) -> str:
        """The same again."""
        again = "" if rule.enabled else " It is switched off."
        return f"That is rule {rule.number} already: {self.told(rule, entities)}{again}"

    def not_read(self, problem: NotRead) -> str:
        """What of a sentence was not understood."""
        what = problem.what.strip().rstrip(".")[:120]
        match problem.why:
            case "action":
                return f'I made no rule: I don\'t know how to do "{what}".'
            case "trigger":
                return f'I made no rule: I don\'t understand "{what}".'
            case "days":
                return f"I made no rule: say on which days, such as: every day at {what}."
            case "several":
                return f'I made no rule: there are several that "{what}" could be. Say the room too.'
            case "cannot_tell":
                return f'I made no rule: no device tells me "{what}".'
            case "nothing_to_say":
                return "I made no rule: I don't know what to say then."
            case "too_long":
                return "I made no rule: that is too long for one."
            case "no_rule":
                return (
                    'That is no rule. Say when and what, such as: "every weekday at seven turn on the bedroom lights", '
                    'or "when the kitchen window opens turn off the heating".'
                )

    def not_made(self, why: str) -> str:
        """It was understood and is not possible; `why` is a sentence."""
        return f"I made no rule. {why}"

    def only_devices(self, words: str) -> str:
        """A rule's action that is neither a command to devices nor something to say."""
        return f'A rule can only control devices and say something, not "{words[:100]}".'

    def which_device(self) -> str:
        """ "It" means nothing in a rule."""
        return "Say which device."

    def which_room(self) -> str:
        """ "Turn on the lights", and nobody knows where."""
        return "Say in which room."

    def asks_first(self, what: str) -> str:
        """What is never done without a person's yes."""
        return f"I always ask before I {what}, and a rule can't ask."

    def only_people(self) -> str:
        """A program wants to set or change a rule."""
        return "Only people set and change rules."

    def too_many(self, most: int) -> str:
        """Full."""
        return f"I made no rule: there are {most} already."

    # ---- changing and listing them

    def none(self) -> str:
        """Not one."""
        return 'There are no rules. Say, for example: "every weekday at seven turn on the bedroom lights".'

    def listing(self, rules: Sequence[Rule], entities: Entities) -> str:
        """All, or the first few and how many there are."""
        said = [f"There {'is' if len(rules) == 1 else 'are'} {counted_rules(len(rules))}."]
        for rule in rules[:MOST_TOLD]:
            off = "" if rule.enabled else ", which is switched off"
            said.append(f"Rule {rule.number}{off}: {sentence(self.short(rule, entities))}")
        if len(rules) > MOST_TOLD:
            said.append("The others are in mycoswarm rules.")
        return " ".join(said)

    def no_such(self, wanted: str) -> str:
        """A number, id or description that no rule has."""
        return f"There is no rule {wanted[:60]}." if wanted else "Say the number of the rule."

    def which_rule(self, rules: Sequence[Rule]) -> str:
        """Several fit."""
        return f"Which one: {listed([f'rule {rule.number}' for rule in rules[:6]], 'or')}?"

    def switched(self, rule: Rule, entities: Entities) -> str:
        """Disabled or enabled."""
        state = "on" if rule.enabled else "off"
        return f"Rule {rule.number} is switched {state}: {sentence(self.short(rule, entities))}"

    def remove_question(self, rule: Rule, entities: Entities) -> str:
        """Asks before a rule is deleted."""
        return f"Delete rule {rule.number}, {self.short(rule, entities)}?"

    def removed(self, rule: Rule) -> str:
        """Gone."""
        return f"Rule {rule.number} is deleted."

    def kept(self) -> str:
        """The person said no."""
        return "OK, I kept it."

    # ---- explaining

    def explained(self, rule: Rule, entities: Entities, ran: Ran | None, *, next_due: float | None, now: float) -> str:
        """What it does, when it did it last and what came of it, what is missing, when it is due again."""
        said = [f"Rule {rule.number}: {self.told(rule, entities)}"]
        if not rule.enabled:
            said.append("It is switched off.")
        said += [self.missing(rule, entities)] if self.missing(rule, entities) else []
        if ran is None:
            said.append("It has done nothing yet that I know of.")
        else:
            said.append(sentence(f"it ran last {_moment(ran.at, now)}") + (f" {ran.told}" if ran.told else ""))
        if next_due is not None and rule.enabled:
            said.append(sentence(f"next time: {_moment(next_due, now)}"))
        return " ".join(said)

    def missing(self, rule: Rule, entities: Entities) -> str:
        """Which of its devices are gone; empty when all are there."""
        gone = dict.fromkeys(each for each in entities_of(rule) if each not in entities)
        names = [article(rule.names.get(each, each)) for each in gone]
        if not names:
            return ""
        return sentence(f"{listed(names)} {'is' if len(names) == 1 else 'are'} not there any more")

    def nobody_heard(self, room: str) -> str:
        """It was to be said, and there was no satellite."""
        return f"No satellite was there to say it{place(room)}."

    def said(self, text: str, room: str) -> str:
        """What was said, for explanations."""
        return f'I said "{text}"{place(room) or " everywhere"}.'


def counted_rules(count: int) -> str:
    """`1 rule`, `3 rules`."""
    return f"{count} rule{'' if count == 1 else 's'}"


def _deeds(actions: Sequence[Action]) -> str:
    said = []
    for action in actions:
        if isinstance(action, Do):
            said.append(action.words)
        else:
            what = f'say "{action.text}"' if action.text else "say so"
            said.append(f"{what}{place(action.room) or ' everywhere'}")
    return listed(said)


def _days(days: Days) -> str:
    match days:
        case ():
            return "every day"
        case _ if days == WEEKDAYS:
            return "every weekday"
        case _ if days == WEEKEND:
            return "every weekend day"
        case _:
            return f"every {listed([weekday(day) for day in days])}"


def _name(test: StateTest, rule: Rule, entities: Entities) -> str:
    entity = entities.get(test.entity)
    name = the(entity, entities) if entity is not None else article(rule.names.get(test.entity, test.entity))
    return name if test.quantity == "value" else f"the {test.quantity} of {name}"


def _event(test: StateTest, entities: Entities) -> str:
    """`opens`, `turns on`, `goes above 25 °C`; of several things `open`."""
    entity = entities.get(test.entity)
    said = _event_of_one(test, entity)
    if entity is None or test.quantity != "value" or not is_plural(entity):
        return said
    verb, _, rest = said.partition(" ")
    many = {"is": "are", "goes": "go"}.get(verb, verb.removesuffix("s"))
    return f"{many} {rest}".strip()


def _event_of_one(test: StateTest, entity: Entity | None) -> str:
    if test.above is not None or test.below is not None:
        return f"goes {_limit(test, entity)}"
    if not test.values:
        return {"doorbell": "rings", "motion": "detects motion"}.get(
            entity.device_class if entity else "", "is pressed"
        )
    kind, value = (entity.component if entity else ""), test.values[0]
    if kind in ("cover", "valve"):
        return "opens" if value == "open" else "closes"
    if kind == "binary_sensor" and entity is not None:
        word = _WORDS.state_word("", value, entity)
        verbs = {"open": "opens", "closed": "closes", "detecting motion": "detects motion", "on": "turns on"}
        return verbs.get(word, "turns off" if word == "off" else f"becomes {word}")
    if value in ("on", "off"):
        return f"turns {value}"
    return f"is {value}" if value in ("locked", "unlocked") else f"becomes {value}"


def _state(test: StateTest, entities: Entities) -> str:
    """`is open`, `is above 25 °C`; of several things `are open`."""
    entity = entities.get(test.entity)
    said = _state_of_one(test, entity)
    many = entity is not None and test.quantity == "value" and is_plural(entity)
    return f"are{said[2:]}" if many and said.startswith("is ") else said


def _state_of_one(test: StateTest, entity: Entity | None) -> str:
    if test.above is not None or test.below is not None:
        return f"is {_limit(test, entity)}"
    if not test.values:
        return _event_of_one(test, entity)
    if entity is not None and entity.component == "binary_sensor":
        return f"is {_WORDS.state_word('', test.values[0], entity)}"
    return f"is {test.values[0]}"


def _limit(test: StateTest, entity: Entity | None) -> str:
    limit = test.above if test.above is not None else test.below
    assert limit is not None
    unit = "%" if test.quantity == "humidity" else entity.unit if entity is not None else ""
    return f"{'above' if test.above is not None else 'below'} {with_unit(number(limit), unit)}"


def _moment(at: float, now: float) -> str:
    """`today at 7:05 AM`, `tomorrow at 7 AM`, `on Monday at noon`, `on November 3 at 7 AM`."""
    then, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now).date()
    days = (then.date() - today).days
    near = {0: "today", 1: "tomorrow", -1: "yesterday"}
    day = near.get(days) or (f"on {weekday(then.weekday())}" if abs(days) < 7 else f"on {then:%B} {then.day}")
    return f"{day} at {clock(then.hour * 60 + then.minute)}"
