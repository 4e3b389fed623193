"""The microphone and the speaker of a Wyoming satellite, as an audio source and an audio sink, and the connection that
they are behind."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event

from edge.sinks import FirstSample
from edge.sources import FRAME_BYTES, FRAME_S
from swarm.audio import SAMPLE_BYTES, duration_s
from swarm.errors import EngineError
from swarm.wyoming.events import write_event

SEND_S = 5.0
MAX_UNSENT = 512
MAX_FRAMES = 250
"""Five seconds of microphone that nobody took; then the oldest are dropped and counted."""
GAP_S = 0.5
"""A satellite that streams pauses no longer. One that stopped is as good as silence."""
AHEAD_S = 0.5
"""Speech is sent so far ahead of its playing: what was sent cannot be taken back."""
PLAYED_S = 1.0
"""How long after the end of the speech `played` is waited for; satellites without a speaker never say it."""
CHUNK_BYTES = 2_048


class Link:
    """What is to be written, in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer
        self._unsent: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._stuck = False

    def post(self, event: Event) -> None:
        """Write it soon."""
        self._stuck = self._stuck or len(self._unsent) >= MAX_UNSENT
        if not self._stuck:
            self._unsent.append(event)
            self._all_sent.clear()
        self._changed.set()

    async def flush(self) -> None:
        """Return when all was written."""
        await self._all_sent.wait()

    async def write(self) -> None:
        """Write until it breaks. Raises `OSError`, `EngineError`."""
        while True:
            self._changed.clear()
            while self._unsent:
                if self._stuck:
                    raise EngineError("it takes nothing")
                await write_event(self._unsent.popleft(), self._writer, timeout_s=SEND_S)
            self._all_sent.set()
            await self._changed.wait()


class RemoteMicrophone:
    """An `AudioSource` of what comes over the connection; while it is listened to, silence where nothing comes."""

    is_device = False

    def __init__(self, name: str, listening: Callable[[], bool]) -> None:
        self.name = f"the microphone of {name}"
        self.lost_frames = 0
        self.burst_frames = 1
        self._listening = listening
        self._frames: deque[bytes] = deque()
        self._rest = b""
        self._stopped = False
        self._ready = asyncio.Event()

    def put(self, pcm: bytes) -> None:
        """More of it."""
        data = self._rest + pcm
        whole = len(data) - len(data) % FRAME_BYTES
        self._rest = data[whole:]
        for start in range(0, whole, FRAME_BYTES):
            if len(self._frames) >= MAX_FRAMES:
                self._frames.popleft()
                self.lost_frames += 1
            self._frames.append(data[start : start + FRAME_BYTES])
        if pcm:
            self._stopped = False
            self._ready.set()

    def stop(self) -> None:
        """It says that no more comes for now: what was said is over."""
        self._stopped = True
        self._ready.set()

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """See `AudioSource`. The first is silence: it is there, and speaks only when it has something to say."""
        yield bytes(FRAME_BYTES)
        while True:
            if self._frames:
                yield self._frames.popleft()
                continue
            if self._stopped and self._listening():
                await asyncio.sleep(0)  # at once: nobody has to wait for silence
                yield bytes(FRAME_BYTES)
                continue
            self._ready.clear()
            try:
                async with asyncio.timeout(GAP_S):
                    await self._ready.wait()
            except TimeoutError:
                while self._listening() and not self._frames:
                    await asyncio.sleep(FRAME_S)
                    if not self._frames:
                        yield bytes(FRAME_BYTES)


class RemoteSpeaker:
    """An `AudioSink` at the other end of the connection."""

    def __init__(self, name: str, link: Link) -> None:
        self.name = f"the speaker of {name}"
        self.played = asyncio.Event()
        self._link = link
        self._rate = 0
        self._open = False
        self._on_first_sample: FirstSample | None = None
        self._ends_at = 0.0

    async def start(self, rate: int, on_first_sample: FirstSample) -> None:
        """See `AudioSink`."""
        self.stop()
        self._rate, self._on_first_sample = rate, on_first_sample
        self._ends_at = time.monotonic()
        self._open = True
        self._link.post(AudioStart(rate, SAMPLE_BYTES, 1, timestamp=0).event())

    async def write(self, pcm: bytes) -> None:
        """See `AudioSink`."""
        for start in range(0, len(pcm), CHUNK_BYTES):
            if not self._open:
                return
            piece = pcm[start : start + CHUNK_BYTES]
            self._link.post(AudioChunk(self._rate, SAMPLE_BYTES, 1, piece).event())
            await self._link.flush()
            now = time.monotonic()
            if self._on_first_sample is not None:
                self._on_first_sample(now)
                self._on_first_sample = None
            self._ends_at = max(self._ends_at, now) + duration_s(piece, self._rate)
            await asyncio.sleep(max(0.0, self._ends_at - now - AHEAD_S))

    async def drain(self) -> None:
        """See `AudioSink`."""
        self.played.clear()
        self.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._ends_at - time.monotonic()) + PLAYED_S):
                await self.played.wait()

    def stop(self) -> None:
        """See `AudioSink`."""
        if self._open:
            self._open = False
            self._link.post(AudioStop().event())

    async def close(self) -> None:
        """See `AudioSink`."""
        self.stop()
