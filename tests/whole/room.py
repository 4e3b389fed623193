"""A room with a satellite and a person in it: the edge's own code, with a microphone that a test speaks into."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from edge.line import UrlConnector
from edge.satellite import BeginUtterance, HubConnected, MicrophoneFound
from edge.service import Happening, Satellite
from edge.sinks import AudioSink, CollectingSink
from edge.sources import FRAME_BYTES, RecordingSource
from edge.voice_activity import SileroVoiceActivity
from edge.wake_word import MicroWakeDetector
from swarm.messages import NoReply, SpeechEnded, Transcribed
from tests.speech import say, silence, trimmed

H = TypeVar("H")
VOICE = "flite:slt"


class Room:
    """What happens in it is kept in `seen`, in order."""

    name = "room"
    is_device = False

    def __init__(self) -> None:
        self.lost_frames = 0
        self.burst_frames = 1
        self.satellite: Satellite
        self.seen: list[Happening] = []
        self._said = bytearray()
        self._changed = asyncio.Event()

    def say(self, pcm: bytes) -> None:
        """A person speaks."""
        self._said += pcm

    def command(self, text: str, voice: str = VOICE) -> None:
        """Push to talk, and a sentence."""
        self.satellite.listen()
        self.say(silence(0.2) + spoken(text, voice))

    def of(self, kind: type[H]) -> list[H]:
        return [each for each in self.seen if isinstance(each, kind)]

    async def until_seen(self, kind: type[H], count: int = 1, *, seconds: float = 20.0) -> H:
        """The `count`-th of a kind."""
        try:
            async with asyncio.timeout(seconds):
                while len(self.of(kind)) < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            seen = [each for each in self.seen if not isinstance(each, bytes)]
            raise AssertionError(f"no {kind.__name__} number {count}, but {seen[-12:]}") from None
        return self.of(kind)[count - 1]

    async def answered(self, text: str, count: int = 1, *, voice: str = VOICE) -> tuple[str, str]:
        """Say a command; what was heard and what was answered, as the `count`-th in this room."""
        self.command(text, voice)
        answer = await self.until_seen(SpeechEnded, count)
        return self.of(Transcribed)[-1].text, answer.text

    @property
    def utterance_ids(self) -> list[str]:
        return [each.utterance_id for each in self.of(BeginUtterance)]

    @property
    def refused(self) -> list[NoReply]:
        return self.of(NoReply)

    def see(self, happening: Happening) -> None:
        self.seen.append(happening)
        self._changed.set()

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The microphone, in real time: silence until somebody speaks."""
        async for quiet in RecordingSource(b"", then_silence=True).frames():
            heard = bytes(self._said[:FRAME_BYTES])
            del self._said[:FRAME_BYTES]
            yield heard.ljust(FRAME_BYTES, b"\0") if heard else quiet


@asynccontextmanager
async def room_at(
    url: str, name: str, *, area: str | None = None, wake: bool = False, sink: AudioSink | None = None
) -> AsyncIterator[Room]:
    """A room whose satellite is connected to the node. Without `wake` it is push to talk."""
    room = Room()
    room.satellite = Satellite(
        hub=UrlConnector(url),
        name=name,
        area=area,
        source=room,
        sink=sink or CollectingSink(),
        detector=MicroWakeDetector(["okay_nabu"]) if wake else None,
        vad=SileroVoiceActivity(),
        watch=room.see,
    )
    running = asyncio.create_task(room.satellite.run())
    try:
        await room.until_seen(HubConnected)
        await room.until_seen(MicrophoneFound)
        yield room
    finally:
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled(), running.exception()


def spoken(text: str, voice: str = VOICE) -> bytes:
    """A sentence without silence around it."""
    return trimmed(say(text, voice))
