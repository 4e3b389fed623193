"""The messages of a voice session between a satellite and a hub, and the trace they leave.

A session is one WebSocket. JSON text frames carry the messages below; binary frames carry `pcm`: from the satellite
the microphone (16-bit signed little-endian mono, 16 kHz), from the hub speech in the rate that `SpeechStarted` named.
Clocks of two machines differ, so a message never carries a time: it carries `ms_ago`, how long before sending the
thing happened on the sender's monotonic clock. Words as in the Wyoming protocol (github.com/OHF-Voice/wyoming).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

PROTOCOL_VERSION = 1


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=lambda name: name, forbid_unknown_fields=False):
    """Root of all wire messages; the class name is the `type` on the wire."""


# ---- satellite to hub


class Hello(Message, frozen=True):
    """First message of a session: who speaks."""

    satellite: str
    """Name of the satellite, unique in the home, such as `kitchen`."""
    area: str | None = None
    """Where it stands: the area meant by "turn on the light"."""
    language: str = "en"
    traces: bool = False
    """It wants the trace of each of its utterances (`Traced`)."""
    version: int = PROTOCOL_VERSION


class UtteranceStarted(Message, frozen=True):
    """The satellite listens; binary frames that follow are this utterance, beginning with the pre-roll."""

    utterance_id: str
    wake_word: str | None = None
    """Id of the wake model that fired, such as `okay_nabu`; None for a follow-up or a push to talk."""
    wake_ms_ago: float = 0.0
    """When the wake word was detected."""
    preroll_ms: float = 0.0
    """How much of the audio that follows lies before the detection."""
    follow_up: bool = False
    """The hub asked a question and this is the answer to it."""
    told_before: bool = False
    """Another hub had all of it and was lost before it answered: what was said may be done already."""


class SpeechPaused(Message, frozen=True):
    """A first short silence: time to transcribe what was heard so far, on speculation."""

    utterance_id: str
    silence_ms: float


class SpeechResumed(Message, frozen=True):
    """Speech went on after a pause: what was speculated is void."""

    utterance_id: str


EndReason = Literal["silence", "cap", "nothing_said", "cancelled"]


class UtteranceEnded(Message, frozen=True):
    """No more audio of this utterance. `nothing_said` and `cancelled` want no answer."""

    utterance_id: str
    reason: EndReason
    speech_end_ms_ago: float = 0.0
    """When the last speech was heard, by the satellite's voice activity detector."""


class PlaybackStarted(Message, frozen=True):
    """The first sample of the answer was handed to the sound device."""

    utterance_id: str
    ms_ago: float = 0.0


class PlaybackFinished(Message, frozen=True):
    """The last sample was played, or playback was interrupted."""

    utterance_id: str
    interrupted: bool = False
    ms_ago: float = 0.0


class SatelliteState(Message, frozen=True):
    """The satellite changed state (for the dashboard and the bus)."""

    state: Literal["idle", "listening", "thinking", "speaking", "muted"]


class VolumeChanged(Message, frozen=True):
    """The playback volume, 0 to 100, was set at the satellite itself."""

    percent: Annotated[int, msgspec.Meta(ge=0, le=100)]


# ---- hub to satellite


class Welcome(Message, frozen=True):
    """Answer to `Hello`."""

    node: str
    wake_words: tuple[str, ...] = ()
    version: int = PROTOCOL_VERSION


class HeardSoFar(Message, frozen=True):
    """The hub's opinion of an unfinished utterance, so that the satellite may end it sooner or wait longer."""

    utterance_id: str
    verdict: Literal["complete", "extendable", "incomplete", "unclear"]
    text: str = ""


class Transcribed(Message, frozen=True):
    """The final transcript; `text` is empty when nothing was understood."""

    utterance_id: str
    text: str


class SpeechStarted(Message, frozen=True):
    """Binary frames that follow are speech to play."""

    utterance_id: str
    rate: int
    """Samples per second of the 16-bit mono frames that follow."""
    announcement: bool = False
    """Spoken unasked (a timer ended)."""
    chime: bool = True
    """A chime goes before an announcement."""
    volume: int | None = None
    """0 to 100, for this speech alone; None: as loud as the satellite is set."""
    interrupt: bool = False
    """This announcement stops what is being played, and comes before what waits; not before a person who speaks."""


class SpeechEnded(Message, frozen=True):
    """All speech of this answer was sent."""

    utterance_id: str
    text: str = ""
    """The whole answer as text."""
    follow_up: bool = False
    """The answer was a question: listen again without a wake word."""


class NoReply(Message, frozen=True):
    """The utterance ends without speech (never mind, stop, nothing heard)."""

    utterance_id: str
    cue: Literal["none", "error", "done"] = "none"


class StopSpeaking(Message, frozen=True):
    """Stop playback at once."""


class Listen(Message, frozen=True):
    """A program of the home wants the satellite to listen now, without a wake word; a sound says that it does."""


class SetVolume(Message, frozen=True):
    """Playback volume, 0 to 100."""

    percent: int


SatelliteMessage = (
    Hello
    | UtteranceStarted
    | SpeechPaused
    | SpeechResumed
    | UtteranceEnded
    | PlaybackStarted
    | PlaybackFinished
    | SatelliteState
    | VolumeChanged
)


# ---- traces

STAGES = (
    "wake",
    "speech_end",
    "endpoint",
    "transcript",
    "intent",
    "action_confirmed",
    "first_token",
    "first_audio",
    "last_audio",
)


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a stage of an utterance was reached, and where."""

    stage: str
    """One of `STAGES`."""
    node: str
    """Who did it: of `wake` to `endpoint` and of `last_audio` the satellite, of `transcript` the node whose engine
    heard it, of `first_token` the one whose language model answers, of `first_audio` the one whose voice speaks."""
    at_ms: float
    """Milliseconds since the utterance's first mark, on the hub's monotonic clock."""
    note: str = ""
    """Why it was not done as well as it usually is: which machine failed, and what stood in for it."""


class Trace(msgspec.Struct, frozen=True):
    """What happened to one utterance, from wake word or typed text to the last sample of the answer."""

    utterance_id: str
    started_at: str
    """Wall clock, ISO 8601 with offset; for people, never for arithmetic."""
    source: Literal["voice", "text", "announcement", "rule"]
    satellite: str = ""
    transcript: str = ""
    intent: str = ""
    """Names of the intents, comma separated; `language_model` when one answered; empty when nothing fitted."""
    answer: str = ""
    outcome: str = ""
    """`done`, `not_understood`, `unconfirmed`, `unavailable`, `cancelled`, `nothing_said` or `failed`."""
    wake_word: str = ""
    why: str = ""
    """What the words were taken for, and what was done for them, as a person is told who asks why."""
    marks: tuple[Mark, ...] = ()


class Traced(Message, frozen=True):
    """From the hub: an utterance of this satellite is over, and this is what happened to it."""

    trace: Trace


HubMessage = (
    Welcome
    | HeardSoFar
    | Transcribed
    | SpeechStarted
    | SpeechEnded
    | NoReply
    | StopSpeaking
    | Listen
    | SetVolume
    | Traced
)
