"""Listening for wake words by a Wyoming service of another program, and meanwhile by oneself.

The service gets all that the microphone hears; detections come back a moment later. While it is away or silent, the own
detector's count.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress

from wyoming.audio import AudioChunk, AudioStart
from wyoming.ping import Ping
from wyoming.wake import Detect

from swarm.audio import SAMPLE_BYTES
from swarm.engine import RATE, Detection, WakeDetector
from swarm.errors import EngineError
from swarm.wyoming.others import Exchange, OtherService

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
CHUNK_BYTES = 2_560
"""80 ms, what wake services take at a time."""
MAX_UNSENT = 50
"""Chunks that are not sent yet; then the service hangs, and is left."""
PING_S, SILENT_S = 2.0, 5.0
"""How often it is asked whether it is there, and after how long without a word it is not. A service that knows no pings
ignores them, and is only lost when it hangs up or takes nothing."""
NEVER_S = 1e6
REFRACTORY_S = 2.0
MAX_NAME = 100

log = logging.getLogger(__name__)


class WyomingWakeDetector:
    """A `WakeDetector` that has to `run` beside. `own` listens while the service at `url` is away."""

    def __init__(self, url: str, own: WakeDetector) -> None:
        self.own = own
        self._service = OtherService(url)
        self._connected = False
        self._pending = bytearray()
        self._unsent: deque[bytes] = deque()
        self._heard = asyncio.Event()
        self._detected: deque[Detection] = deque(maxlen=1)
        self._deaf_bytes = 0
        """For so much audio nothing is detected: the word's own echo."""
        self._complained = False

    @property
    def connected(self) -> bool:
        """Whether the service listens."""
        return self._connected

    def process(self, pcm: bytes) -> Detection | None:
        """See `WakeDetector`."""
        own = self.own.process(pcm)  # always: it takes over without having missed anything
        self._deaf_bytes = max(0, self._deaf_bytes - len(pcm))
        if not self._connected:
            return own
        self._pending += pcm
        while len(self._pending) >= CHUNK_BYTES:
            self._unsent.append(bytes(self._pending[:CHUNK_BYTES]))
            del self._pending[:CHUNK_BYTES]
            self._heard.set()
        if not self._detected or self._deaf_bytes:
            self._detected.clear()
            return None
        self._deaf_bytes = round(REFRACTORY_S * RATE) * SAMPLE_BYTES
        return self._detected.popleft()

    def reset(self) -> None:
        """See `WakeDetector`."""
        self.own.reset()
        self._pending.clear()
        self._detected.clear()

    async def run(self) -> None:
        """Keep a connection to the service until cancelled."""
        retry_s = FIRST_RETRY_S
        while True:
            try:
                async with self._service.exchange() as exchange:
                    await exchange.send(Detect().event(), AudioStart(RATE, SAMPLE_BYTES, 1).event())
                    log.info("%s listens for wake words", self._service.name)
                    retry_s, self._complained = FIRST_RETRY_S, False
                    await self._listen(exchange)
            except EngineError as error:
                level = logging.DEBUG if self._complained else logging.WARNING
                self._complained = True
                log.log(level, "%s; this machine listens for its own wake words meanwhile", error.for_log())
            finally:
                self._connected = False
                self._unsent.clear()
                self._pending.clear()
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)

    async def _listen(self, exchange: Exchange) -> None:
        self._connected = True
        works = [asyncio.create_task(work) for work in (self._send(exchange), self._receive(exchange))]
        try:
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for work in works:
                work.cancel()
            await asyncio.wait(works)
        for work in done:
            work.result()

    async def _send(self, exchange: Exchange) -> None:
        sent = 0
        pinged_at = asyncio.get_running_loop().time()
        while True:
            self._heard.clear()
            while self._unsent:
                if len(self._unsent) > MAX_UNSENT:
                    raise EngineError(f"{self._service.name} does not take the audio")
                piece = self._unsent.popleft()
                at = sent * 1000 // RATE
                await exchange.send(AudioChunk(RATE, SAMPLE_BYTES, 1, piece, timestamp=at).event())
                sent += len(piece) // SAMPLE_BYTES
            now = asyncio.get_running_loop().time()
            if now - pinged_at >= PING_S:
                pinged_at = now
                await exchange.send(Ping().event())
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_S):
                    await self._heard.wait()

    async def _receive(self, exchange: Exchange) -> None:
        answers_pings = False
        while True:
            event = await exchange.receive(timeout_s=SILENT_S if answers_pings else NEVER_S)
            answers_pings = answers_pings or event.type == "pong"
            if event.type == "detection":
                name = event.data.get("name")
                word = name[:MAX_NAME] if isinstance(name, str) and name else "wake word"
                self._detected.append(Detection(word, word.replace("_", " "), 1.0))
