"""A rule: what starts it, what has to be so besides, and what is done then.

Kept as it was understood when it was made, with the ids of the devices: what was read back to the person is what is
done, also when a device gets another name or the hub learns to understand more. What is gone is said to be gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from hub.intent import Intent

MAX_RULES = 100
"""Of a home."""
MAX_CONDITIONS = 6
MAX_WORDS = 500
"""Characters of one rule."""

Minute = Annotated[int, msgspec.Meta(ge=0, le=1439)]
"""Of the day, by the clock on the wall."""
Day = Annotated[int, msgspec.Meta(ge=0, le=6)]
"""0 is Monday."""
Days = tuple[Day, ...]
"""In order; empty means every day."""
Quantity = Literal["value", "temperature", "humidity"]
"""What of a state is looked at; temperature and humidity as a thermostat measures them."""

WEEKDAYS: Days = (0, 1, 2, 3, 4)
WEEKEND: Days = (5, 6)


class StateTest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether an entity is in a state: one of `values`, or over `above`, or under `below`; with none of them in any."""

    entity: str
    """Its id."""
    values: tuple[str, ...] = ()
    """As `hub.home.entity.State.value` has them."""
    above: float | None = None
    below: float | None = None
    quantity: Quantity = "value"


class AtTime(msgspec.Struct, frozen=True, tag="time", omit_defaults=True):
    """At a time of the day."""

    minute: Minute
    days: Days = ()


class OnState(msgspec.Struct, frozen=True, tag="state"):
    """At the moment in which a test begins to be true."""

    test: StateTest


class Between(msgspec.Struct, frozen=True, tag="between", omit_defaults=True):
    """Only from `start` to before `end`; past midnight when `end` is earlier, the whole day when they are the same.
    What begins on one of `days` belongs to that day until its end."""

    start: Minute
    end: Minute
    days: Days = ()


class IsSo(msgspec.Struct, frozen=True, tag="is", omit_defaults=True):
    """Only while a test is true; with `negated` while it is false. What is not known is neither."""

    test: StateTest
    negated: bool = False


class Do(msgspec.Struct, frozen=True, tag="do"):
    """What a person could have said."""

    intents: tuple[Intent, ...]
    words: str


class Say(msgspec.Struct, frozen=True, tag="say", omit_defaults=True):
    """Say something in a room, or everywhere when it names none."""

    text: str = ""
    """Empty: what has happened."""
    room: str = ""


Trigger = AtTime | OnState
Condition = Between | IsSo
Action = Do | Say


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule as it is stored."""

    id: str
    number: int
    """What people call it. Where two hubs that did not see each other gave the same number, the id tells them apart."""
    words: str
    """As the person said it."""
    trigger: Trigger
    actions: Annotated[tuple[Action, ...], msgspec.Meta(min_length=1, max_length=6)]
    conditions: Annotated[tuple[Condition, ...], msgspec.Meta(max_length=MAX_CONDITIONS)] = ()
    names: dict[str, str] = {}
    """What its entities were called when it was made, by id: to say which one is gone."""
    area: str = ""
    """The room in which it was said: "turn on the lights" means those there."""
    language: str = "en"
    enabled: bool = True
    made_at: float = 0.0
    """Unix seconds."""


class Ran(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last time that a rule did something."""

    at: float
    """Unix seconds."""
    due: float = 0.0
    """Of a time trigger: the time that it was for."""
    told: str = ""
    """What came of it; empty while it is under way."""
    done: bool = False


def entities_of(rule: Rule) -> Iterator[str]:
    """Ids of all entities that a rule names, some of them perhaps twice."""
    if isinstance(rule.trigger, OnState):
        yield rule.trigger.test.entity
    for condition in rule.conditions:
        if isinstance(condition, IsSo):
            yield condition.test.entity
    for action in rule.actions:
        if isinstance(action, Do):
            yield from (str(intent.slots["name"]) for intent in action.intents if "name" in intent.slots)
