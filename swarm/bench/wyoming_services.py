"""Wyoming services that answer at once, and a Wyoming satellite: what Home Assistant and a node of ours use alike.

They listen on loopback. What the recognizer "hears" is set beforehand, and speech is a tone, so whatever takes time is
neither of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import struct
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Info, Satellite, TtsProgram, TtsVoice
from wyoming.ping import Ping, Pong
from wyoming.pipeline import PipelineStage, RunPipeline

from swarm.bench.speech import Recording
from swarm.engine import RATE
from swarm.errors import MycoswarmError

CHUNK = RATE // 50
"""Samples that a satellite sends at a time: 20 ms."""
TONE_S = 1.0
ANSWER_S = 20.0
CONNECT_S = 60.0

Hear = Callable[[Event, StreamWriter], Awaitable[None]]


class InstantEngines:
    """Speech to text and text to speech on one port."""

    def __init__(self) -> None:
        self.hears = ""
        """The transcript of whatever comes next."""
        self.port = 0
        self._tone = b"".join(
            struct.pack("<h", round(8000 * math.sin(2 * math.pi * 440 * at / RATE))) for at in range(int(TONE_S * RATE))
        )

    async def hear(self, event: Event, writer: StreamWriter) -> None:
        """Answer one event."""
        match event.type:
            case "audio-stop":
                await async_write_event(Transcript(text=self.hears).event(), writer)
            case "synthesize":
                await async_write_event(AudioStart(RATE, 2, 1).event(), writer)
                for start in range(0, len(self._tone), 2048):
                    chunk = AudioChunk(RATE, 2, 1, self._tone[start : start + 2048])
                    await async_write_event(chunk.event(), writer)
                await async_write_event(AudioStop().event(), writer)

    def info(self) -> Info:
        """What it is."""
        name, by, version = "instant", Attribution("mycoswarm", ""), "1"
        model = AsrModel(name, by, installed=True, description=None, version=version, languages=["en"])
        voice = TtsVoice(name, by, installed=True, description=None, version=version, languages=["en"])
        asr = AsrProgram(name, by, installed=True, description=None, version=version, models=[model])
        tts = TtsProgram(name, by, installed=True, description=None, version=version, voices=[voice])
        return Info(asr=[asr], tts=[tts])


class ScriptedSatellite:
    """A satellite of Home Assistant's that plays recordings to it. Times are of `time.monotonic`."""

    def __init__(self) -> None:
        self.port = 0
        self._server: StreamWriter | None = None
        self._running = asyncio.Event()
        self._first_audio = asyncio.Event()
        self._first_audio_at = 0.0
        self._spoken = asyncio.Event()
        self._refusal = ""

    async def hear(self, event: Event, writer: StreamWriter) -> None:
        """Answer one event."""
        match event.type:
            case "run-satellite":
                self._server = writer
                self._running.set()
            case "audio-chunk" if not self._first_audio.is_set():
                self._first_audio_at = time.monotonic()
                self._first_audio.set()
            case "audio-stop":
                self._spoken.set()
            case "error":
                self._refusal = Error.from_event(event).text
                self._first_audio.set()

    def info(self) -> Info:
        """What it is."""
        by = Attribution("mycoswarm", "")
        return Info(satellite=Satellite("bench satellite", by, installed=True, description=None, version="1"))

    async def say(self, recording: Recording) -> tuple[float, float]:
        """Play it in real time; when its speech ended, and when the first audio of the answer came. Raises
        `MycoswarmError`."""
        async with asyncio.timeout(CONNECT_S):
            await self._running.wait()
        assert self._server is not None
        self._first_audio.clear()
        self._spoken.clear()
        self._refusal = ""
        await async_write_event(RunPipeline(PipelineStage.ASR, PipelineStage.TTS).event(), self._server)
        began = time.monotonic()
        playing = asyncio.create_task(self._play(recording.pcm, self._server, began))
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._first_audio.wait()
                if not self._refusal:
                    await self._spoken.wait()
        except TimeoutError:
            raise MycoswarmError(f"Home Assistant did not answer its satellite within {ANSWER_S:g} s") from None
        finally:
            playing.cancel()
            await asyncio.wait({playing})
        if self._refusal:
            raise MycoswarmError(f"Home Assistant did not answer its satellite: {self._refusal}")
        return began + recording.speech_end / RATE, self._first_audio_at

    async def _play(self, pcm: bytes, writer: StreamWriter, began: float) -> None:
        """The recording, then silence until cancelled; each chunk leaves when its last sample was captured."""
        for number in range(int(ANSWER_S * RATE / CHUNK)):
            audio = pcm[2 * number * CHUNK : 2 * (number + 1) * CHUNK].ljust(2 * CHUNK, b"\0")
            await asyncio.sleep(max(0.0, began + (number + 1) * CHUNK / RATE - time.monotonic()))
            await async_write_event(AudioChunk(RATE, 2, 1, audio).event(), writer)


@asynccontextmanager
async def serving(*services: InstantEngines | ScriptedSatellite) -> AsyncIterator[None]:
    """Have them listen, each on a free port, until the block ends."""
    async with contextlib.AsyncExitStack() as ending:
        for service in services:
            server = await asyncio.start_server(_door(service), "127.0.0.1", 0)
            ending.callback(server.close)
            service.port = server.sockets[0].getsockname()[1]
        yield


def _door(service: InstantEngines | ScriptedSatellite) -> Callable[[StreamReader, StreamWriter], Awaitable[None]]:
    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while (event := await async_read_event(reader)) is not None:
                if event.type == "describe":
                    await async_write_event(service.info().event(), writer)
                elif event.type == "ping":
                    await async_write_event(Pong(text=Ping.from_event(event).text).event(), writer)
                else:
                    await service.hear(event, writer)
        writer.close()

    return serve
