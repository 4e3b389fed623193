from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from edge import voice_session
from edge.line import UrlConnector
from edge.voice_session import MAX_UNSENT_BYTES, VoiceSession
from swarm.codec import encode
from swarm.messages import Hello, HubMessage, SatelliteState, Welcome
from tests.edge.fake_hub import FakeHub, fake_hub


class Listener:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.messages: list[HubMessage] = []
        self._changed = asyncio.Event()

    def hub_connected(self, hub: str) -> None:
        self._tell("connected")

    def hub_lost(self) -> None:
        self._tell("lost")

    def hub_said(self, message: HubMessage) -> None:
        self.messages.append(message)

    async def hub_audio(self, pcm: bytes) -> None:
        pass

    async def until(self, *told: str) -> None:
        async with asyncio.timeout(20):
            while self.told[: len(told)] != list(told):
                self._changed.clear()
                await self._changed.wait()

    def _tell(self, what: str) -> None:
        self.told.append(what)
        self._changed.set()


@asynccontextmanager
async def session_with(url: str) -> AsyncIterator[tuple[VoiceSession, Listener]]:
    listener = Listener()
    session = VoiceSession(UrlConnector(url), Hello("kitchen"), listener)
    running = asyncio.create_task(session.run())
    try:
        yield session, listener
    finally:
        running.cancel()
        async with asyncio.timeout(2):
            await asyncio.wait({running})


@asynccontextmanager
async def server(serve: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/api/voice", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/api/voice"
    finally:
        await runner.cleanup()


def test_what_is_sent_arrives_in_order() -> None:
    async def check() -> None:
        async with fake_hub() as hub, session_with(hub.url) as (session, listener):
            await listener.until("connected")
            assert session.send(SatelliteState("idle"))
            assert session.send(SatelliteState("listening"))
            await session.flush(timeout_s=5)
            await hub.until_said(SatelliteState, 2)
            assert hub.messages == [Hello("kitchen"), SatelliteState("idle"), SatelliteState("listening")]

    asyncio.run(check())


def test_without_a_hub_nothing_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with fake_hub() as hub:
            port = hub.port
        async with session_with(f"ws://127.0.0.1:{port}/api/voice") as (session, listener):
            assert not session.send(SatelliteState("idle"))
            late = FakeHub(port=port)
            await late.start()
            try:
                await listener.until("connected")
                session.send(SatelliteState("muted"))
                await late.until_said(SatelliteState)
                assert late.messages == [Hello("kitchen"), SatelliteState("muted")]
            finally:
                await late.stop()
            await listener.until("connected", "lost")

    asyncio.run(check())


def test_hub_that_stops_reading_is_given_up_with_a_bound_on_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_session, "LAST_RETRY_S", 0.25)
    frame = bytes(32_000)

    async def check() -> None:
        stuck = asyncio.Event()

        async def serve(request: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.receive()
            await socket.send_str(encode(Welcome("stuck")))
            assert request.transport is not None
            request.transport.pause_reading()
            await stuck.wait()
            return socket

        async with server(serve) as url, session_with(url) as (session, listener):
            await listener.until("connected")
            async with asyncio.timeout(20):
                while session.send(frame):
                    assert session._unsent_bytes <= MAX_UNSENT_BYTES + len(frame)
                    await asyncio.sleep(0)
            await listener.until("connected", "lost")
            stuck.set()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (encode(Welcome("old", version=99)), "version 99"),
        ("<html>", "not a voice session message"),
        (None, "no welcome"),
    ],
)
def test_what_is_no_hub_of_ours_is_never_connected_to(
    answer: str | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        tried: asyncio.Queue[None] = asyncio.Queue()

        async def serve(request: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.receive()
            if answer is None:
                await socket.close()
            else:
                await socket.send_str(answer)
                await socket.receive()
            tried.put_nowait(None)
            return socket

        async with server(serve) as url, session_with(url) as (_, listener), asyncio.timeout(20):
            await tried.get()
            await tried.get()
            assert listener.told == []

    asyncio.run(check())
    assert caplog.text.count(reason) == 1  # said once, though tried twice


def test_a_page_that_is_no_websocket_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        tried: asyncio.Queue[None] = asyncio.Queue()

        async def serve(request: web.Request) -> web.StreamResponse:
            tried.put_nowait(None)
            return web.Response(text="<html>hello</html>", content_type="text/html")

        async with server(serve) as url, session_with(url), asyncio.timeout(20):
            await tried.get()
            await tried.get()

    asyncio.run(check())
    assert "no voice session with the hub" in caplog.text
