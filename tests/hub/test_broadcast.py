"""Announcements by voice, from the words to what is said in which rooms."""

from __future__ import annotations

import asyncio
import logging

import pytest

from hub.conversation import Conversation
from hub.grammar import build_grammar
from hub.intent import Context
from hub.sentences import load_templates
from hub.timers import Timers
from hub.understanding import Understanding
from swarm.announcement import Announcement, Outcome, Report, Whom
from swarm.trace import TraceRecorder
from tests.hub.memory_home import flat
from tests.hub.test_timers import MemoryStore, VirtualClock

PLACES = (("bed", "Bedroom"), ("cook", "Kitchen"), ("hall", ""), ("desk", "Office"))
IN_THE_KITCHEN = Context("cook", "Kitchen")


class NoSatellites:
    def in_area(self, area: str) -> tuple[str, ...]:
        return ()

    def volume(self, satellite: str) -> int | None:
        return None

    async def set_volume(self, satellite: str, percent: int) -> bool:
        return False

    async def stop_speaking(self, satellite: str) -> None:
        pass


class House:
    def __init__(self, outcome: Outcome = "waits") -> None:
        self.said: list[tuple[str, str]] = []
        self._outcome: Outcome = outcome
        home = flat()
        self.understanding = Understanding(
            home.entities, home.areas(), rooms=lambda: [name for place in PLACES for name in place if name]
        )
        self._conversation = Conversation(
            understanding=self.understanding,
            home=home,
            timers=Timers(MemoryStore(), VirtualClock()),
            satellites=NoSatellites(),
            announce=self._announce,
        )

    async def _announce(self, announcement: Announcement, whom: Whom) -> tuple[Report, ...]:
        meant = [place for place in PLACES if whom.means(*place)]
        self.said += [(name, announcement.text) for name, _ in meant]
        return tuple(Report(name, area, self._outcome) for name, area in meant)

    def hears(self, text: str, context: Context = IN_THE_KITCHEN) -> str:
        recorder = TraceRecorder("u1", node="hub", source="voice")
        return asyncio.run(self._conversation.answer(text, context=context, recorder=recorder)).text


@pytest.mark.parametrize(
    "text",
    ["announce dinner is ready", "tell everyone that dinner is ready", "broadcast dinner is ready",
     "let everybody know dinner is ready", "please announce to everyone that dinner is ready"],
)  # fmt: skip
def test_all_rooms_but_that_of_the_person_hear_it(text: str) -> None:
    house = House()
    assert house.hears(text) == "I announced it in the bedroom, the hall and the office."
    assert house.said == [(name, "Dinner is ready") for name in ("bed", "hall", "desk")]


def test_room_that_is_named_hears_it_as_the_person_said_it() -> None:
    house = House()
    house.hears("Tell the bedroom that Anna's taxi, the blue one, is here!")
    assert house.said == [("bed", "Anna's taxi, the blue one, is here!")]


def test_satellite_in_a_room_without_devices_can_be_named() -> None:
    house = House()
    assert house.hears("tell the office that the post is here") == "I announced it in the office."
    assert house.said == [("desk", "The post is here")]


def test_person_is_told_when_nobody_heard_it() -> None:
    told = House().hears("tell the bathroom that dinner is ready")
    assert told == "No voice satellite is connected in the bathroom."
    assert (
        House("full").hears("announce dinner is ready")
        == "I could not announce it in the bedroom, the hall and the office."
    )


def test_only_the_beginning_heard_is_answered_with_what_is_missing() -> None:
    house = House()
    assert "Whisper" in house.hears("make an announcement")
    assert house.said == []


def test_other_sentences_with_tell_are_no_announcement() -> None:
    understanding = House().understanding
    for text in ("tell me the temperature in the kitchen", "tell me a joke", "say that again", "what did you say"):
        names = {intent.name for intent in understanding.understand(text, IN_THE_KITCHEN)}
        assert "HassBroadcast" not in names


def test_free_text_waits_for_more_words() -> None:
    assert House().understanding.judge("announce dinner", IN_THE_KITCHEN) == "unclear"


def test_calls_can_be_heard_by_a_recognizer_of_commands_and_free_text_is_no_part_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    grammar = build_grammar(load_templates("en"), House().understanding.vocabulary())
    words = {arc.word for arc in grammar.arcs}
    assert {"announce", "dinner", "everyone", "downstairs"} <= words
    assert "message" not in words
    assert caplog.messages == []
