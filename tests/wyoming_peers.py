"""Wyoming programs of others: a client by the Wyoming library itself, and small services made with its own server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

from wyoming.audio import AudioChunk
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.info import Attribution, Info
from wyoming.info import Satellite as SatelliteInfo
from wyoming.ping import Pong
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.server import AsyncEventHandler, AsyncTcpServer
from wyoming.snd import Played
from wyoming.wake import Detection

from tests.buses import free_port

PATIENCE_S = 20.0
Answer = Callable[[Event, Callable[[Event], Awaitable[None]]], Awaitable[bool]]
"""What a service does with an event, and how it sends; False: it hangs up."""


@asynccontextmanager
async def client(port: int) -> AsyncIterator[AsyncTcpClient]:
    async with AsyncTcpClient("127.0.0.1", port, connect_timeout=PATIENCE_S, read_timeout=PATIENCE_S) as connected:
        yield connected


async def tell(peer: AsyncTcpClient, *events: Event) -> None:
    for event in events:
        await peer.write_event(event)


async def answers(peer: AsyncTcpClient, *, last: str) -> list[Event]:
    """All events up to the one of type `last`; fails on an error event and at the end of the connection."""
    heard: list[Event] = []
    while not heard or heard[-1].type != last:
        event = await peer.read_event()
        assert event is not None, f"the connection ended after {[each.type for each in heard]}"
        assert event.type != "error" or last == "error", event.data
        heard.append(event)
    return heard


class Service:
    """A Wyoming service on loopback by the library's own server. `answer` may be changed while it runs."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.port = free_port()
        self.heard: list[Event] = []
        self.connections = 0
        self._server: AsyncTcpServer | None = None
        self._handlers: list[_Handler] = []

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    async def start(self) -> Service:
        self._server = AsyncTcpServer("127.0.0.1", self.port)
        await self._server.start(lambda reader, writer: _Handler(self, reader, writer))
        return self

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
            tasks = list(server._handlers)
            if tasks:
                await asyncio.wait(tasks, timeout=PATIENCE_S)


class _Handler(AsyncEventHandler):
    def __init__(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._service = service
        service.connections += 1

    async def handle_event(self, event: Event) -> bool:
        self._service.heard.append(event)
        return await self._service.answer(event, self.write_event)


@asynccontextmanager
async def service(answer: Answer) -> AsyncIterator[Service]:
    running = await Service(answer).start()
    try:
        yield running
    finally:
        await running.stop()


class FakeSatellite:
    """A satellite with the events of wyoming-satellite: `stage` is `asr` for one that hears its wake word by itself and
    streams until it is told what it said, `wake` for one that always streams."""

    def __init__(self, stage: Literal["asr", "wake"]) -> None:
        self.stage = stage
        self.port = free_port()
        self.heard: list[Event] = []
        self.played: list[tuple[int, bytes]] = []
        """Rate and pcm of each thing that was played."""
        self.news = asyncio.Event()
        self.answers_pings = True
        self._server: AsyncTcpServer | None = None
        self._handler: _SatelliteHandler | None = None
        self._streaming = False

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def texts(self) -> list[str]:
        return [event.data["text"] for event in self.heard if event.type == "transcript"]

    @property
    def running(self) -> bool:
        return any(event.type == "run-satellite" for event in self.heard)

    async def start(self) -> FakeSatellite:
        self._server = AsyncTcpServer("127.0.0.1", self.port)
        await self._server.start(lambda reader, writer: _SatelliteHandler(self, reader, writer))
        return self

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def say(self, pcm: bytes, *, wake_word: str = "okay_nabu") -> None:
        """Speak to it, as fast as a person does."""
        if self.stage == "asr":
            await self.send(Detection(name=wake_word).event())
            await self.send(RunPipeline(PipelineStage.ASR, PipelineStage.TTS).event())
            self._streaming = True
        began = time.monotonic()
        for number, start in enumerate(range(0, len(pcm), 2_048), start=1):
            if self.stage == "asr" and not self._streaming:
                return
            await self.send(AudioChunk(16_000, 2, 1, pcm[start : start + 2_048]).event())
            await asyncio.sleep(max(0.0, began + number * 0.064 - time.monotonic()))

    async def send(self, event: Event) -> None:
        assert self._handler is not None
        await self._handler.write_event(event)

    async def take(self, handler: _SatelliteHandler, event: Event) -> bool:
        if event.type == "describe":
            await handler.write_event(Info(satellite=_ARTIFACT).event())
            return True
        if self._handler not in (None, handler):
            return False  # one server at a time
        self._handler = handler
        match event.type:
            case "ping" if self.answers_pings:
                await handler.write_event(Pong(text=event.data.get("text")).event())
            case "run-satellite" if self.stage == "wake":
                await self.send(RunPipeline(PipelineStage.WAKE, PipelineStage.TTS, restart_on_end=True).event())
            case "transcript" | "error" | "pause-satellite":
                self._streaming = False
            case "audio-start":
                self.played.append((event.data["rate"], b""))
            case "audio-chunk":
                rate, pcm = self.played[-1]
                self.played[-1] = rate, pcm + (event.payload or b"")
            case "audio-stop":
                await self.send(Played().event())
        if event.type not in ("audio-chunk", "ping"):
            self.heard.append(event)
        self.news.set()
        return True

    def parted(self, handler: _SatelliteHandler) -> None:
        if self._handler is handler:
            self._handler, self._streaming = None, False
            self.news.set()


_ARTIFACT = SatelliteInfo(
    name="my satellite", attribution=Attribution("", ""), installed=True, description="", version="1.4.1"
)


class _SatelliteHandler(AsyncEventHandler):
    def __init__(self, satellite: FakeSatellite, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._satellite = satellite

    async def handle_event(self, event: Event) -> bool:
        return await self._satellite.take(self, event)

    async def disconnect(self) -> None:
        self._satellite.parted(self)
