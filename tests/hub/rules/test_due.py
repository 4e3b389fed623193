"""When rules are due: times across clock changes, windows past midnight, states that begin to be so."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.home.entity import State
from hub.rules.due import GRACE_S, Change, due_now, fires, hindrance, next_due, passes
from hub.rules.rule import WEEKDAYS, AtTime, Between, IsSo, OnState, StateTest

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = tuple(
    map(ZoneInfo, ("Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC"))
)
DOOR = StateTest("door", ("on",))


def at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def shown(moment: float, zone: ZoneInfo = BERLIN) -> str:
    return datetime.fromtimestamp(moment, zone).isoformat(timespec="minutes")


@pytest.mark.parametrize(
    ("minute", "days", "after", "due"),
    [
        (420, (), "2026-11-21T06:59", "2026-11-21T07:00+01:00"),
        (420, (), "2026-11-21T07:00", "2026-11-22T07:00+01:00"),  # later than the moment itself
        (420, WEEKDAYS, "2026-11-21T06:59", "2026-11-23T07:00+01:00"),  # a Saturday
        (420, WEEKDAYS, "2026-11-20T07:30", "2026-11-23T07:00+01:00"),
        (420, (6,), "2026-11-22T07:00", "2026-11-29T07:00+01:00"),
        (0, (0,), "2026-11-22T23:59", "2026-11-23T00:00+01:00"),
        (1439, (), "2026-12-31T23:59", "2027-01-01T23:59+01:00"),
        (150, (), "2026-03-28T12:00", "2026-03-29T03:30+02:00"),  # 2:30 is left out: later by what the clock jumps
        (150, (), "2026-03-29T12:00", "2026-03-30T02:30+02:00"),
        (150, (), "2026-10-24T12:00", "2026-10-25T02:30+02:00"),  # 2:30 comes twice: the first counts
        (420, (), "2026-10-24T12:00", "2026-10-25T07:00+01:00"),
    ],
)
def test_next_time(minute: int, days: tuple[int, ...], after: str, due: str) -> None:
    assert shown(next_due(AtTime(minute, days), at(after), BERLIN)) == due


def test_time_that_comes_twice_is_due_once() -> None:
    first = next_due(AtTime(150), at("2026-10-25T00:00"), BERLIN)
    assert shown(next_due(AtTime(150), first, BERLIN)) == "2026-10-26T02:30+01:00"


@given(
    st.integers(0, 1439),
    st.sets(st.integers(0, 6)).map(lambda days: tuple(sorted(days))),
    st.integers(1_300_000_000, 1_900_000_000),
    st.sampled_from(ZONES),
)
def test_every_day_of_a_rule_has_one_time_and_none_is_left_out(
    minute: int, days: tuple[int, ...], start: int, zone: ZoneInfo
) -> None:
    trigger, now, seen = AtTime(minute, days), float(start), []
    for _ in range(15):
        due = next_due(trigger, now, zone)
        assert due > now
        # From any moment in between it is the same one.
        assert next_due(trigger, (now + due) / 2, zone) == due
        seen.append(due)
        now = due
    wall = [datetime.fromtimestamp(due, zone) for due in seen]
    steps = [(later.date() - earlier.date()).days for earlier, later in pairwise(wall)]
    assert max(steps) <= (1 if not days else 7) + 1  # and one more where a zone left a whole day out
    usual = [each for each in wall if each.hour * 60 + each.minute == minute]
    assert len(usual) >= 13
    assert not days or all(each.weekday() in days for each in usual)


def test_missed_time_is_made_up_for_within_some_minutes_and_not_later() -> None:
    seven, trigger = at("2026-11-23T07:00"), AtTime(420)
    assert due_now(trigger, seven - 60, seven - 1, BERLIN) is None
    assert due_now(trigger, seven - 60, seven, BERLIN) == seven
    assert due_now(trigger, seven - 60, seven + GRACE_S - 1, BERLIN) == seven
    assert due_now(trigger, seven - 60, seven + GRACE_S, BERLIN) is None
    assert due_now(trigger, 0.0, seven + 10, BERLIN) == seven  # a board without a battery got the time
    assert due_now(trigger, seven, seven + 10, BERLIN) is None  # looked at already
    assert due_now(trigger, seven + 3600, seven, BERLIN) is None  # the clock was set back


@pytest.mark.parametrize(
    ("before", "after", "starts"),
    [
        (State(value="off"), State(value="on"), True),
        (State(value="on"), State(value="on"), False),
        (State(), State(value="on"), False),  # heard for the first time
        (State(value="off"), State(value="on", available=False), False),
        (State(value="on"), State(value="off"), False),
    ],
)
def test_state_starts_a_rule_when_it_begins_to_be_so(before: State, after: State, starts: bool) -> None:
    assert fires(OnState(DOOR), Change("door", before, after)) is starts
    assert not fires(OnState(DOOR), Change("window", before, after))


def test_limit_starts_a_rule_when_it_is_passed() -> None:
    warm = OnState(StateTest("sensor", above=25.0))

    def starts(before: str, after: str) -> bool:
        return fires(warm, Change("sensor", State(value=before), State(value=after)))

    assert starts("25.0", "25.1")
    assert not starts("25.1", "26")
    assert not starts("26", "24")
    assert not starts("nan", "26")
    assert not starts("unknown", "26")
    assert passes(StateTest("t", below=18.0, quantity="temperature"), State(current_temperature=17.5)) is True
    assert passes(StateTest("t", above=60.0, quantity="humidity"), State()) is None
    assert passes(StateTest("t", ("off",)), State(mode="off")) is True


def test_event_starts_a_rule_each_time() -> None:
    rings, other = OnState(StateTest("bell")), OnState(StateTest("bell", ("held",)))
    once, twice = State(value="ring", events=1), State(value="ring", events=2)
    assert fires(rings, Change("bell", State(), once))
    assert fires(rings, Change("bell", once, twice))
    assert not fires(other, Change("bell", once, twice))
    assert not fires(rings, Change("bell", twice, State(value="ring", events=2, speed=1)))


@pytest.mark.parametrize(
    ("window", "now", "within"),
    [
        (Between(600, 720), "2026-11-21T10:00", True),
        (Between(600, 720), "2026-11-21T12:00", False),
        (Between(1320, 300), "2026-11-21T22:00", True),
        (Between(1320, 300), "2026-11-21T04:59", True),
        (Between(1320, 300), "2026-11-21T05:00", False),
        (Between(1320, 300, WEEKDAYS), "2026-11-21T01:00", True),  # Saturday, in the night of Friday
        (Between(1320, 300, WEEKDAYS), "2026-11-21T23:00", False),
        (Between(1320, 300, WEEKDAYS), "2026-11-23T01:00", False),  # Monday, in the night of Sunday
        (Between(0, 0, (5,)), "2026-11-21T15:00", True),
        (Between(0, 0, (5,)), "2026-11-22T15:00", False),
    ],
)
def test_parts_of_the_day(window: Between, now: str, within: bool) -> None:
    assert (hindrance([window], at(now), lambda _: State(), BERLIN) is None) is within


def test_conditions_on_states() -> None:
    states = {"door": State(value="on"), "gone": State(available=False)}

    def holds(*conditions: IsSo) -> bool:
        return hindrance(conditions, 0.0, states.__getitem__, BERLIN) is None

    assert holds(IsSo(DOOR))
    assert not holds(IsSo(DOOR, negated=True))
    gone = StateTest("gone", ("on",))
    assert not holds(IsSo(gone)) and not holds(IsSo(gone, negated=True))
    assert not holds(IsSo(DOOR), IsSo(gone))


def test_machines_own_zone_is_meant_without_one() -> None:
    due = datetime.fromtimestamp(next_due(AtTime(421), datetime.now().timestamp()))
    assert (due.hour, due.minute) == (7, 1)
    assert due - datetime.now() <= timedelta(days=1, hours=2)
