"""What a satellite does next. Pure: `step` takes the state, what happened and the time, and returns the new state with
the actions to carry out, in order.

::

    idle ── wake word, push to talk ──► listening ── end of speech ──► thinking ── the answer begins ──► speaking
      ▲                                  │ nothing said                 │ nothing heard of the hub          │
      └──────────────────────────────────┴──────────────────────────────┴───────── the answer was played ───┘
                                         ▲                                          or it was a question:
                                         └──────────────────────────────────────────── listen again

A hub may be lost at any moment. An utterance that has no answer yet is kept, listening goes on, and the hub that is
found next is sent all of it again; when none is found within `MOVE_S`, and when an answer broke off in the middle, the
error cue says so.

A wake word starts anew from every phase. `muted` means that the microphone is not listened to: answers under way and
what is spoken unasked (a timer that ends) are still played. Announcements wait while somebody speaks, and for the end
of what is being played unless they interrupt it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from swarm.messages import EndReason

Phase = Literal["idle", "listening", "thinking", "speaking", "muted"]
Cue = Literal["wake", "nothing_heard", "error", "done", "chime"]

THINKING_S = 10.0
"""Longest silence of the hub while an answer is awaited. Longer leaves a person standing before a dead hub; shorter
gives up on one that is loading a model."""
MOVE_S = 2.0
"""How long another hub is looked for while somebody waits. A hub in this network answers within 0.1 s; longer leaves a
person speaking to nobody."""
MAX_HELD = 4
"""Announcements that wait; further ones are dropped."""


@dataclass(frozen=True)
class State:
    """Everything that `step` decides by."""

    phase: Phase = "idle"
    utterance_id: str = ""
    """The utterance listened to, awaited or answered; the last one when idle, so that a late answer is still heard."""
    awaiting: bool = False
    """The utterance ended and its answer has not begun."""
    deadline: float = 0.0
    """When thinking is given up."""
    hub_connected: bool = False
    moving_until: float = 0.0
    """When looking for another hub is given up."""
    hearing: bool = False
    """A microphone delivers."""
    playing_id: str = ""
    """Whose speech is being played."""
    spoken_text: str = ""
    """What is being played, as far as the hub told."""
    follow_up: bool = False
    """What is being played is a question."""
    held: tuple[str, ...] = ()
    """Announcements that wait until nobody speaks."""

    @property
    def in_hand(self) -> bool:
        """An utterance is under way whose answer has not begun."""
        return self.phase == "listening" or self.awaiting

    @property
    def at_rest(self) -> bool:
        """Nobody speaks or waits here."""
        return not self.in_hand and not self.playing_id and not self.held

    @property
    def wakes_at(self) -> float | None:
        """When `TimePassed` is wanted."""
        if self.in_hand and not self.hub_connected:
            return self.moving_until
        return self.deadline if self.phase == "thinking" else None


# ---- what happens


@dataclass(frozen=True)
class WakeWordHeard:
    """`utterance_id` is a fresh one, used if an utterance starts."""

    wake_word: str
    phrase: str
    utterance_id: str


@dataclass(frozen=True)
class ListenRequested:
    """Push to talk: listen without a wake word."""

    utterance_id: str
    cue: bool = False
    """Play the sound of the wake word: no hand of a person asked for it."""


@dataclass(frozen=True)
class UtteranceOver:
    """The endpointing ended the utterance."""

    reason: EndReason


@dataclass(frozen=True)
class MicrophoneFound:
    """Audio comes."""


@dataclass(frozen=True)
class MicrophoneLost:
    """No more audio comes."""


@dataclass(frozen=True)
class MuteChanged:
    """A person pressed the mute switch."""

    muted: bool


@dataclass(frozen=True)
class HubConnected:
    """A session with the hub stands."""


@dataclass(frozen=True)
class HubLost:
    """The session broke."""

    cut_off: str = ""
    """The utterance of whose answer the hub had not sent all."""


@dataclass(frozen=True)
class HubWorking:
    """Any sign of life of the hub about an utterance."""

    utterance_id: str


@dataclass(frozen=True)
class SpeechArrived:
    """The hub begins to send speech."""

    utterance_id: str
    announcement: bool
    interrupt: bool = False
    """The announcement is not to wait for what is being played."""


@dataclass(frozen=True)
class SpeechKnown:
    """The hub sent all of it, and its text."""

    utterance_id: str
    text: str
    follow_up: bool


@dataclass(frozen=True)
class ReplyWithheld:
    """The utterance gets no spoken answer."""

    utterance_id: str
    cue: Literal["none", "error", "done"]


@dataclass(frozen=True)
class StopRequested:
    """The hub or a person wants quiet."""


@dataclass(frozen=True)
class PlaybackDone:
    """Speech was played to its end, or broke. `next_utterance_id` is a fresh one, used for a follow-up."""

    utterance_id: str
    interrupted: bool
    next_utterance_id: str


@dataclass(frozen=True)
class TimePassed:
    """Nothing but time."""


Event = (
    WakeWordHeard
    | ListenRequested
    | UtteranceOver
    | MicrophoneFound
    | MicrophoneLost
    | MuteChanged
    | HubConnected
    | HubLost
    | HubWorking
    | SpeechArrived
    | SpeechKnown
    | ReplyWithheld
    | StopRequested
    | PlaybackDone
    | TimePassed
)


# ---- what to do


@dataclass(frozen=True)
class BeginUtterance:
    """Listen; with a wake word, send the pre-roll first."""

    utterance_id: str
    wake_word: str | None = None
    follow_up: bool = False


@dataclass(frozen=True)
class EndUtterance:
    """Stop listening and tell the hub."""

    utterance_id: str
    reason: EndReason


@dataclass(frozen=True)
class SendAgain:
    """Send the utterance to this hub from its beginning, as far as it came."""

    utterance_id: str


@dataclass(frozen=True)
class PlayCue:
    """A short sound."""

    cue: Cue


@dataclass(frozen=True)
class PlaySpeech:
    """Play the speech that arrived, behind a chime when it is unasked and the hub wants one."""

    utterance_id: str
    chime: bool = False


@dataclass(frozen=True)
class DropSpeech:
    """Nobody waits for this speech any more."""

    utterance_id: str


@dataclass(frozen=True)
class StopPlayback:
    """Be quiet at once."""


Action = BeginUtterance | EndUtterance | SendAgain | PlayCue | PlaySpeech | DropSpeech | StopPlayback
Step = tuple[State, tuple[Action, ...]]


def step(state: State, event: Event, now: float) -> Step:
    """The state after `event` at `now` (monotonic seconds), and what to do."""
    match event:
        case WakeWordHeard():
            return _wake(state, event, now)
        case ListenRequested():
            return _listen(state, BeginUtterance(event.utterance_id), now, quiet=not event.cue)
        case UtteranceOver():
            return _utterance_over(state, event.reason, now)
        case MicrophoneFound():
            return replace(state, hearing=True), ()
        case MicrophoneLost():
            return _cancel_listening(replace(state, hearing=False), cue=True)
        case MuteChanged():
            return _mute(state) if event.muted else _unmute(state)
        case HubConnected():
            return _hub_connected(state, now)
        case HubLost():
            return _hub_lost(state, event, now)
        case HubWorking():
            awaited = state.awaiting and event.utterance_id == state.utterance_id
            return (replace(state, deadline=now + THINKING_S) if awaited else state), ()
        case SpeechArrived():
            return _speech_arrived(state, event)
        case SpeechKnown():
            if event.utterance_id != state.playing_id:
                return state, ()
            return replace(state, spoken_text=event.text, follow_up=event.follow_up), ()
        case ReplyWithheld():
            return _reply_withheld(state, event)
        case StopRequested():
            return _stop(state, now)
        case PlaybackDone():
            return _playback_done(state, event, now)
        case TimePassed():
            return _give_up(state) if state.wakes_at is not None and now >= state.wakes_at else (state, ())


def _wake(state: State, event: WakeWordHeard, now: float) -> Step:
    if state.phase == "muted":
        return state, ()
    if state.playing_id and _words(event.phrase) in _words(state.spoken_text):
        return state, ()  # the satellite hears itself
    return _listen(state, BeginUtterance(event.utterance_id, event.wake_word), now, quiet=False)


def _listen(state: State, begin: BeginUtterance, now: float, *, quiet: bool) -> Step:
    """Drop whatever goes on and listen."""
    if state.phase == "muted":
        return state, ()
    state, actions = _fall_silent(state, forget_announcements=False)
    if state.phase == "listening":
        actions = (*actions, EndUtterance(state.utterance_id, "cancelled"))
    if not (state.hearing and (state.hub_connected or now < state.moving_until)):
        return _release(replace(state, phase="idle", awaiting=False), *actions, PlayCue("error"))
    state = replace(state, phase="listening", utterance_id=begin.utterance_id, awaiting=False)
    return state, (*actions, begin) if quiet else (*actions, begin, PlayCue("wake"))


def _utterance_over(state: State, reason: EndReason, now: float) -> Step:
    if state.phase != "listening":
        return state, ()
    end = EndUtterance(state.utterance_id, reason)
    if reason == "nothing_said":
        return _release(replace(state, phase="idle"), end, PlayCue("nothing_heard"))
    if reason == "cancelled":
        return _release(replace(state, phase="idle"), end)
    return _release(replace(state, phase="thinking", awaiting=True, deadline=now + THINKING_S), end)


def _cancel_listening(state: State, *, cue: bool) -> Step:
    if state.phase != "listening":
        return state, ()
    end = EndUtterance(state.utterance_id, "cancelled")
    return _release(replace(state, phase="idle"), end, *((PlayCue("error"),) if cue else ()))


def _mute(state: State) -> Step:
    state, actions = _cancel_listening(state, cue=False)
    return replace(state, phase="muted", awaiting=False), actions


def _unmute(state: State) -> Step:
    if state.phase != "muted":
        return state, ()
    return replace(state, phase="speaking" if state.playing_id else "idle"), ()


def _hub_connected(state: State, now: float) -> Step:
    state = replace(state, hub_connected=True)
    if not state.in_hand:
        return state, ()
    return replace(state, deadline=now + THINKING_S), (SendAgain(state.utterance_id),)


def _hub_lost(state: State, event: HubLost, now: float) -> Step:
    """A whole answer is played to its end; one that broke off is no answer. Announcements come again from elsewhere."""
    state = replace(state, hub_connected=False, moving_until=now + MOVE_S)
    cut_off = event.cut_off
    if not cut_off or cut_off != state.utterance_id or cut_off not in (state.playing_id, *state.held):
        return state, ()
    held = tuple(each for each in state.held if each != cut_off)
    if state.playing_id != cut_off:
        return replace(state, held=held), (DropSpeech(cut_off), PlayCue("error"))
    phase: Phase = "muted" if state.phase == "muted" else "idle"
    state = replace(state, phase=phase, playing_id="", spoken_text="", follow_up=False, held=held)
    return _release(state, StopPlayback(), PlayCue("error"))


def _give_up(state: State) -> Step:
    """No hub was found, or the hub says nothing."""
    if state.phase == "listening":
        return _cancel_listening(state, cue=True)
    phase: Phase = "speaking" if state.playing_id else "idle"
    return _release(replace(state, phase=phase, awaiting=False), PlayCue("error"))


def _speech_arrived(state: State, event: SpeechArrived) -> Step:
    if event.announcement and event.interrupt:
        return _break_in(state, event.utterance_id)
    if event.announcement:
        if len(state.held) >= MAX_HELD:
            return state, (DropSpeech(event.utterance_id),)
        if state.phase == "listening" or state.playing_id:
            return replace(state, held=(*state.held, event.utterance_id)), ()
        return _play(state, event.utterance_id, chime=True)
    if event.utterance_id != state.utterance_id or state.phase == "listening":
        return state, (DropSpeech(event.utterance_id),)
    state = replace(state, awaiting=False)
    if state.playing_id:
        return replace(state, held=(event.utterance_id, *state.held)), ()
    return _play(state, event.utterance_id, chime=False)


def _break_in(state: State, utterance_id: str) -> Step:
    """Play it instead of what is being played; while a person speaks, before all else that waits."""
    if state.phase == "listening":
        *kept, last = (utterance_id, *state.held)
        if len(state.held) < MAX_HELD:
            return replace(state, held=(*kept, last)), ()
        return replace(state, held=tuple(kept)), (DropSpeech(last),)
    actions: tuple[Action, ...] = (StopPlayback(),) if state.playing_id else ()
    state, play = _play(state, utterance_id, chime=True)
    return state, (*actions, *play)


def _play(state: State, utterance_id: str, *, chime: bool) -> Step:
    phase: Phase = "muted" if state.phase == "muted" else "speaking"
    state = replace(state, phase=phase, playing_id=utterance_id, spoken_text="", follow_up=False)
    return state, (PlaySpeech(utterance_id, chime=chime),)


def _reply_withheld(state: State, event: ReplyWithheld) -> Step:
    if event.utterance_id != state.utterance_id or not state.awaiting:
        return state, ()
    phase: Phase = "speaking" if state.playing_id else "idle"
    cues: tuple[Action, ...] = () if event.cue == "none" else (PlayCue(event.cue),)
    return _release(replace(state, phase=phase, awaiting=False), *cues)


def _stop(state: State, now: float) -> Step:
    state, actions = _fall_silent(state, forget_announcements=True)
    if state.phase != "speaking":
        return state, actions
    if state.awaiting:
        return replace(state, phase="thinking", deadline=now + THINKING_S), actions
    return replace(state, phase="idle", utterance_id=""), actions


def _playback_done(state: State, event: PlaybackDone, now: float) -> Step:
    if event.utterance_id != state.playing_id:
        return state, ()
    asked = state.follow_up and not event.interrupted
    state = replace(state, playing_id="", spoken_text="", follow_up=False)
    if state.phase == "muted":
        return _release(state)
    if state.awaiting:
        return _release(replace(state, phase="thinking", deadline=now + THINKING_S))
    if asked and state.hub_connected and state.hearing and not state.held:
        begin = BeginUtterance(event.next_utterance_id, follow_up=True)
        return replace(state, phase="listening", utterance_id=begin.utterance_id), (begin, PlayCue("wake"))
    return _release(replace(state, phase="idle"))


def _fall_silent(state: State, *, forget_announcements: bool) -> Step:
    """Stop what plays, and forget the answer that waits to be played."""
    kept = tuple(held for held in state.held if held != state.utterance_id and not forget_announcements)
    actions: tuple[Action, ...] = (StopPlayback(),) if state.playing_id else ()
    actions += tuple(DropSpeech(held) for held in state.held if held not in kept)
    return replace(state, playing_id="", spoken_text="", follow_up=False, held=kept), actions


def _release(state: State, *actions: Action) -> Step:
    """Let the first waiting speech play, if nothing else does."""
    if not state.held or state.playing_id or state.phase == "listening":
        return state, actions
    first, *rest = state.held
    state, play = _play(replace(state, held=tuple(rest)), first, chime=first != state.utterance_id)
    return state, (*actions, *play)


def _words(text: str) -> str:
    """Letters and single spaces, so that "OK, Nabu!" is "okay nabu"."""
    words = re.findall(r"[^\W\d_]+", text.casefold())
    return " ".join("okay" if word == "ok" else word for word in words)
