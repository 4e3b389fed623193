"""What one satellite is sent to play: sentences of answers, announcements and sounds, one after the other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing

from hub.floor import Floor, Turn
from hub.verbalize import verbalize
from swarm.announcement import Announcement
from swarm.audio import duration_s
from swarm.codec import MAX_AUDIO_BYTES
from swarm.engine import Synthesizer
from swarm.errors import EngineError
from swarm.messages import Message, SpeechStarted
from swarm.trace import TraceRecorder, watched

AHEAD_S = 10.0
"""Speech is sent at most this far ahead of its playing, so that a long answer can still be interrupted."""
SOUND_CHUNK_BYTES = 16 * 1024

log = logging.getLogger(__name__)

Send = Callable[[Message | bytes], Awaitable[bool]]
"""False when the satellite takes nothing any more."""


class Mouth:
    """Of one satellite."""

    def __init__(self, synthesizer: Synthesizer, send: Send) -> None:
        self.begun = ""
        """The utterance whose speech the satellite was last sent."""
        self._synthesizer = synthesizer
        self._send = send
        self._floor = Floor()
        self._plays_until = 0.0

    def turn(self, *, interrupt: bool = False) -> AbstractAsyncContextManager[Turn]:
        """One speaker at a time: see `Floor.turn`."""
        return self._floor.turn(interrupt=interrupt)

    async def speak(
        self,
        recorder: TraceRecorder,
        text: str,
        language: str,
        *,
        begun: bool = False,
        announcement: Announcement | None = None,
    ) -> bool:
        """Send the speech of one sentence, or an announcement's sound; False when there is none or nobody takes it.
        `begun`: it goes on with an answer."""
        stage = "last_audio" if begun else "first_audio"
        sent = 0
        with watched() as work:
            try:
                async with aclosing(self._pieces(text, language, announcement)) as chunks:
                    async for rate, chunk in chunks:
                        if not begun and not sent:
                            recorder.tell(stage, work)
                            self.begun = recorder.utterance_id
                            await self._send(_beginning(recorder.utterance_id, rate, announcement))
                            self._plays_until = time.monotonic()
                        if not await self._send_speech(chunk, rate):
                            return False
                        sent += len(chunk)
            except EngineError as error:
                # What was sent of it is heard, and the next sentence may succeed.
                log.error("cannot say %.80r: %s", text, error)
            recorder.tell(stage, work)
        return sent > 0

    async def _pieces(
        self, text: str, language: str, announcement: Announcement | None
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Rate and pcm."""
        if announcement is not None and announcement.sound:
            for offset in range(0, len(announcement.sound), SOUND_CHUNK_BYTES):
                yield announcement.rate, announcement.sound[offset : offset + SOUND_CHUNK_BYTES]
            return
        speech = self._synthesizer.synthesize(verbalize(text, language), language=language)
        async with aclosing(speech) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                yield self._synthesizer.rate, chunk

    async def _send_speech(self, chunk: bytes, rate: int) -> bool:
        """Send it, not too far ahead of its playing; False when nobody takes it."""
        for offset in range(0, len(chunk), MAX_AUDIO_BYTES):
            if not await self._send(chunk[offset : offset + MAX_AUDIO_BYTES]):
                return False
        now = time.monotonic()
        self._plays_until = max(self._plays_until, now) + duration_s(chunk, rate)
        await asyncio.sleep(max(0.0, self._plays_until - now - AHEAD_S))
        return True


def _beginning(utterance_id: str, rate: int, announcement: Announcement | None) -> SpeechStarted:
    if announcement is None:
        return SpeechStarted(utterance_id, rate)
    return SpeechStarted(
        utterance_id,
        rate,
        announcement=True,
        chime=announcement.chime,
        volume=announcement.volume,
        interrupt=announcement.interrupt,
    )
