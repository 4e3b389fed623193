"""A hub for the satellite's tests: a real WebSocket server that keeps what it is sent and answers by a script."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from aiohttp import WSMsgType, web

from swarm.codec import decode_from_satellite, encode
from swarm.messages import (
    HeardSoFar,
    Hello,
    HubMessage,
    SatelliteMessage,
    SpeechEnded,
    SpeechPaused,
    SpeechStarted,
    UtteranceEnded,
    UtteranceStarted,
    Welcome,
)

M = TypeVar("M")
Script = Callable[["FakeHub", SatelliteMessage], Awaitable[None]]


class FakeHub:
    """Keeps messages in order, and each utterance's audio."""

    def __init__(self, script: Script | None = None, *, port: int = 0) -> None:
        self.messages: list[SatelliteMessage] = []
        self.times: list[float] = []
        self.audio: dict[str, bytearray] = {}
        self.ended_at: dict[str, float] = {}
        self.port = port
        self._script = script
        self._changed = asyncio.Event()
        self._socket: web.WebSocketResponse | None = None
        self._runner: web.AppRunner | None = None
        self._listening_to = ""

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api/voice"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/api/voice", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Breaks the line without a good-bye."""
        if self._socket is not None and self._socket._req is not None and self._socket._req.transport is not None:
            self._socket._req.transport.abort()
        if self._runner is not None:
            await self._runner.cleanup()

    async def say(self, *messages: HubMessage | bytes) -> None:
        assert self._socket is not None
        for message in messages:
            if isinstance(message, bytes):
                await self._socket.send_bytes(message)
            else:
                await self._socket.send_str(encode(message))

    async def say_raw(self, text: str) -> None:
        assert self._socket is not None
        await self._socket.send_str(text)

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_said(self, kind: type[M], count: int = 1, *, timeout_s: float = 20.0) -> M:
        try:
            await self.until(lambda: len(self.of(kind)) >= count, timeout_s=timeout_s)
        except TimeoutError:
            raise AssertionError(f"no {kind.__name__} number {count} came, only {self.messages}") from None
        return self.of(kind)[count - 1]

    def of(self, kind: type[M]) -> list[M]:
        return [message for message in self.messages if isinstance(message, kind)]

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = self._socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for frame in socket:
            if frame.type is WSMsgType.BINARY:
                assert self._listening_to, "audio came outside of an utterance"
                self.audio[self._listening_to] += frame.data
            elif frame.type is WSMsgType.TEXT:
                await self._take(decode_from_satellite(frame.data))
            self._changed.set()
        return socket

    async def _take(self, message: SatelliteMessage) -> None:
        self.messages.append(message)
        self.times.append(time.monotonic())
        if isinstance(message, Hello):
            await self.say(Welcome("fake"))
        if isinstance(message, UtteranceStarted):
            self._listening_to = message.utterance_id
            self.audio[message.utterance_id] = bytearray()
        if isinstance(message, UtteranceEnded):
            self._listening_to = ""
        if self._script is not None:
            await self._script(self, message)


@asynccontextmanager
async def fake_hub(script: Script | None = None) -> AsyncIterator[FakeHub]:
    hub = FakeHub(script)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


def answering(pcm: bytes, rate: int, text: str = "done", *, follow_up: bool = False) -> Script:
    """A hub that finds every utterance complete at its first pause, and answers all with the same."""

    async def script(hub: FakeHub, message: SatelliteMessage) -> None:
        if isinstance(message, SpeechPaused):
            await hub.say(HeardSoFar(message.utterance_id, "complete", "turn on the lamp"))
        if isinstance(message, UtteranceEnded) and message.reason in ("silence", "cap"):
            await hub.say(SpeechStarted(message.utterance_id, rate))
            for start in range(0, len(pcm), 8192):
                await hub.say(pcm[start : start + 8192])
            await hub.say(SpeechEnded(message.utterance_id, text, follow_up=follow_up))

    return script
