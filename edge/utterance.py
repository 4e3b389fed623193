"""One utterance while it is listened to: cuts the audio for the voice activity detector and feeds the endpointing."""

from __future__ import annotations

from edge.endpointing import EndpointEvent, Endpointing, EndpointSettings, Verdict
from swarm.audio import SAMPLE_BYTES, level_dbfs
from swarm.engine import RATE, VoiceActivityDetector

PRIME_S = 0.3
"""How much of the pre-roll the endpointing gets: enough to know whether somebody is speaking, and how loud. The wake
word is recognised up to 255 ms after its end."""


class Utterance:
    """`preroll` is 16 kHz pcm up to the sample `position` of the stream; empty without a wake word."""

    def __init__(
        self,
        utterance_id: str,
        vad: VoiceActivityDetector,
        settings: EndpointSettings,
        *,
        preroll: bytes,
        position: int,
    ) -> None:
        self.utterance_id = utterance_id
        self._vad = vad
        self._endpointing = Endpointing(settings, after_wake=bool(preroll))
        self._chunk_ms = vad.chunk_bytes / SAMPLE_BYTES / RATE * 1000
        prime = preroll[-round(PRIME_S * RATE) * SAMPLE_BYTES :]
        self._heard_position = position - len(prime) // SAMPLE_BYTES
        self._pending = bytearray(prime)
        vad.reset()
        while len(self._pending) >= vad.chunk_bytes:
            self._endpointing.prime(*self._next_chunk())

    @property
    def speech_end(self) -> float:
        """Position in the stream, in samples, at which the last speech ended."""
        return self._heard_position - self._endpointing.silence_ms * RATE / 1000

    def feed(self, pcm: bytes) -> list[EndpointEvent]:
        """The audio that follows."""
        self._pending += pcm
        events: list[EndpointEvent] = []
        while len(self._pending) >= self._vad.chunk_bytes and not self._endpointing.over:
            events += self._endpointing.heard(*self._next_chunk())
        return events

    def hint(self, verdict: Verdict, text: str) -> list[EndpointEvent]:
        """What the hub thinks of the words so far."""
        return list(self._endpointing.hint(verdict, text))

    def _next_chunk(self) -> tuple[float, float, float]:
        size = self._vad.chunk_bytes
        chunk = bytes(self._pending[:size])
        del self._pending[:size]
        self._heard_position += size // SAMPLE_BYTES
        return self._vad.probability(chunk), self._chunk_ms, level_dbfs(chunk)
