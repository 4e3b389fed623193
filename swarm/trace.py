"""Records when each stage of an utterance was reached, and by which node.

Engines do not know whose utterance they work on, and whoever asks one does not know that it is a machine elsewhere. An
engine that reaches for others says who did the work with `done_by`; whoever records a trace listens with `watched`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Literal

import msgspec

from swarm.messages import STAGES, Mark, Trace


class TraceRecorder:
    """Collects the marks of one utterance; `trace()` is what is stored and shown."""

    def __init__(
        self,
        utterance_id: str,
        *,
        node: str,
        source: Literal["voice", "text", "announcement", "rule"],
        satellite: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._clock = clock
        self._times: dict[str, tuple[float, str]] = {}
        self._doers: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._trace = Trace(
            utterance_id=utterance_id,
            started_at=datetime.now().astimezone().isoformat(timespec="milliseconds"),
            source=source,
            satellite=satellite,
        )

    @property
    def utterance_id(self) -> str:
        """The one name of this utterance on all nodes."""
        return self._trace.utterance_id

    @property
    def node(self) -> str:
        """The node that records."""
        return self._node

    def mark(self, stage: str, *, ms_ago: float = 0.0, node: str | None = None) -> None:
        """Note that `stage` (one of `STAGES`) was reached; only the first time counts, except for `last_audio`."""
        if stage not in STAGES:
            raise ValueError(f"no such stage: {stage}")
        if stage not in self._times or stage == "last_audio":
            self._times[stage] = (self._clock() - ms_ago / 1000.0, node or self._doers.get(stage) or self._node)

    def tell(self, stage: str, work: Work) -> None:
        """Who does the work of a stage, and what went wrong, for when it is marked; what is empty tells nothing."""
        if work.node:
            self._doers[stage] = work.node
        if work.note:
            self._notes[stage] = work.note

    def note(
        self,
        *,
        transcript: str | None = None,
        intent: str | None = None,
        answer: str | None = None,
        outcome: str | None = None,
        wake_word: str | None = None,
        why: str | None = None,
    ) -> None:
        """Fill in what is known by now; None leaves a field as it is."""
        values = {"transcript": transcript, "intent": intent, "answer": answer, "outcome": outcome}
        values |= {"wake_word": wake_word, "why": why}
        given = {key: value for key, value in values.items() if value is not None}
        self._trace = msgspec.structs.replace(self._trace, **given)

    def trace(self) -> Trace:
        """The trace so far, marks in order of time, counted from the first."""
        times = sorted(self._times.items(), key=lambda item: item[1][0])
        origin = times[0][1][0] if times else 0.0
        marks = tuple(
            Mark(stage, node, round((at - origin) * 1000.0, 1), self._notes.get(stage, ""))
            for stage, (at, node) in times
        )
        return msgspec.structs.replace(self._trace, marks=marks)


class Work:
    """What an engine said of a piece of work."""

    def __init__(self) -> None:
        self.node = ""
        """Name of the node that did it; empty: this one."""
        self.note = ""
        """See `Mark.note`."""


_watched: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def watched() -> Iterator[Work]:
    """What engines say of the work that is done inside the block, in this task and those that it starts."""
    work = Work()
    token = _watched.set(work)
    try:
        yield work
    finally:
        _watched.reset(token)


def done_by(node: str, *, note: str | None = None) -> None:
    """This node did the work; `note` says what went wrong before, None leaves what was said."""
    work = _watched.get()
    if work is not None:
        work.node = node
        work.note = work.note if note is None else note
