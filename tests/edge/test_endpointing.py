from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.endpointing import (
    Ended,
    EndpointEvent,
    Endpointing,
    EndpointSettings,
    Paused,
    Resumed,
    SpeechBegan,
    Verdict,
)

CHUNK_MS = 32.0
SETTINGS = EndpointSettings()


class Room:
    """Plays stretches of speech and silence to an endpointing and keeps what it says, with the time in ms."""

    def __init__(self, *, after_wake: bool, primed: str = "") -> None:
        self.endpointing = Endpointing(SETTINGS, after_wake=after_wake)
        self.events: list[tuple[float, EndpointEvent]] = []
        self.now_ms = 0.0
        for letter in primed:
            self.endpointing.prime(0.95 if letter == "s" else 0.02, CHUNK_MS, -20.0 if letter == "s" else -70.0)

    def sound(self, ms: float, probability: float, level: float) -> Room:
        for _ in range(round(ms / CHUNK_MS)):
            self.now_ms += CHUNK_MS
            self._keep(self.endpointing.heard(probability, CHUNK_MS, level))
        return self

    def speech(self, ms: float, level: float = -20.0) -> Room:
        return self.sound(ms, 0.95, level)

    def silence(self, ms: float) -> Room:
        return self.sound(ms, 0.02, -70.0)

    def hint(self, verdict: Verdict, text: str = "") -> Room:
        self._keep(self.endpointing.hint(verdict, text))
        return self

    def _keep(self, events: tuple[EndpointEvent, ...]) -> None:
        self.events += [(self.now_ms, event) for event in events]

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for _, event in self.events]

    def ended(self) -> tuple[float, Ended] | None:
        return next(((at, event) for at, event in self.events if isinstance(event, Ended)), None)

    def end(self) -> tuple[float, str]:
        """When it ended and why."""
        ended = self.ended()
        assert ended is not None, self.names
        return ended[0], ended[1].reason


def test_an_utterance_of_which_nothing_is_known_ends_after_300_ms_of_silence() -> None:
    room = Room(after_wake=False).speech(960).silence(1000)
    assert room.names == ["SpeechBegan", "Paused", "Ended"]
    assert room.end() == (960 + 320, "silence")
    assert room.events[1:] == [(960 + 96, Paused(96.0)), (960 + 320, Ended("silence", 320.0))]


def test_a_complete_command_ends_after_150_ms() -> None:
    room = Room(after_wake=False).speech(960).silence(96).hint("complete").silence(1000)
    assert room.end() == (960 + 160, "silence")


def test_a_command_that_may_go_on_ends_after_240_ms() -> None:
    room = Room(after_wake=False).speech(960).silence(96).hint("extendable").silence(1000)
    assert room.end() == (960 + 256, "silence")


def test_a_command_that_goes_on_is_not_cut() -> None:
    room = Room(after_wake=False).speech(960).silence(96).hint("extendable").silence(128).speech(640).silence(1000)
    assert room.end() == (960 + 224 + 640 + 320, "silence")


def test_a_hint_that_comes_late_ends_the_utterance_at_once() -> None:
    room = Room(after_wake=False).speech(960).silence(224).hint("complete")
    assert room.end() == (960 + 224, "silence")


def test_an_unfinished_sentence_is_waited_for() -> None:
    room = Room(after_wake=False).speech(640).silence(96).hint("incomplete").silence(700)
    assert room.ended() is None
    room.speech(320).silence(1000)
    assert room.names == ["SpeechBegan", "Paused", "Resumed", "Paused", "Ended"]
    assert room.end() == (640 + 96 + 704 + 320 + 320, "silence")


def test_an_unfinished_sentence_that_is_never_finished_ends_after_900_ms() -> None:
    room = Room(after_wake=False).speech(640).silence(96).hint("incomplete").silence(2000)
    assert room.end() == (640 + 928, "silence")


def test_a_hint_about_an_earlier_pause_does_not_shorten_the_next_one() -> None:
    room = Room(after_wake=False).speech(640).silence(96).hint("complete", "turn on the lamp").speech(320)
    room.silence(224)
    assert room.ended() is None
    room.silence(96)
    assert room.end() == (640 + 96 + 320 + 320, "silence")


def test_a_hint_that_comes_after_speech_went_on_does_not_count_for_the_next_pause() -> None:
    room = Room(after_wake=False).speech(640).silence(96).speech(64).hint("complete", "x").speech(320).silence(224)
    assert room.ended() is None


def test_a_hint_corrected_within_a_pause_counts() -> None:
    room = Room(after_wake=False).speech(640).silence(96).hint("complete").hint("incomplete").silence(500)
    assert room.ended() is None


@pytest.mark.parametrize("ms", [160, 192, 288])
def test_yes_and_no_are_not_lost(ms: int) -> None:
    room = Room(after_wake=False).silence(800).speech(ms).silence(1000)
    assert room.names == ["SpeechBegan", "Paused", "Ended"]
    assert room.end()[1] == "silence"


def test_a_click_is_no_speech() -> None:
    room = Room(after_wake=False)
    for _ in range(10):
        room.silence(500).speech(32)
    assert "SpeechBegan" not in room.names
    assert room.end() == (4000, "nothing_said")


def test_a_click_in_a_pause_does_not_prolong_it() -> None:
    room = Room(after_wake=False).speech(960).silence(160).speech(32).silence(1000)
    assert room.names == ["SpeechBegan", "Paused", "Ended"]
    assert room.end() == (960 + 320, "silence")


def test_speech_that_begins_as_the_silence_runs_out_is_not_cut() -> None:
    room = Room(after_wake=False).speech(960).silence(288).speech(320).silence(1000)
    assert room.names == ["SpeechBegan", "Paused", "Resumed", "Paused", "Ended"]


def test_nothing_said_after_four_seconds() -> None:
    assert Room(after_wake=False).silence(5000).end() == (4000, "nothing_said")


def test_a_wavering_probability_is_one_stretch_of_speech() -> None:
    room = Room(after_wake=False).speech(320)
    for _ in range(10):
        room.sound(96, 0.4, -20).speech(32)
    assert room.names == ["SpeechBegan"]


# ---- after a wake word


def test_wake_word_alone_is_reported_as_a_pause_and_then_waited_on() -> None:
    room = Room(after_wake=True, primed="sssss" + "qqqqq").silence(3900)
    assert room.names == ["Paused"]
    assert room.events[0][0] == CHUNK_MS
    assert room.silence(200).end() == (4000, "nothing_said")


def test_wake_words_own_tail_is_no_command() -> None:
    room = Room(after_wake=True, primed="s" * 10).speech(128).silence(96).hint("unclear").silence(3000)
    assert room.names == ["Paused"]


def test_a_flutter_in_the_wake_words_tail_does_not_make_it_a_command() -> None:
    room = Room(after_wake=True, primed="s" * 10).speech(32).silence(32).speech(96).silence(1000)
    assert room.names == ["Paused"]


def test_command_after_a_pause_is_taken() -> None:
    room = Room(after_wake=True, primed="sssss" + "qqqqq").silence(1500).speech(800).silence(1000)
    assert room.names == ["Paused", "Resumed", "SpeechBegan", "Paused", "Ended"]
    assert room.end()[1] == "silence"


def test_a_short_answer_after_the_wake_words_tail_is_taken() -> None:
    room = Room(after_wake=True, primed="s" * 10).speech(96).silence(128).speech(160).silence(1000)
    assert room.names == ["Paused", "Resumed", "SpeechBegan", "Paused", "Ended"]
    assert room.end()[1] == "silence"


def test_command_in_one_breath_needs_no_pause_before_it() -> None:
    room = Room(after_wake=True, primed="s" * 10).speech(800).silence(1000)
    assert room.names == ["SpeechBegan", "Paused", "Ended"]
    assert room.end() == (800 + 320, "silence")


def test_command_that_was_over_before_the_detection_ends_by_the_hubs_hint() -> None:
    room = Room(after_wake=True, primed="s" * 6 + "q" * 5).silence(32).hint("complete", "stop")
    assert room.names == ["Paused", "Ended"]
    assert room.end() == (32, "silence")


def test_command_that_ends_in_the_wake_words_tail_ends_by_the_hubs_hint() -> None:
    room = Room(after_wake=True, primed="s" * 10).speech(128).silence(96).hint("complete", "stop").silence(200)
    assert room.end() == (128 + 160, "silence")


# ---- a television


def test_soft_speech_of_the_room_counts_as_silence() -> None:
    room = Room(after_wake=True, primed="s" * 10).speech(960).speech(3000, level=-38)
    assert room.names == ["SpeechBegan", "Paused", "Ended"]
    at, reason = room.end()
    assert reason == "silence"
    assert at - 960 <= 192 + 320


def test_a_voice_that_trails_off_a_little_is_still_the_person() -> None:
    room = Room(after_wake=True, primed="s" * 10).speech(960).speech(960, level=-29)
    assert room.names == ["SpeechBegan"]


def test_a_soft_consonant_at_the_end_is_not_cut() -> None:
    room = Room(after_wake=False).speech(960).speech(160, level=-45).silence(128)
    assert [at for at, event in room.events if isinstance(event, Paused)] == [960 + 160 + 96]


def test_loud_speech_without_end_ends_when_a_complete_command_stays_the_same() -> None:
    room = Room(after_wake=True, primed="s" * 10).speech(1280).hint("complete", "turn on the lamp")
    room.speech(480).hint("complete", "turn on the lamp")
    assert room.ended() is None
    room.speech(64).hint("complete", "turn on the lamp")
    assert room.end() == (1280 + 480 + 64, "silence")


@pytest.mark.parametrize("between", ["incomplete", "unclear", "other words"])
def test_a_command_whose_words_change_is_not_stable(between: str) -> None:
    room = Room(after_wake=True).speech(1280).hint("complete", "turn on the lamp").speech(320)
    room.hint("complete", between) if between == "other words" else room.hint(between)  # type: ignore[arg-type]
    room.speech(320).hint("complete", "turn on the lamp")
    assert room.ended() is None


def test_loud_speech_without_end_and_without_hints_is_capped() -> None:
    assert Room(after_wake=True, primed="s" * 10).speech(20_000).end() == (12_000, "cap")


def test_after_the_end_nothing_follows() -> None:
    room = Room(after_wake=False).speech(960).silence(1000)
    before = len(room.events)
    room.speech(1000).hint("complete").silence(1000)
    assert len(room.events) == before
    assert room.endpointing.over


# ---- whatever is heard

STRETCH = st.one_of(
    st.tuples(
        st.just("sound"),
        st.integers(1, 40),
        st.floats(0, 1),
        st.one_of(st.floats(-96, 0), st.sampled_from([-20.0, -21.0, -40.0, -96.0])),
    ),
    st.tuples(
        st.just("hint"),
        st.just(0),
        st.sampled_from(["complete", "extendable", "incomplete", "unclear"]),
        st.sampled_from(["a", "b"]),
    ),
)


@given(st.booleans(), st.text("sq", max_size=10), st.lists(STRETCH, max_size=60))
def test_events_are_well_formed_and_an_end_comes_in_time(
    after_wake: bool,
    primed: str,
    script: list[tuple[str, int, float | Verdict, float | str]],
) -> None:
    room = Room(after_wake=after_wake, primed=primed)
    complete_since: tuple[str, float] | None = None
    for kind, chunks, first, second in script:
        events_before = len(room.events)
        if kind == "sound":
            room.sound(chunks * CHUNK_MS, first, second)  # type: ignore[arg-type]
        else:
            whole = first in ("complete", "extendable")
            if not whole or complete_since is None or complete_since[0] != second:
                complete_since = (str(second), room.now_ms) if whole else None
            room.hint(first, second)  # type: ignore[arg-type]
        for _, event in room.events[events_before:]:
            if isinstance(event, Ended) and event.reason == "silence":
                stable = complete_since is not None and room.now_ms - complete_since[1] >= SETTINGS.stable_ms
                assert event.silence_ms >= SETTINGS.complete_ms or (kind == "hint" and stable)
    room.silence(SETTINGS.max_s * 1000 + CHUNK_MS)

    at, _ = room.end()
    assert at <= SETTINGS.max_s * 1000
    names = room.names
    assert names.count("Ended") == 1
    assert names[-1] == "Ended"
    assert names.count("SpeechBegan") <= 1
    pauses = [event for _, event in room.events if isinstance(event, Paused | Resumed)]
    assert all(isinstance(event, Paused if number % 2 == 0 else Resumed) for number, event in enumerate(pauses))
    assert all(event.silence_ms >= SETTINGS.pause_ms for event in pauses if isinstance(event, Paused))
    if room.end()[1] == "nothing_said":
        assert not any(isinstance(event, SpeechBegan) for _, event in room.events)
