from __future__ import annotations

import pytest

from hub.dialogue import MAX_SATELLITES, MAX_TURN_CHARS, MAX_TURNS, Dialogue, Dialogues, Option, Question
from hub.intent import Intent

KITCHEN = Option(("Kitchen",), (Intent("a"),))
LIVING = Option(("Living room",), (Intent("b"),))
ALL = Option(("all", "all of them"), (Intent("c"),))
ROOMS = Question("Which room?", options=(KITCHEN, LIVING, ALL))


@pytest.mark.parametrize(
    ("answer", "exactly", "chosen"),
    [
        ("kitchen", True, KITCHEN),
        ("In the kitchen, please!", True, KITCHEN),
        ("the living room", True, LIVING),
        ("all of them", True, ALL),
        ("turn on the kitchen lamp", True, None),
        ("i meant the kitchen", True, None),
        ("i meant the kitchen", False, KITCHEN),
        ("living room not kitchen", False, LIVING),
        ("the hall", False, None),
        ("kitchenette", False, None),
        ("in the", True, None),
        ("", False, None),
    ],
)
def test_an_option_is_chosen_by_its_name(answer: str, exactly: bool, chosen: Option | None) -> None:
    assert ROOMS.choose(answer, exactly=exactly) is chosen


def test_two_options_that_fit_equally_choose_none() -> None:
    both = Question("?", options=(KITCHEN, Option(("Hall",), (Intent("h"),))))
    assert both.choose("kitchen or hall", exactly=False) is None


def test_what_is_remembered_is_bounded() -> None:
    dialogue = Dialogue()
    for number in range(3 * MAX_TURNS):
        dialogue.add_exchange("x" * 5000, f"answer {number}", 0.0)
    turns = dialogue.turns(1.0)
    assert len(turns) == 2 * MAX_TURNS
    assert turns[-1].content == f"answer {3 * MAX_TURNS - 1}"
    assert all(len(turn.content) <= MAX_TURN_CHARS for turn in turns)
    dialogues = Dialogues()
    first = dialogues.of("first")
    for number in range(MAX_SATELLITES):
        dialogues.of(str(number))
    assert dialogues.of("first") is not first
    assert dialogues.of("63") is dialogues.of("63")
