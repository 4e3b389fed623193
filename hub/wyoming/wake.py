"""Listening for wake words for Wyoming clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from wyoming.event import Event
from wyoming.wake import Detection, NotDetected

from swarm.audio import SAMPLE_BYTES
from swarm.engine import RATE, WakeDetector
from swarm.errors import MalformedMessage, MycoswarmError
from swarm.wyoming.audio import PcmReader, format_of
from swarm.wyoming.listener import Client, Talk

MAX_NAMES = 64
STEP_BYTES = 16_000
"""Half a second, which takes a millisecond: the others get a turn between two of them."""

Listen = Callable[[Sequence[str]], WakeDetector]
"""A detector for these wake words (ids). Raises `EngineUnavailable`."""


class WakeTalk(Talk):
    """One client: `[detect] audio-start audio-chunk… [audio-stop]`. It is told of each detection, with the timestamp of
    the chunk; at the end of a stream without any, of that."""

    def __init__(self, client: Client, listen: Listen, known: Sequence[str]) -> None:
        """`known`: the ids of all wake words, which a client that names none wants."""
        self._client = client
        self._listen = listen
        self._known = known
        self._names: tuple[str, ...] = tuple(known)
        self._detector: WakeDetector | None = None
        self._reader = PcmReader()
        self._heard = 0
        self._detected = False

    async def take(self, event: Event) -> None:
        """See `Talk`."""
        match event.type:
            case "detect":
                self._names, self._detector = self._wanted(event.data.get("names")), None
            case "audio-start":
                format_of(event)
                self._reader, self._heard, self._detected = PcmReader(), 0, False
                if self._detector is not None:
                    self._detector.reset()
            case "audio-chunk":
                await self._hear(event)
            case "audio-stop":
                if not self._detected:
                    await self._client.send(NotDetected().event())
                self._detected = False

    def _wanted(self, names: object) -> tuple[str, ...]:
        if not names:
            return tuple(self._known)
        if not isinstance(names, list) or len(names) > MAX_NAMES or not all(isinstance(name, str) for name in names):
            raise MalformedMessage("detect names no wake words")
        wanted = tuple(name for name in self._known if name in names)
        if not wanted:
            raise MycoswarmError(
                "none of these wake words can be listened for", hint=f"there are {', '.join(self._known)}"
            )
        return wanted

    async def _hear(self, event: Event) -> None:
        timestamp = event.data.get("timestamp")
        pcm = self._reader.feed(event)
        if self._detector is None:
            self._detector = self._listen(self._names)
        for start in range(0, len(pcm), STEP_BYTES):
            step = pcm[start : start + STEP_BYTES]
            self._heard += len(step) // SAMPLE_BYTES
            detection = self._detector.process(step)
            if detection is not None:
                self._detected = True
                at = timestamp if isinstance(timestamp, int) else round(self._heard * 1000 / RATE)
                await self._client.send(Detection(detection.wake_word, at).event())
            await asyncio.sleep(0)
