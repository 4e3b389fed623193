"""A satellite that hears raw pcm from a pipe or file and ends when that ends: `arecord … | mycoswarm listen`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import IO

from edge.line import UrlConnector
from edge.service import Happening, Satellite
from edge.sinks import AudioSink, NoSink, Speaker
from edge.sources import FRAME_BYTES, FRAME_S, StreamSource
from swarm.config import Config
from swarm.engine import VoiceActivityDetector, WakeDetector
from swarm.errors import AudioError
from swarm.messages import NoReply, SpeechEnded, Transcribed

WAKE_GRACE_S = 1.0
"""How long after the end a wake word at its very end may still be recognised."""
LAST_ANSWER_S = 90.0
"""How long the answer to the last question may take, spoken to its end."""

Tell = Callable[[str, str], None]
"""Gets `heard` and the transcript, `answer` and the answer."""


async def satellite_on_pipe(file: IO[bytes], config: Config, *, url: str, name: str, area: str, tell: Tell) -> None:
    """`run_piped` with the wake words, speaker and volume of the configuration; `area` goes before its own."""
    from edge.voice_activity import SileroVoiceActivity
    from edge.wake_word import MicroWakeDetector

    section = config.satellite
    await run_piped(
        file,
        url=url,
        name=name,
        detector=MicroWakeDetector(section.wake_words, section.sensitivity),
        vad=SileroVoiceActivity(),
        sink=NoSink() if section.speaker == "none" else Speaker(section.speaker),
        area=area or section.area or None,
        language=config.node.language,
        volume=section.volume,
        tell=tell,
    )


async def run_piped(
    file: IO[bytes],
    *,
    url: str,
    name: str,
    detector: WakeDetector | None,
    vad: VoiceActivityDetector,
    sink: AudioSink,
    area: str | None = None,
    language: str = "en",
    volume: int = 80,
    tell: Tell,
) -> None:
    """Hear `file` (16 kHz pcm) until it ends and what was said in it has its answer.

    Raises `AudioError` when it cannot be read.
    """
    source = _ThenSilence(StreamSource(file))
    changed = asyncio.Event()

    def watch(happening: Happening) -> None:
        match happening:
            case Transcribed():
                tell("heard", happening.text)
            case SpeechEnded():
                tell("answer", happening.text)
            case NoReply():
                tell("answer", "")
        changed.set()

    satellite = Satellite(
        hub=UrlConnector(url),
        name=name,
        source=source,
        sink=sink,
        detector=detector,
        vad=vad,
        area=area,
        language=language,
        volume=volume,
        watch=watch,
    )
    running = asyncio.create_task(satellite.run())
    try:
        await source.ended.wait()
        if source.failure is not None:
            raise source.failure
        await asyncio.sleep(WAKE_GRACE_S)
        try:
            async with asyncio.timeout(LAST_ANSWER_S):
                while satellite.phase not in ("idle", "muted"):
                    changed.clear()
                    await changed.wait()
                    await asyncio.sleep(0)  # what is watched takes effect after it was shown
        except TimeoutError:
            pass
        await satellite.flush(timeout_s=1.0)
    finally:
        running.cancel()
        await asyncio.wait({running})


class _ThenSilence:
    """An `AudioSource` followed by silence, so that what was said last comes to its end."""

    is_device = False

    def __init__(self, source: StreamSource) -> None:
        self.name = source.name
        self.lost_frames = 0
        self.burst_frames = 1
        self.ended = asyncio.Event()
        self.failure: AudioError | None = None
        self._source = source

    async def frames(self) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._source.frames()) as frames:
                async for frame in frames:
                    yield frame
                    self._source.burst_frames = self.burst_frames
        except AudioError as error:
            self.failure = error
        finally:
            self.ended.set()
        while True:
            await asyncio.sleep(FRAME_S)
            yield bytes(FRAME_BYTES)
