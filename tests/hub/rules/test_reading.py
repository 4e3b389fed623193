"""Which sentences are rules, what they mean, and what is said of those that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.answers import wording
from hub.home.entity import Entity
from hub.intent import Context
from hub.rules.english import time_of_day, window_of
from hub.rules.reading import Draft, NotRead, RuleReader
from hub.rules.rule import WEEKDAYS, WEEKEND, AtTime, Between, Do, IsSo, OnState, Rule, Say, StateTest
from hub.understanding import Understanding
from tests.hub.a_home import AREAS, ENTITIES

_MORE = (
    Entity("binary_sensor.kitchen_window", "binary_sensor", "Kitchen window", "Kitchen", device_class="window"),
    Entity("binary_sensor.front", "binary_sensor", "Front door", "Hallway", device_class="door"),
    Entity("binary_sensor.hall_motion", "binary_sensor", "Motion sensor", "Hallway", device_class="motion"),
    Entity("sensor.bath", "sensor", "Bathroom humidity", "Bathroom", device_class="humidity", unit="%"),
    Entity("event.bell", "event", "Doorbell", "Hallway", device_class="doorbell"),
    Entity("vacuum.robby", "vacuum", "Robby", "Kitchen"),
    Entity("light.twin_a", "light", "Reading light", "Bedroom"),
    Entity("light.twin_b", "light", "Reading light", "Living room"),
)
HOME = {**ENTITIES, **{entity.id: entity for entity in _MORE}}
ROOMS = (*AREAS, "Bathroom")
READER = RuleReader(HOME, ROOMS, Understanding(HOME, ROOMS).understand)
TYPED = Context()
IN_THE_KITCHEN = Context("kitchen", "Kitchen")


def draft(text: str, context: Context = TYPED) -> Draft:
    found = READER.read(text, context)
    assert isinstance(found, Draft), found
    assert READER.is_rule(text, context)
    return found


def read_back(text: str, context: Context = TYPED) -> str:
    found = draft(text, context)
    rule = Rule("id", 1, found.words, found.trigger, found.actions, found.conditions, dict(found.names))
    return wording("en").rules.told(rule, HOME)


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        (
            "every weekday at seven turn on the bedroom lights",
            "Every weekday at 7 AM I will turn on the bedroom lights.",
        ),
        (
            "Every weekday, turn on the bedroom lamp at 7:15.",
            "Every weekday at 7:15 AM I will turn on the bedroom lamp.",
        ),
        ("turn off all the lights every night at eleven", "Every day at 11 PM I will turn off all the lights."),
        (
            "at half past six on weekends open the living room blinds",
            "Every weekend day at 6:30 AM I will open the living room blinds.",
        ),
        (
            "on weekdays at 19:30 dim the living room lamp to twenty percent",
            "Every weekday at 7:30 PM I will dim the living room lamp to twenty percent.",
        ),
        (
            'every monday and thursday at quarter to eight pm say "Put the bins out" everywhere',
            'Every Monday and Thursday at 7:45 PM I will say "Put the bins out" everywhere.',
        ),
        (
            "every day at noon turn on the coffee machine and say lunch is ready in the kitchen",
            'Every day at noon I will turn on the coffee machine and say "lunch is ready" in the kitchen.',
        ),
        (
            "from monday to friday at six a.m. turn on the coffee machine",
            "Every weekday at 6 AM I will turn on the coffee machine.",
        ),
        (
            "every day at seven if the kitchen window is not open turn on the kitchen lamp",
            "Every day at 7 AM, unless the kitchen window is open, I will turn on the kitchen lamp.",
        ),
        (
            "when the front door opens after ten say so in the office",
            "When the front door opens, between 10 PM and 5 AM, I will say so in the office.",
        ),
        (
            "turn on the hallway light when the front door opens between ten and six",
            "When the front door opens, between 10 PM and 6 AM, I will turn on the hallway light.",
        ),
        (
            "if the kitchen window opens on weekdays after ten pm say so",
            "When the kitchen window opens, between 10 PM and 5 AM on weekdays, I will say so everywhere.",
        ),
        (
            "when the kitchen window opens, turn off the bedroom fan and tell me",
            "When the kitchen window opens I will turn off the bedroom fan and say so everywhere.",
        ),
        (
            "tell me in the office when the living room temperature rises above 25 degrees",
            "When the living room temperature goes above 25 I will say so in the office.",
        ),
        (
            "as soon as the bathroom humidity goes above seventy percent turn on the bedroom fan",
            "When the bathroom humidity goes above 70% I will turn on the bedroom fan.",
        ),
        (
            "when the humidity in the bathroom drops below 50 % turn off the bedroom fan",
            "When the bathroom humidity goes below 50% I will turn off the bedroom fan.",
        ),
        (
            "when there is motion in the hallway at night turn on the hallway light",
            "When the motion sensor detects motion, between 10 PM and 6 AM, I will turn on the hallway light.",
        ),
        (
            "when the front door is unlocked say hello",
            'When the front door in the hallway is unlocked I will say "hello" everywhere.',
        ),
        ("when the doorbell rings say so in the kitchen", "When the doorbell rings I will say so in the kitchen."),
        (
            "when Robby becomes docked turn off the kitchen lamp",
            "When the robby becomes docked I will turn off the kitchen lamp.",
        ),
        (
            "when the front door opens unless the hallway light is on turn on the hallway light",
            "When the front door in the hallway opens, unless the hallway light is on, I will turn on the hallway light.",  # noqa: E501
        ),
    ],
)
def test_what_is_understood_is_read_back(said: str, understood: str) -> None:
    plain = read_back(said).replace("front door in the hallway", "front door")
    assert plain == understood.replace("front door in the hallway", "front door")


def test_parts_of_a_rule() -> None:
    found = draft("when the front door opens after ten on weekdays, turn on the hallway light and say so in the office")
    assert found.trigger == OnState(StateTest("binary_sensor.front", ("on",)))
    assert found.conditions == (Between(22 * 60, 5 * 60, WEEKDAYS),)
    first, second = found.actions
    assert isinstance(first, Do)
    assert [intent.slots["name"] for intent in first.intents] == ["light.hallway_light"]
    assert second == Say(room="Office")
    assert found.names == {"binary_sensor.front": "Front door", "light.hallway_light": "Hallway light"}
    found = draft("every saturday and sunday at 8 am if the living room blinds are closed open the living room blinds")
    assert found.trigger == AtTime(480, WEEKEND)
    assert found.conditions == (IsSo(StateTest("cover.living_room_blinds", ("closed",))),)


def test_without_a_room_it_is_said_where_the_rule_was_made() -> None:
    assert draft("when the kitchen window opens tell me", IN_THE_KITCHEN).actions == (Say(room="Kitchen"),)
    assert draft("when the kitchen window opens tell everyone", IN_THE_KITCHEN).actions == (Say(),)
    assert draft("when the kitchen window opens say so everywhere", IN_THE_KITCHEN).actions == (Say(),)


def test_words_that_are_to_be_said_keep_their_capitals_and_their_ands() -> None:
    (action,) = draft("Every day at 7 PM say: Dinner for Anna and Bob is ready").actions
    assert action == Say("Dinner for Anna and Bob is ready")


@pytest.mark.parametrize(
    ("said", "why", "what"),
    [
        ("when the blorb opens turn on the kitchen lamp", "trigger", "when the blorb opens"),
        ("turn on the kitchen lamp whenever the blorb opens", "trigger", "whenever the blorb opens"),
        ("every weekday at seven do the blorb", "action", "do the blorb"),
        ("when the front door opens or closes say so", "action", "or closes say so"),
        ("at seven turn on the kitchen lamp", "days", "seven"),
        ("turn on the kitchen lamp at half past seven", "days", "half past seven"),
        ("every day at seven tell me", "nothing_to_say", ""),
        ("when the movie night opens turn on the kitchen lamp", "cannot_tell", "the movie night opens"),
        ("when the kitchen lamp opens turn on the coffee machine", "cannot_tell", "the kitchen lamp opens"),
        ("when the reading light turns on turn on the kitchen lamp", "several", "the reading light"),
        ("every monday i go swimming", "no_rule", ""),
        ("when is my birthday", "no_rule", ""),
        ("what is the temperature in the kitchen", "no_rule", ""),
        ("turn on the kitchen lamp", "no_rule", ""),
        ("x" * 5000, "too_long", ""),
    ],
)
def test_what_is_no_rule_says_what_was_not_understood(said: str, why: str, what: str) -> None:
    assert READER.read(said, TYPED) == NotRead(why, what)  # type: ignore[arg-type]
    assert READER.is_rule(said, TYPED) == (why not in ("no_rule", "too_long"))
    assert wording("en").rules.not_read(NotRead(why, what))  # type: ignore[arg-type]


def test_room_tells_one_of_two_things_with_the_same_name() -> None:
    found = draft("when the reading light in the bedroom turns on turn on the kitchen lamp")
    assert found.trigger == OnState(StateTest("light.twin_a", ("on",)))
    found = draft("when the reading light turns on turn on the kitchen lamp", Context("sofa", "Living room"))
    assert found.trigger == OnState(StateTest("light.twin_b", ("on",)))


@pytest.mark.parametrize(
    ("text", "minute"),
    [
        ("seven", 420),
        ("five", 1020),
        ("twelve", 720),
        ("noon", 720),
        ("midnight", 0),
        ("7:30", 450),
        ("07:30", 450),
        ("19:30", 1170),
        ("seven thirty", 450),
        ("seven thirty pm", 1170),
        ("7pm", 1140),
        ("12 am", 0),
        ("12 pm", 720),
        ("half past six", 390),
        ("quarter to eight", 465),
        ("a quarter past nine pm", 1275),
        ("ten past seven", 430),
        ("eight o'clock", 480),
        ("eight o'clock in the evening", 1200),
        ("eleven at night", 1380),
        ("oh", -1),
        ("two at night", 120),
        ("seven oh five", 425),
        ("twenty five past six", 385),
        ("quarter to one", 765),
    ],
)
def test_times_of_the_day(text: str, minute: int) -> None:
    if minute >= 0:
        assert time_of_day(text) == minute


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("after ten", 1320, 300),
        ("after ten in the morning", 600, 0),
        ("before seven", 0, 420),
        ("between ten and six", 1320, 360),
        ("between nine and five pm", 540, 1020),
        ("between eight and twelve", 1200, 0),
        ("between ten and six am", 1320, 360),
        ("between 22:00 and 06:00", 1320, 360),
        ("at night", 1320, 360),
        ("after midnight", 0, 300),
        ("but only between noon and midnight", 720, 0),
        ("from seven to nine pm", 1140, 1260),
    ],
)
def test_parts_of_the_day(text: str, start: int, end: int) -> None:
    assert window_of(text) == Between(start, end)


@pytest.mark.parametrize(
    ("said", "awaits"),
    [
        ("every weekday at seven", True),
        ("when the front door opens", True),
        ("when the front door opens after ten", True),
        ("when the front door", False),
        ("every weekday at seven turn on the kitchen lamp", False),
        ("turn on the kitchen lamp", False),
    ],
)
def test_beginning_of_a_rule_waits_for_what_is_to_be_done(said: str, awaits: bool) -> None:
    assert READER.awaits_action(said, TYPED) == awaits


_SAID = (
    "every each weekday day at seven when whenever the front door opens is after ten say so in office turn on off "
    "kitchen lamp and , if not unless above 25 between noon midnight to past half monday \N{SNOWMAN} ( [ * \\"
)
_WORDS = st.sampled_from(_SAID.split())


@given(st.one_of(st.lists(_WORDS, max_size=14).map(" ".join), st.text(max_size=80)))
def test_reader_never_raises(text: str) -> None:
    found = READER.read(text, TYPED)
    READER.awaits_action(text, TYPED)
    if isinstance(found, Draft):
        assert found.actions and len(found.conditions) <= 6


@pytest.mark.parametrize(
    "said",
    [
        "on weekdays when the kitchen window opens and the living room blinds are open close the living room blinds",
        "when the kitchen window opens on weekdays if the living room blinds are open, close the living room blinds",
        "close the living room blinds when the kitchen window opens if the living room blinds are open on weekdays",
    ],
)
def test_conditions_may_stand_anywhere_around_the_trigger(said: str) -> None:
    found = draft(said)
    assert found.trigger == OnState(StateTest("binary_sensor.kitchen_window", ("on",)))
    assert set(found.conditions) == {
        Between(0, 0, WEEKDAYS),
        IsSo(StateTest("cover.living_room_blinds", ("open", "opening"))),
    }
    assert "if the living room blinds are open" in read_back(said)
