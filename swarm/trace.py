"""Records when each stage of an utterance was reached."""

from __future__ import annotations

import time
from collections.abc import Callable
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
        source: Literal["voice", "text", "announcement"],
        satellite: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._clock = clock
        self._times: dict[str, tuple[float, str]] = {}
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

    def mark(self, stage: str, *, ms_ago: float = 0.0, node: str | None = None) -> None:
        """Note that `stage` (one of `STAGES`) was reached; only the first time counts, except for `last_audio`."""
        if stage not in STAGES:
            raise ValueError(f"no such stage: {stage}")
        if stage not in self._times or stage == "last_audio":
            self._times[stage] = (self._clock() - ms_ago / 1000.0, node or self._node)

    def note(
        self,
        *,
        transcript: str | None = None,
        intent: str | None = None,
        answer: str | None = None,
        outcome: str | None = None,
        wake_word: str | None = None,
    ) -> None:
        """Fill in what is known by now; None leaves a field as it is."""
        values = {"transcript": transcript, "intent": intent, "answer": answer, "outcome": outcome}
        values["wake_word"] = wake_word
        given = {key: value for key, value in values.items() if value is not None}
        self._trace = msgspec.structs.replace(self._trace, **given)

    def trace(self) -> Trace:
        """The trace so far, marks in order of time, counted from the first."""
        times = sorted(self._times.items(), key=lambda item: item[1][0])
        origin = times[0][1][0] if times else 0.0
        marks = tuple(Mark(stage, node, round((at - origin) * 1000.0, 1)) for stage, (at, node) in times)
        return msgspec.structs.replace(self._trace, marks=marks)
