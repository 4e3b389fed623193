"""When a rule is due, and whether it may do what it says. Pure: times are Unix seconds, `zone` None is the machine's.

Times of the day are those of the clock on the wall. Where it jumps, as RFC 5545 (3.3.5) has it: a time that is left out
comes as much later as the clock jumped; of a time that comes twice the first counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

from hub.home.entity import State
from hub.rules.rule import AtTime, Between, Condition, OnState, StateTest

GRACE_S = 300.0
"""A time that was missed by less is made up for: the hub was starting, another one took over, the clock was set."""
GAP_S = 10.0
"""A rule that a state starts does so once in this time. If it is started again sooner, it looks once more at the end,
and acts if what started it is still so: rules that start each other go round no faster, and the last state counts."""


@dataclass(frozen=True)
class Change:
    """An entity's state became another one."""

    entity: str
    before: State
    after: State


def next_due(trigger: AtTime, after: float, zone: tzinfo | None = None) -> float:
    """The first time later than `after`."""
    today = datetime.fromtimestamp(after, zone).date()
    clock = time(*divmod(trigger.minute, 60))
    for ahead in range(-1, 9):  # from yesterday on: a clock may jump over midnight
        day = today + timedelta(days=ahead)
        if trigger.days and day.weekday() not in trigger.days:
            continue
        due = datetime.combine(day, clock, zone).timestamp()
        if due > after:
            return due
    raise AssertionError("every week has each of its days")


def due_now(trigger: AtTime, since: float, now: float, zone: tzinfo | None = None) -> float | None:
    """The latest time after `since` (when somebody looked last) that is due at `now` and was not missed by more than
    `GRACE_S`; None when there is none."""
    due, found = next_due(trigger, max(min(since, now), now - GRACE_S), zone), None
    while due <= now:
        found, due = due, next_due(trigger, due, zone)
    return found


def fires(trigger: OnState, change: Change) -> bool:
    """Whether the change starts the rule: from a state that was known and did not pass the test to one that does. A
    device that is heard for the first time starts nothing."""
    if change.entity != trigger.test.entity:
        return False
    if change.after.events is not None:  # what happened may be the same as before, and has happened again
        return change.after.events != change.before.events and passes(trigger.test, change.after) is True
    return passes(trigger.test, change.before) is False and passes(trigger.test, change.after) is True


def passes(test: StateTest, state: State) -> bool | None:
    """Whether the state passes the test; None when that is not known."""
    if not state.available:
        return None
    if test.above is None and test.below is None:
        value = state.mode if state.value is None else state.value
        return None if value is None else not test.values or value.casefold() in test.values
    number = _number(test, state)
    if number is None:
        return None
    return (test.above is None or number > test.above) and (test.below is None or number < test.below)


def hindrance(
    conditions: Iterable[Condition], now: float, state_of: Callable[[str], State], zone: tzinfo | None = None
) -> Condition | None:
    """The first condition that does not hold; None when all do."""
    for condition in conditions:
        if isinstance(condition, Between):
            if not _within(condition, datetime.fromtimestamp(now, zone)):
                return condition
        else:
            passed = passes(condition.test, state_of(condition.test.entity))
            if passed is None or passed is condition.negated:
                return condition
    return None


def _within(window: Between, local: datetime) -> bool:
    minute, day = local.hour * 60 + local.minute, local.weekday()
    if window.start < window.end:
        inside = window.start <= minute < window.end
    elif window.start == window.end:
        inside = True
    else:
        inside = minute >= window.start or minute < window.end
        day = day if minute >= window.start else (day - 1) % 7
    return inside and (not window.days or day in window.days)


def _number(test: StateTest, state: State) -> float | None:
    match test.quantity:
        case "temperature":
            found = state.current_temperature
        case "humidity":
            found = state.current_humidity
        case _:
            try:
                found = float(state.value) if state.value is not None else None
            except ValueError:
                found = None
    return found if found is not None and math.isfinite(found) else None
