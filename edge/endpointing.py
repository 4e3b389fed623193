"""Decides when an utterance is over. Pure: it counts audio, so there is no clock and nothing to wait for.

The satellite feeds one chunk after the other (speech probability, length, level) and passes on what the hub thinks of
the words so far. Both calls return events, in this order over one utterance::

    [paused] [resumed] speech_started ( paused resumed )* [paused] ended

`speech_started` comes at most once, `paused` and `resumed` alternate beginning with `paused`, and after `ended`
nothing follows. A pause may come before `speech_started`: after a wake word it lets the hub look for a command that
was already over when the wake word was recognised ("okay nabu stop").
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

import msgspec

from swarm.messages import EndReason

Verdict = Literal["complete", "extendable", "incomplete", "unclear"]


class EndpointSettings(msgspec.Struct, frozen=True):
    """All in milliseconds of audio unless the name says otherwise, each with what it trades."""

    pause_ms: float = 96.0
    """Silence after which transcription starts on speculation. Shorter throws more work away, longer answers later."""
    silence_ms: float = 300.0
    """Silence that ends an utterance of which nothing is known. Shorter cuts slow speakers, longer delays answers."""
    complete_ms: float = 150.0
    """The same when the words so far are a whole command, and no longer one begins so. Shorter cuts at plosives."""
    extendable_ms: float = 240.0
    """The same when they are a whole command that may go on. Shorter cuts "turn on the lamp … and the fan": between
    "lamp" and "and" fluent speech is silent for up to 220 ms."""
    incomplete_ms: float = 900.0
    """The same when they clearly are not ("turn on the …"). Longer keeps a person who gave up waiting."""
    no_speech_s: float = 4.0
    """How long to wait for a first word."""
    max_s: float = 12.0
    """An utterance never lasts longer, whatever is heard. Longer holds the satellite for a television."""
    speech_above: float = 0.5
    """Probability at which silence becomes speech. Lower wakes to noise, higher loses soft words."""
    silence_below: float = 0.35
    """Probability at which speech becomes silence; below `speech_above`, so that a wavering one does not flutter."""
    onset_ms: float = 64.0
    """Speech must last this long to break a silence. Longer loses "no", shorter lets a click prolong the utterance."""
    first_word_ms: float = 96.0
    """Speech must last this long to count as a first word. "No" has 150 ms; a click has less."""
    wake_tail_ms: float = 200.0
    """Speech right after the detection that may still be the wake word's end. Longer doubts a "stop" in one breath."""
    background_db: float = 12.0
    """Speech this far below the utterance's loudest is the room's (a television). Less cuts voices that trail off."""
    level_window_ms: float = 192.0
    """Over how much audio a level is taken: about a syllable, so that a soft last consonant is no background. Speech
    over a television therefore ends this much later."""
    stable_ms: float = 500.0
    """While speech goes on: a complete command whose words did not change for this long is the end."""


@dataclass(frozen=True)
class SpeechBegan:
    """First word after the wake word or the question."""


@dataclass(frozen=True)
class Paused:
    """A first short silence, `silence_ms` long by now."""

    silence_ms: float


@dataclass(frozen=True)
class Resumed:
    """Speech goes on after a pause."""


@dataclass(frozen=True)
class Ended:
    """The utterance is over; its last speech ended `silence_ms` ago."""

    reason: EndReason
    silence_ms: float


EndpointEvent = SpeechBegan | Paused | Resumed | Ended


class Endpointing:
    """One utterance. `after_wake`: the audio begins with a wake word, whose end is not yet a command."""

    def __init__(self, settings: EndpointSettings, *, after_wake: bool) -> None:
        self._settings = settings
        self._after_wake = after_wake
        self._elapsed_ms = 0.0
        self._level = _LevelWindow(settings.level_window_ms)
        self._talking = False
        """Hysteresis over the probability alone."""
        self._run_ms = 0.0
        """Foreground speech without a break."""
        self._silence_ms = 0.0 if after_wake else settings.onset_ms
        """Since the last foreground speech. 0 while it lasts; not yet 0 in a run shorter than `onset_ms`."""
        self._gap_ms = 0.0
        """The silence before the present run."""
        self._spoken_ms = 0.0
        """Foreground speech since the detection."""
        self._any_speech = after_wake
        self._began = False
        self._paused = False
        self._verdict: Verdict | None = None
        self._complete_text: str | None = None
        self._complete_since_ms = 0.0
        self._over = False

    @property
    def over(self) -> bool:
        """Whether `Ended` was returned."""
        return self._over

    @property
    def silence_ms(self) -> float:
        """How long ago, in audio, the last speech ended."""
        return self._silence_ms

    def prime(self, probability: float, duration_ms: float, level_dbfs: float) -> None:
        """A chunk from before the detection: tells whether somebody is speaking, and how loud."""
        self._listen(probability, duration_ms, level_dbfs)

    def heard(self, probability: float, duration_ms: float, level_dbfs: float) -> tuple[EndpointEvent, ...]:
        """The next chunk of audio."""
        if self._over:
            return ()
        self._elapsed_ms += duration_ms
        speech = self._listen(probability, duration_ms, level_dbfs)
        events: list[EndpointEvent] = []
        if speech and self._silence_ms == 0.0:
            self._spoken_ms += duration_ms
            if self._paused:
                events.append(self._resume())
            if not self._began and self._is_first_word():
                self._began = True
                events.append(SpeechBegan())
        elif not speech and self._any_speech and not self._paused and self._silence_ms >= self._settings.pause_ms:
            self._paused = True
            events.append(Paused(self._silence_ms))
        if (reason := self._end_reason(speech=speech)) is not None:
            events.append(self._end(reason))
        return tuple(events)

    def hint(self, verdict: Verdict, text: str = "") -> tuple[EndpointEvent, ...]:
        """What the hub thinks of the words so far. Given in a pause it sets how long that pause may last; given while
        speech goes on, only two complete ones with the same `text`, `stable_ms` apart, end the utterance."""
        if self._over:
            return ()
        if verdict not in ("complete", "extendable"):
            self._complete_text = None
        elif text != self._complete_text:
            self._complete_text, self._complete_since_ms = text, self._elapsed_ms
        stable = self._complete_text is not None and (
            self._elapsed_ms - self._complete_since_ms >= self._settings.stable_ms
        )
        if self._paused:
            self._verdict = verdict
            over = self._run_ms == 0.0 and self._silence_ms >= self._wanted_silence_ms()
        else:
            over = stable
        return (self._end("silence"),) if over else ()

    def _listen(self, probability: float, duration_ms: float, level_dbfs: float) -> bool:
        """Whether this chunk is foreground speech, judged with what came before; keeps the run and the silence."""
        settings = self._settings
        self._talking = probability >= (settings.silence_below if self._talking else settings.speech_above)
        level_loss_db = self._level.add(level_dbfs, duration_ms, talking=self._talking)
        if self._talking and level_loss_db <= settings.background_db:
            self._run_ms += duration_ms
            if self._silence_ms > 0.0:
                self._silence_ms += duration_ms  # perhaps only a click: until it lasts, the silence goes on
                if self._run_ms >= settings.onset_ms:
                    self._gap_ms, self._silence_ms = self._silence_ms - self._run_ms, 0.0
                    self._any_speech = True
            return True
        self._run_ms = 0.0
        self._silence_ms += duration_ms
        return False

    def _is_first_word(self) -> bool:
        """Speech that lasted, and that is not the wake word's own end."""
        settings = self._settings
        long_enough = self._run_ms >= settings.first_word_ms
        if not self._after_wake:
            return long_enough
        after_gap = self._run_ms <= self._elapsed_ms and self._gap_ms >= settings.onset_ms
        return self._spoken_ms >= settings.wake_tail_ms or (long_enough and after_gap)

    def _resume(self) -> Resumed:
        self._paused = False
        self._verdict = None
        return Resumed()

    def _wanted_silence_ms(self) -> float:
        settings = self._settings
        if self._verdict == "complete":
            return settings.complete_ms
        if not self._began:
            return float("inf")
        if self._verdict == "extendable":
            return settings.extendable_ms
        return settings.incomplete_ms if self._verdict == "incomplete" else settings.silence_ms

    def _end_reason(self, *, speech: bool) -> EndReason | None:
        settings = self._settings
        if self._elapsed_ms >= settings.max_s * 1000:
            return "cap" if self._began else "nothing_said"
        if speech:
            return None
        if self._any_speech and self._silence_ms >= self._wanted_silence_ms():
            return "silence"
        if not self._began and self._elapsed_ms >= settings.no_speech_s * 1000:
            return "nothing_said"
        return None

    def _end(self, reason: EndReason) -> Ended:
        self._over = True
        return Ended(reason, self._silence_ms)


class _LevelWindow:
    """Mean power over a sliding window, against the loudest window in which somebody spoke."""

    def __init__(self, window_ms: float) -> None:
        self._window_ms = window_ms
        self._chunks: deque[tuple[float, float]] = deque()
        self._filled_ms = 0.0
        self._loudest = 0.0

    def add(self, level_dbfs: float, duration_ms: float, *, talking: bool) -> float:
        """How many dB the window is below the loudest one; 0 before anybody spoke."""
        self._chunks.append((10 ** (level_dbfs / 10), duration_ms))
        self._filled_ms += duration_ms
        while self._filled_ms - self._chunks[0][1] >= self._window_ms:
            self._filled_ms -= self._chunks.popleft()[1]
        mean = sum(power * length for power, length in self._chunks) / self._filled_ms
        if talking:
            self._loudest = max(self._loudest, mean)
        return 10 * math.log10(self._loudest / mean) if mean > 0.0 and self._loudest > mean else 0.0
