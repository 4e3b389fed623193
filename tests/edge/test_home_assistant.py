"""This machine's satellite at Home Assistant, whose side is played with the Wyoming library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.satellite import PauseSatellite, RunSatellite
from wyoming.timer import TimerFinished
from wyoming.tts import Synthesize

from edge.home_assistant import HomeAssistantHub
from edge.line import Line
from edge.service import Happening, Satellite
from edge.sinks import CollectingSink
from edge.sources import RecordingSource
from edge.voice_activity import SileroVoiceActivity
from edge.wake_word import MicroWakeDetector
from swarm.engine import RATE
from swarm.errors import NodeUnreachable
from swarm.messages import Transcribed
from swarm.wyoming.listener import AllowList
from tests.speech import say, silence
from tests.wyoming_peers import PATIENCE_S, answers, client, tell

SPOKEN = silence(0.5) + say("okay nabu") + silence(0.3) + say("turn on the kitchen lamp") + silence(1.0)


class Nowhere:
    """No other hub; `asked` counts."""

    where = "nowhere"

    def __init__(self) -> None:
        self.asked = 0

    @asynccontextmanager
    async def line(self, *, urgent: bool) -> AsyncIterator[Line]:
        self.asked += 1
        raise NodeUnreachable("there is no other hub")
        yield  # type: ignore[unreachable]


class Room:
    """A satellite that hears a recording once it is told to begin."""

    def __init__(self, spoken: bytes) -> None:
        self.begin = asyncio.Event()
        self.other = Nowhere()
        self.happened: list[Happening] = []
        self.news = asyncio.Event()
        self.hub = HomeAssistantHub(
            name="kitchen",
            area="Kitchen",
            wake_words=("okay_nabu",),
            allow=AllowList(),
            other=self.other,
            paused=lambda paused: self.satellite.set_muted(paused, by="Home Assistant"),
        )
        self.sink = CollectingSink()
        self.satellite = Satellite(
            hub=self.hub,
            name="kitchen",
            source=RecordingSource(spoken, then_silence=True, begin=self.begin),
            sink=self.sink,
            detector=MicroWakeDetector(("okay_nabu",)),
            vad=SileroVoiceActivity(),
            watch=self._saw,
        )

    def _saw(self, happening: Happening) -> None:
        self.happened.append(happening)
        self.news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):  # not everything that is waited for is shown
                        await self.news.wait()


@asynccontextmanager
async def a_room(spoken: bytes = SPOKEN) -> AsyncIterator[Room]:
    room = Room(spoken)
    await room.hub.listener.start("127.0.0.1", 0)
    running = asyncio.create_task(room.satellite.run())
    try:
        yield room
    finally:
        running.cancel()
        await asyncio.wait([running])
        await room.hub.listener.close()


async def connected(room: Room, peer: AsyncTcpClient) -> None:
    await tell(peer, RunSatellite().event(), Describe().event())
    await answers(peer, last="info")
    await room.until(lambda: room.satellite.connected)
    room.begin.set()


async def until_heard(peer: AsyncTcpClient, kind: str) -> list[Event]:
    """Events up to this one, pings answered as Home Assistant does."""
    heard = []
    while True:
        event = await peer.read_event()
        assert event is not None
        if event.type == "ping":
            await tell(peer, Event("pong"))
            continue
        heard.append(event)
        if event.type == kind:
            return heard


def speech(seconds: float = 0.3, rate: int = 24_000) -> list[Event]:
    pcm = b"\x10\x00\x10\x00" * round(seconds * rate)
    chunks = [AudioChunk(rate, 2, 2, pcm[start : start + 4_096]).event() for start in range(0, len(pcm), 4_096)]
    return [AudioStart(rate, 2, 2).event(), *chunks, AudioStop().event()]


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_home_assistant_hears_what_is_said_after_the_wake_word_and_is_heard() -> None:
    async def test() -> None:
        async with a_room() as room, client(room.hub.listener.port) as peer:
            await tell(peer, Describe().event())
            info = Info.from_event((await answers(peer, last="info"))[-1])
            assert info.satellite is not None
            assert (info.satellite.name, info.satellite.area) == ("kitchen", "Kitchen")
            assert info.satellite.active_wake_words == ["okay_nabu"]
            assert info.wake[0].models[0].phrase == "okay nabu"
            await connected(room, peer)
            heard = await until_heard(peer, "audio-stop")
            assert [event.type for event in heard[:3]] == ["detection", "run-pipeline", "audio-chunk"]
            assert heard[0].data["name"] == "okay_nabu"
            pipeline = RunPipeline.from_event(heard[1])
            assert (pipeline.start_stage, pipeline.end_stage) == (PipelineStage.ASR, PipelineStage.TTS)
            pcm = b"".join(event.payload or b"" for event in heard)
            assert 1.5 < len(pcm) / 2 / RATE < 6.0
            assert say("okay nabu")[8_000:12_000] not in pcm  # it would be taken for the command
            assert say("turn on the kitchen lamp")[8_000:24_000] in pcm
            await tell(peer, Transcript("turn on the kitchen lamp").event(), Synthesize("It is on.").event(), *speech())
            await until_heard(peer, "played")
            rate, played = room.sink.played[-1]
            assert rate == 24_000
            assert abs(len(played) / 2 / rate - 0.3) < 0.05
            await room.until(lambda: room.satellite.phase == "idle")

    run(test())


def test_announcements_and_timers_are_heard_unasked() -> None:
    async def test() -> None:
        async with a_room(b"") as room, client(room.hub.listener.port) as peer:
            await connected(room, peer)
            await tell(peer, *speech(0.2))
            await until_heard(peer, "played")
            before = len(room.sink.played)
            await tell(peer, Event("timer-started", {"id": "1", "total_seconds": 5}), TimerFinished("1").event())
            await until_heard(peer, "played")
            assert len(room.sink.played) > before

    run(test())


def test_a_pipeline_that_fails_ends_the_utterance() -> None:
    async def test() -> None:
        async with a_room() as room, client(room.hub.listener.port) as peer:
            await connected(room, peer)
            await until_heard(peer, "audio-chunk")
            assert room.satellite.phase == "listening"
            await tell(peer, Error("no speech to text", code="stt-provider-missing").event())
            await room.until(lambda: room.satellite.phase == "idle")

    run(test())


def test_home_assistant_that_ends_listening_first_is_believed() -> None:
    async def test() -> None:
        async with a_room() as room, client(room.hub.listener.port) as peer:
            await connected(room, peer)
            await until_heard(peer, "audio-chunk")
            await tell(peer, Transcript("stop").event(), *speech(0.1))
            await until_heard(peer, "played")
            assert any(isinstance(each, Transcribed) and each.text == "stop" for each in room.happened)

    run(test())


def test_muting_it_there_mutes_it_here_and_without_home_assistant_the_own_hub_is_asked() -> None:
    async def test() -> None:
        async with a_room(b"") as room:
            async with client(room.hub.listener.port) as peer:
                await connected(room, peer)
                await tell(peer, PauseSatellite().event())
                await room.until(lambda: room.satellite.phase == "muted")
                await tell(peer, RunSatellite().event())
                await room.until(lambda: room.satellite.phase == "idle")
                room.satellite.set_muted(True)
                await tell(peer, PauseSatellite().event(), RunSatellite().event(), Describe().event())
                await answers(peer, last="info")
                assert room.satellite.phase == "muted"  # a person muted it here
                asked = room.other.asked
            await room.until(lambda: not room.satellite.connected and room.other.asked > asked)
            async with client(room.hub.listener.port) as peer:
                await connected(room, peer)

    run(test())


def test_a_second_home_assistant_is_refused_while_the_first_lives() -> None:
    async def test() -> None:
        async with a_room(b"") as room, client(room.hub.listener.port) as first, client(room.hub.listener.port) as two:
            await connected(room, first)
            await tell(two, RunSatellite().event())
            assert "another Home Assistant" in (await answers(two, last="error"))[-1].data["text"]
            await tell(first, Describe().event())
            await answers(first, last="info")
            assert room.satellite.connected

    run(test())
