"""One utterance as hubs are told it. It is kept until its answer begins: should the hub be lost before, another one is
told the same, and the person need not repeat it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge.satellite import BeginUtterance
from swarm.audio import SAMPLE_BYTES
from swarm.engine import RATE
from swarm.messages import EndReason, Message, UtteranceEnded, UtteranceStarted

MAX_S = 20.0
"""The endpointing ends an utterance after 12 s."""
SEND_BYTES = 8 * 1024
"""Audio in one frame when much of it is sent at once."""


class KeptUtterance:
    """`ms_ago` tells how long ago a position in the stream of the microphone, in samples, was heard."""

    def __init__(
        self, begin: BeginUtterance, *, wake_position: int, preroll: bytes, ms_ago: Callable[[float], float]
    ) -> None:
        self._begin = begin
        self._wake_position = wake_position
        self._preroll_ms = len(preroll) / SAMPLE_BYTES / RATE * 1000
        self._audio = bytearray(preroll)
        self._ms_ago = ms_ago
        self._end: tuple[EndReason, float] | None = None
        self._was_told = False

    def add(self, pcm: bytes) -> None:
        """More of it was heard."""
        if len(self._audio) < MAX_S * RATE * SAMPLE_BYTES:
            self._audio += pcm

    def end(self, reason: EndReason, speech_end: float) -> UtteranceEnded:
        """It is over; what to say of it."""
        self._end = reason, speech_end
        return UtteranceEnded(self._begin.utterance_id, reason, self._ms_ago(speech_end))

    def was_told(self) -> None:
        """A hub has all of it, and may do what was said."""
        self._was_told = True

    @property
    def ended(self) -> bool:
        """Nothing more will be added."""
        return self._end is not None

    def as_far_as_it_came(self) -> Iterator[Message | bytes]:
        """All that a hub is to be sent that knows nothing of it."""
        begin = self._begin
        yield UtteranceStarted(
            begin.utterance_id,
            wake_word=begin.wake_word,
            wake_ms_ago=self._ms_ago(self._wake_position) if begin.wake_word else 0.0,
            preroll_ms=self._preroll_ms,
            follow_up=begin.follow_up,
            told_before=self._was_told,
        )
        for start in range(0, len(self._audio), SEND_BYTES):
            yield bytes(self._audio[start : start + SEND_BYTES])
        if self._end is not None:
            yield self.end(*self._end)
