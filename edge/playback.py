"""Plays the hub's speech and the satellite's own cues through a sink, one after the other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge.earcons import earcon
from edge.satellite import Cue
from edge.sinks import AudioSink
from swarm.audio import SAMPLE_BYTES, gain_of_volume, scaled
from swarm.errors import AudioDeviceError

MAX_BUFFERED_S = 60.0
"""Speech that arrived and is not played yet. Beyond it the hub is not read from until some was played."""
STALLED_S = 30.0
"""Speech that does not go on for this long is given up; a small model on an old PC takes 10 s for a sentence."""
MAX_WAITING = 8
_CUE_RATE = 22_050

log = logging.getLogger(__name__)


class Speech:
    """One answer as it arrives."""

    def __init__(self, utterance_id: str, rate: int, *, chime: bool = True, volume: int | None = None) -> None:
        """`chime`: one may go before it. `volume` for it alone, in place of the player's."""
        self.utterance_id = utterance_id
        self.rate = rate
        self.chime = chime
        self.volume = volume
        self.text = ""
        self.follow_up = False
        self.complete = False
        """Whether the hub sent all of it; False at its end when the line broke."""
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._odd = b""
        self._ended = False
        self._changed = asyncio.Event()

    async def add(self, pcm: bytes) -> None:
        """More of it; waits while `MAX_BUFFERED_S` is there already."""
        while self._buffered > MAX_BUFFERED_S * self.rate * SAMPLE_BYTES and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        if self._ended:
            return
        pcm = self._odd + pcm
        whole = len(pcm) - len(pcm) % SAMPLE_BYTES
        self._odd = pcm[whole:]
        self._chunks.append(pcm[:whole])
        self._buffered += whole
        self._changed.set()

    def end(self, *, complete: bool) -> None:
        """No more comes."""
        if not self._ended:
            self._ended, self.complete = True, complete
            self._changed.set()

    async def next_chunk(self) -> bytes:
        """The next piece; empty at the end. Raises `TimeoutError` when it stalls."""
        while not self._chunks:
            if self._ended:
                return b""
            self._changed.clear()
            async with asyncio.timeout(STALLED_S):
                await self._changed.wait()
        chunk = self._chunks.popleft()
        self._buffered -= len(chunk)
        self._changed.set()
        return chunk


@dataclass(frozen=True)
class _Item:
    speech: Speech | None
    cue: Cue | None


class Player:
    """Plays what it is given in order; `run` does the work.

    `on_started(utterance_id, at)`: the first sample of a speech was handed to the device at monotonic `at`.
    `on_done(utterance_id, interrupted)`: called once for each speech, also when it never began.
    """

    def __init__(
        self,
        sink: AudioSink,
        *,
        volume: int,
        on_started: Callable[[str, float], None],
        on_done: Callable[[str, bool], None],
    ) -> None:
        self.volume = volume
        self._sink = sink
        self._on_started = on_started
        self._on_done = on_done
        self._waiting: deque[_Item] = deque()
        self._wake = asyncio.Event()
        self._current: asyncio.Task[None] | None = None
        self._rate = _CUE_RATE
        self._complained = ""

    def cue(self, cue: Cue) -> None:
        """Play a short sound after what plays now; left out when too much waits."""
        self._append(_Item(None, cue))

    def speak(self, speech: Speech, *, chime: bool) -> None:
        """Play a speech, which may still be arriving."""
        if not self._append(_Item(speech, "chime" if chime else None)):
            self._on_done(speech.utterance_id, True)

    def stop(self) -> None:
        """Be quiet at once; everything that waits is forgotten."""
        waiting, self._waiting = self._waiting, deque()
        if self._current is not None:
            self._sink.stop()
            self._current.cancel()
        for item in waiting:
            if item.speech is not None:
                self._on_done(item.speech.utterance_id, True)

    async def run(self) -> None:
        """Play until cancelled."""
        try:
            while True:
                self._wake.clear()
                while self._waiting:
                    self._current = asyncio.create_task(self._play(self._waiting.popleft()))
                    await asyncio.wait({self._current})
                    self._current = None
                await self._wake.wait()
        finally:
            if self._current is not None:
                self._current.cancel()
                await asyncio.wait({self._current})
            await self._sink.close()

    def _append(self, item: _Item) -> bool:
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append(item)
        self._wake.set()
        return True

    async def _play(self, item: _Item) -> None:
        speech = item.speech
        interrupted = True
        try:
            await self._play_through(item)
            interrupted = speech is not None and not speech.complete
        except AudioDeviceError as error:
            self._complain(error)
        except TimeoutError:
            self._sink.stop()
            log.warning("the hub's speech stopped arriving; giving it up after %.0f s", STALLED_S)
        finally:
            if speech is not None:
                speech.end(complete=False)
                self._on_done(speech.utterance_id, interrupted)

    async def _play_through(self, item: _Item) -> None:
        speech = item.speech
        first = await speech.next_chunk() if speech is not None else b""
        if speech is not None:
            self._rate = speech.rate
            if not first:
                return
        await self._sink.start(self._rate, self._first_sample_of(speech))
        if item.cue is not None:
            await self._sink.write(scaled(earcon(item.cue, self._rate), self._gain_for(speech)))
        while first and speech is not None:
            await self._sink.write(scaled(first, self._gain_for(speech)))
            first = await speech.next_chunk()
        await self._sink.drain()
        self._complained = ""

    def _gain_for(self, speech: Speech | None) -> float:
        own = speech.volume if speech is not None else None
        return gain_of_volume(self.volume if own is None else own)

    def _first_sample_of(self, speech: Speech | None) -> Callable[[float], None]:
        def first_sample(at: float) -> None:
            if speech is not None:
                self._on_started(speech.utterance_id, at)

        return first_sample

    def _complain(self, error: AudioDeviceError) -> None:
        """Once for each reason in a row: a missing speaker is not news at every answer."""
        if str(error) != self._complained:
            self._complained = str(error)
            log.warning("nothing can be heard: %s", error.for_log())


def milliseconds_since(at: float) -> float:
    """How long ago monotonic `at` was; never negative."""
    return max(0.0, round((time.monotonic() - at) * 1000, 1))
