"""What happens in conversations and to timers, told at the moment when it happens: for automations that follow.

Each is told once, by the hub at which it happens.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from hub.timer_book import Timer, TimerEvent
from swarm.messages import Trace

Source = Literal["voice", "text"]


class _Happening(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event"):
    pass


class Wake(_Happening, frozen=True, tag="wake"):
    """A wake word was heard, and a satellite listens."""

    utterance_id: str
    satellite: str
    area: str
    wake_word: str


class Heard(_Happening, frozen=True, tag="transcript"):
    """A person has said or typed something; empty when it was not understood."""

    utterance_id: str
    satellite: str
    area: str
    source: Source
    text: str


class Understood(_Happening, frozen=True, tag="intent"):
    """What it was taken for, and done."""

    utterance_id: str
    satellite: str
    area: str
    source: Source
    intent: str
    """Names of the intents, comma separated; `language_model` when one answers; empty when nothing fitted."""


class Answered(_Happening, frozen=True, tag="answer"):
    """What the hub said to it."""

    utterance_id: str
    satellite: str
    area: str
    source: Source
    outcome: str
    """As traces name it."""
    text: str


class TimerTold(_Happening, frozen=True, tag="timer"):
    """Something happened to a timer."""

    change: TimerEvent
    timer: str
    """Its id."""
    name: str
    duration_s: float
    left_s: float
    satellite: str
    """Where it was set; empty: by typed text."""
    area: str


Happening = Wake | Heard | Understood | Answered | TimerTold


def of_typed(trace: Trace) -> tuple[Happening, ...]:
    """What happened in an utterance that was typed; of spoken ones it was told while they went on."""
    if trace.source != "text":
        return ()
    where = trace.utterance_id, trace.satellite, ""
    return (
        Heard(*where, "text", trace.transcript),
        Understood(*where, "text", trace.intent),
        Answered(*where, "text", trace.outcome, trace.answer),
    )


def of_timer(change: TimerEvent, timer: Timer, left_s: float) -> TimerTold:
    """What happened to `timer`."""
    return TimerTold(
        change, timer.id, timer.name, timer.duration_s, max(0.0, round(left_s, 1)), timer.satellite, timer.area
    )
