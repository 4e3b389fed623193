from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.satellite import (
    MAX_HELD,
    MOVE_S,
    THINKING_S,
    Action,
    BeginUtterance,
    DropSpeech,
    EndUtterance,
    Event,
    HubConnected,
    HubLost,
    HubWorking,
    ListenRequested,
    MicrophoneFound,
    MicrophoneLost,
    MuteChanged,
    PlaybackDone,
    PlayCue,
    PlaySpeech,
    ReplyWithheld,
    SendAgain,
    SpeechArrived,
    SpeechKnown,
    State,
    StopPlayback,
    StopRequested,
    TimePassed,
    UtteranceOver,
    WakeWordHeard,
    step,
)

READY = State(hub_connected=True, hearing=True)


def wake(utterance_id: str) -> WakeWordHeard:
    return WakeWordHeard("okay_nabu", "okay nabu", utterance_id)


def run(*events: Event, state: State = READY, now: float = 100.0) -> tuple[State, list[Action]]:
    """The state after all events, and what the last one caused."""
    actions: tuple[Action, ...] = ()
    for event in events:
        state, actions = step(state, event, now)
    return state, list(actions)


LISTENING = (wake("u1"),)
THINKING = (*LISTENING, UtteranceOver("silence"))
SPEAKING = (*THINKING, SpeechArrived("u1", announcement=False))


def test_wake_word_starts_an_utterance_with_a_cue() -> None:
    state, actions = run(*LISTENING)
    assert (state.phase, state.utterance_id) == ("listening", "u1")
    assert actions == [BeginUtterance("u1", "okay_nabu"), PlayCue("wake")]


def test_push_to_talk_starts_one_without_wake_word_and_cue() -> None:
    state, actions = run(ListenRequested("u1"))
    assert state.phase == "listening"
    assert actions == [BeginUtterance("u1")]


def test_the_whole_way_from_wake_word_to_the_end_of_the_answer() -> None:
    assert run(*THINKING)[1] == [EndUtterance("u1", "silence")]
    assert run(*THINKING)[0].phase == "thinking"
    state, actions = run(*SPEAKING)
    assert (state.phase, actions) == ("speaking", [PlaySpeech("u1")])
    state, actions = run(*SPEAKING, SpeechKnown("u1", "Done.", False), PlaybackDone("u1", False, "u2"))
    assert (state.phase, actions) == ("idle", [])


def test_a_question_is_listened_to_without_a_wake_word() -> None:
    state, actions = run(*SPEAKING, SpeechKnown("u1", "Which lamp?", True), PlaybackDone("u1", False, "u2"))
    assert (state.phase, state.utterance_id) == ("listening", "u2")
    assert actions == [BeginUtterance("u2", follow_up=True), PlayCue("wake")]


@pytest.mark.parametrize(
    "why_not",
    [
        (PlaybackDone("u1", True, "u2"),),
        (MuteChanged(True), PlaybackDone("u1", False, "u2")),
        (HubLost(), PlaybackDone("u1", False, "u2")),
        (MicrophoneLost(), PlaybackDone("u1", False, "u2")),
        (StopRequested(),),
    ],
)
def test_a_question_that_cannot_be_answered_is_not_listened_for(why_not: tuple[Event, ...]) -> None:
    state, actions = run(*SPEAKING, SpeechKnown("u1", "Which lamp?", True), *why_not)
    assert state.phase in ("idle", "muted")
    assert not any(isinstance(action, BeginUtterance) for action in actions)


def test_nothing_said_goes_back_to_idle_with_a_cue() -> None:
    state, actions = run(*LISTENING, UtteranceOver("nothing_said"))
    assert state.phase == "idle"
    assert actions == [EndUtterance("u1", "nothing_said"), PlayCue("nothing_heard")]


@pytest.mark.parametrize(
    ("cue", "expected"), [("none", []), ("error", [PlayCue("error")]), ("done", [PlayCue("done")])]
)
def test_withheld_reply_ends_thinking_with_its_cue(cue: str, expected: list[Action]) -> None:
    state, actions = run(*THINKING, ReplyWithheld("u1", cue))  # type: ignore[arg-type]
    assert (state.phase, actions) == ("idle", expected)


def test_wake_word_during_speech_stops_it_and_listens() -> None:
    state, actions = run(*SPEAKING, SpeechKnown("u1", "It is nine o'clock.", False), wake("u2"))
    assert (state.phase, state.utterance_id) == ("listening", "u2")
    assert actions == [StopPlayback(), BeginUtterance("u2", "okay_nabu"), PlayCue("wake")]
    state, actions = run(PlaybackDone("u1", True, "u3"), state=state)
    assert (state.phase, state.utterance_id, actions) == ("listening", "u2", [])


@pytest.mark.parametrize("text", ["Say okay nabu to wake me.", "OK, Nabu!", "my name is Okay-Nabu"])
def test_satellite_does_not_wake_by_its_own_words(text: str) -> None:
    state, actions = run(*SPEAKING, SpeechKnown("u1", text, False), wake("u2"))
    assert (state.phase, state.utterance_id, actions) == ("speaking", "u1", [])


def test_once_the_words_were_spoken_the_wake_word_works_again() -> None:
    spoken = (SpeechKnown("u1", "okay nabu", False), PlaybackDone("u1", False, "u2"))
    assert run(*SPEAKING, *spoken, wake("u3"))[0].phase == "listening"


def test_wake_word_while_listening_starts_over() -> None:
    state, actions = run(*LISTENING, wake("u2"))
    assert state.utterance_id == "u2"
    assert actions == [EndUtterance("u1", "cancelled"), BeginUtterance("u2", "okay_nabu"), PlayCue("wake")]


def test_wake_word_while_thinking_gives_the_old_answer_up() -> None:
    state, _ = run(*THINKING, wake("u2"))
    assert (state.phase, state.utterance_id, state.awaiting) == ("listening", "u2", False)
    _, actions = run(SpeechArrived("u1", announcement=False), state=state)
    assert actions == [DropSpeech("u1")]


def test_thinking_ends_with_an_error_when_the_hub_says_nothing() -> None:
    state, _ = run(*THINKING, now=100.0)
    assert run(TimePassed(), state=state, now=100.0 + THINKING_S - 0.1) == (state, [])
    state, actions = run(TimePassed(), state=state, now=100.0 + THINKING_S)
    assert (state.phase, actions) == ("idle", [PlayCue("error")])


def test_signs_of_life_of_the_hub_prolong_thinking() -> None:
    state, _ = run(*THINKING, now=100.0)
    state, _ = run(HubWorking("u1"), state=state, now=109.0)
    state, _ = run(HubWorking("another"), state=state, now=118.0)
    assert run(TimePassed(), state=state, now=118.9)[0].phase == "thinking"
    assert run(TimePassed(), state=state, now=119.0)[0].phase == "idle"


def test_an_answer_that_comes_too_late_is_still_spoken() -> None:
    state, _ = run(*THINKING, now=100.0)
    state, _ = run(TimePassed(), state=state, now=200.0)
    state, actions = run(SpeechArrived("u1", announcement=False), state=state, now=201.0)
    assert (state.phase, actions) == ("speaking", [PlaySpeech("u1")])


def test_without_a_hub_the_wake_word_gives_an_error() -> None:
    state, actions = run(wake("u1"), state=replace(READY, hub_connected=False))
    assert (state.phase, actions) == ("idle", [PlayCue("error")])


@pytest.mark.parametrize("before", [LISTENING, THINKING])
def test_utterance_whose_hub_is_lost_is_told_the_next_hub_from_its_beginning(before: tuple[Event, ...]) -> None:
    state, actions = run(*before, HubLost(), now=100.0)
    assert (state.phase, actions) == (run(*before)[0].phase, [])
    state, actions = run(HubConnected(), state=state, now=100.0 + MOVE_S - 0.1)
    assert actions == [SendAgain("u1")]
    assert state.phase == run(*before)[0].phase
    state, _ = run(UtteranceOver("silence"), SpeechArrived("u1", announcement=False), state=state)
    assert state.phase == "speaking"


def test_utterance_may_end_and_begin_while_a_hub_is_looked_for() -> None:
    state, actions = run(*LISTENING, HubLost(), UtteranceOver("silence"), now=100.0)
    assert (state.phase, actions) == ("thinking", [EndUtterance("u1", "silence")])
    state, actions = run(wake("u2"), state=state, now=101.0)
    assert state.phase == "listening"
    assert run(HubConnected(), state=state, now=101.5)[1] == [SendAgain("u2")]


@pytest.mark.parametrize("before", [LISTENING, THINKING])
def test_when_no_hub_is_found_in_time_an_error_says_so(before: tuple[Event, ...]) -> None:
    state, _ = run(*before, HubLost(), now=100.0)
    assert state.wakes_at == 100.0 + MOVE_S
    assert run(TimePassed(), state=state, now=100.0 + MOVE_S - 0.1) == (state, [])
    state, actions = run(TimePassed(), state=state, now=100.0 + MOVE_S)
    assert state.phase == "idle"
    assert actions[-1] == PlayCue("error")
    assert run(HubConnected(), state=state, now=110.0)[1] == []
    assert run(wake("u2"), state=state, now=100.0 + MOVE_S)[1] == [PlayCue("error")]


def test_idle_satellite_tells_a_new_hub_nothing() -> None:
    assert run(HubLost(), HubConnected())[1] == []
    assert run(*SPEAKING, HubLost(), HubConnected())[1] == []


def test_whole_answer_is_played_to_its_end_though_the_hub_is_lost() -> None:
    state, actions = run(*SPEAKING, HubLost())
    assert (state.phase, actions) == ("speaking", [])


def test_answer_that_breaks_off_with_the_hub_ends_at_once_with_an_error() -> None:
    state, actions = run(*SPEAKING, HubLost("u1"))
    assert (state.phase, actions) == ("idle", [StopPlayback(), PlayCue("error")])
    timer = SpeechArrived("timer", announcement=True)
    state, actions = run(*THINKING, timer, SpeechArrived("u1", announcement=False), HubLost("u1"))
    assert (state.phase, state.playing_id, actions) == ("speaking", "timer", [DropSpeech("u1"), PlayCue("error")])


def test_announcement_that_breaks_off_with_the_hub_is_no_error() -> None:
    state, actions = run(SpeechArrived("timer", announcement=True), HubLost("timer"))
    assert (state.phase, actions) == ("speaking", [])


def test_microphone_lost_while_listening_gives_an_error() -> None:
    state, actions = run(*LISTENING, MicrophoneLost())
    assert (state.phase, actions) == ("idle", [EndUtterance("u1", "cancelled"), PlayCue("error")])
    assert run(ListenRequested("u2"), state=state)[1] == [PlayCue("error")]
    assert run(MicrophoneFound(), ListenRequested("u2"), state=state)[0].phase == "listening"


@pytest.mark.parametrize("before", [(), LISTENING, THINKING, SPEAKING])
def test_mute_stops_listening_from_every_phase(before: tuple[Event, ...]) -> None:
    state, actions = run(*before, MuteChanged(True))
    assert state.phase == "muted"
    assert actions == ([EndUtterance("u1", "cancelled")] if before == LISTENING else [])
    assert run(wake("u2"), state=state) == (state, [])
    assert run(ListenRequested("u2"), state=state) == (state, [])
    state, _ = run(MuteChanged(False), state=state)
    assert state.phase == ("speaking" if before == SPEAKING else "idle")
    assert run(wake("u2"), state=state)[0].phase == "listening"


def test_an_answer_under_way_is_spoken_though_the_microphone_was_muted() -> None:
    state, actions = run(*THINKING, MuteChanged(True), SpeechArrived("u1", announcement=False))
    assert (state.phase, actions) == ("muted", [PlaySpeech("u1")])
    assert run(PlaybackDone("u1", False, "u2"), state=state)[0].phase == "muted"


def test_stop_is_quiet_at_once() -> None:
    state, actions = run(*SPEAKING, StopRequested())
    assert (state.phase, actions) == ("idle", [StopPlayback()])
    assert run(StopRequested())[1] == []


# ---- announcements


def test_announcement_is_played_behind_a_chime_in_any_quiet_phase() -> None:
    for before in ((), (MuteChanged(True),), THINKING):
        _, actions = run(*before, SpeechArrived("timer", announcement=True))
        assert actions == [PlaySpeech("timer", chime=True)]


def test_announcement_while_thinking_does_not_lose_the_answer() -> None:
    state, _ = run(*THINKING, SpeechArrived("timer", announcement=True), now=100.0)
    assert state.phase == "speaking"
    state, actions = run(SpeechArrived("u1", announcement=False), state=state)
    assert actions == []
    state, actions = run(PlaybackDone("timer", False, "x"), state=state)
    assert (state.phase, actions) == ("speaking", [PlaySpeech("u1")])
    assert run(PlaybackDone("u1", False, "x"), state=state)[0].phase == "idle"


def test_thinking_goes_on_after_an_announcement_with_a_new_deadline() -> None:
    state, _ = run(*THINKING, SpeechArrived("timer", announcement=True), now=100.0)
    state, _ = run(PlaybackDone("timer", False, "x"), state=state, now=120.0)
    assert (state.phase, state.deadline) == ("thinking", 120.0 + THINKING_S)


def test_announcement_waits_while_somebody_speaks() -> None:
    state, actions = run(*LISTENING, SpeechArrived("timer", announcement=True))
    assert (state.phase, actions) == ("listening", [])
    _, actions = run(UtteranceOver("nothing_said"), state=state)
    assert actions[-1] == PlaySpeech("timer", chime=True)


def test_announcement_that_waits_survives_a_barge_in_but_not_stop() -> None:
    state, _ = run(*SPEAKING, SpeechArrived("timer", announcement=True))
    state, actions = run(wake("u2"), state=state)
    assert DropSpeech("timer") not in actions
    assert run(UtteranceOver("cancelled"), state=state)[1][-1] == PlaySpeech("timer", chime=True)
    state, _ = run(*SPEAKING, SpeechArrived("timer", announcement=True))
    assert run(StopRequested(), state=state)[1] == [StopPlayback(), DropSpeech("timer")]


def test_announcement_that_interrupts_takes_the_place_of_what_is_played() -> None:
    alarm = SpeechArrived("alarm", announcement=True, interrupt=True)
    state, actions = run(*SPEAKING, SpeechArrived("timer", announcement=True), alarm)
    assert actions == [StopPlayback(), PlaySpeech("alarm", chime=True)]
    assert (state.playing_id, state.held) == ("alarm", ("timer",))
    assert run(alarm)[1] == [PlaySpeech("alarm", chime=True)]


def test_announcement_that_interrupts_waits_for_a_person_and_then_is_first() -> None:
    timers = [SpeechArrived(f"t{number}", announcement=True) for number in range(MAX_HELD)]
    state, actions = run(*LISTENING, *timers, SpeechArrived("alarm", announcement=True, interrupt=True))
    assert (state.phase, state.held) == ("listening", ("alarm", "t0", "t1", "t2"))
    assert actions == [DropSpeech("t3")]


def test_only_so_many_announcements_wait() -> None:
    arrivals = [SpeechArrived(f"t{number}", announcement=True) for number in range(MAX_HELD + 1)]
    state, actions = run(*LISTENING, *arrivals)
    assert len(state.held) == MAX_HELD
    assert actions == [DropSpeech(f"t{MAX_HELD}")]


def test_speech_for_an_unknown_utterance_is_dropped() -> None:
    assert run(*THINKING, SpeechArrived("other", announcement=False))[1] == [DropSpeech("other")]


# ---- whatever happens

IDS = st.sampled_from(["u1", "u2", "u3"])
EVENTS = st.one_of(
    st.builds(wake, IDS),
    st.builds(ListenRequested, IDS),
    st.builds(UtteranceOver, st.sampled_from(["silence", "cap", "nothing_said", "cancelled"])),
    st.builds(SpeechArrived, IDS, st.booleans()),
    st.builds(SpeechKnown, IDS, st.sampled_from(["", "okay nabu"]), st.booleans()),
    st.builds(ReplyWithheld, IDS, st.sampled_from(["none", "error"])),
    st.builds(PlaybackDone, IDS, st.booleans(), IDS),
    st.builds(HubWorking, IDS),
    st.builds(MuteChanged, st.booleans()),
    st.sampled_from(
        [HubConnected(), HubLost(), HubLost("u1"), MicrophoneFound(), MicrophoneLost(), StopRequested(), TimePassed()]
    ),
)


@given(st.lists(EVENTS, max_size=40))
def test_utterances_are_ended_once_and_one_thing_is_played_at_a_time(events: list[Event]) -> None:
    state, open_utterance, playing = READY, "", ""
    for number, event in enumerate(events):
        if isinstance(event, PlaybackDone) and event.utterance_id == playing:
            playing = ""
        if isinstance(event, SpeechArrived) and event.utterance_id in (playing, *state.held):
            continue  # the service takes each speech once
        state, actions = step(state, event, float(number))
        for action in actions:
            if isinstance(action, BeginUtterance):
                assert not open_utterance
                open_utterance = action.utterance_id
            elif isinstance(action, EndUtterance):
                assert action.utterance_id == open_utterance
                open_utterance = ""
            elif isinstance(action, PlaySpeech):
                assert not playing
                playing = action.utterance_id
            elif isinstance(action, StopPlayback):
                assert playing
                playing = ""
        assert (state.phase == "listening") == bool(open_utterance)
        assert state.playing_id == playing
        assert not (state.phase == "listening" and not state.hearing)
        assert not (state.phase == "speaking" and not playing)
        assert len(state.held) <= MAX_HELD + 1
    # A silent hub leaves no satellite waiting for ever.
    if state.in_hand:
        wakes_at = state.wakes_at
        assert wakes_at is not None or state.phase != "thinking"
        if wakes_at is not None:
            assert step(state, TimePassed(), wakes_at)[0].phase in ("idle", "speaking")
