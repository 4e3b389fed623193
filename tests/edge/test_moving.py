"""A satellite that has several hubs to choose from, and loses the one that it uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from edge import voice_session
from edge.line import Line, UrlConnector
from edge.sinks import CollectingSink
from edge.voice_session import VoiceSession
from swarm.codec import encode
from swarm.messages import (
    Hello,
    PlaybackStarted,
    SatelliteState,
    SpeechEnded,
    SpeechStarted,
    UtteranceEnded,
    UtteranceStarted,
    Welcome,
)
from tests.edge.fake_hub import FakeHub, answering, fake_hub
from tests.edge.test_service import NABU, ONE_BREATH, REPLY, VOICE, Room, satellite_with, until
from tests.edge.test_voice_session import Listener, server
from tests.speech import say, silence, trimmed

COMMAND = trimmed(say("turn on the lamp", VOICE))


class Several:
    """The first of these hubs that is there; `better` is what the lines are given."""

    where = "a hub"

    def __init__(self, *hubs: FakeHub, better: Callable[[], bool] | None = None) -> None:
        self.hubs = list(hubs)
        self.better = better

    @asynccontextmanager
    async def line(self, *, urgent: bool) -> AsyncIterator[Line]:
        async with AsyncExitStack() as closing:
            for hub in self.hubs:
                try:
                    line = await closing.enter_async_context(UrlConnector(hub.url).line(urgent=urgent))
                except aiohttp.ClientError:
                    continue
                yield Line(line.socket, better=self.better)
                return
            raise ConnectionError("none is there")


def test_hub_that_dies_in_an_utterance_is_replaced_and_the_person_need_not_repeat_it() -> None:
    async def check() -> None:
        room = Room()
        async with (
            fake_hub() as one,
            fake_hub(answering(REPLY, 16_000)) as two,
            satellite_with(Several(one, two), room),
        ):
            await one.until_said(SatelliteState)
            room.say(silence(0.5) + ONE_BREATH)
            begun = await one.until_said(UtteranceStarted)
            await one.until(lambda: len(one.audio[begun.utterance_id]) > len(NABU))
            await one.stop()
            again = await two.until_said(UtteranceStarted)
            ended = await two.until_said(UtteranceEnded)
            assert again.utterance_id == ended.utterance_id == begun.utterance_id
            assert (again.wake_word, again.preroll_ms) == (begun.wake_word, begun.preroll_ms)
            assert again.wake_ms_ago > begun.wake_ms_ago
            assert not again.told_before
            heard, heard_first = bytes(two.audio[begun.utterance_id]), bytes(one.audio[begun.utterance_id])
            assert heard.startswith(heard_first)
            assert len(heard) > len(heard_first)
            await two.until_said(PlaybackStarted)

    asyncio.run(check())


def test_next_hub_learns_that_the_one_before_had_heard_everything() -> None:
    async def check() -> None:
        room = Room()
        async with (
            fake_hub() as one,
            fake_hub() as two,
            fake_hub(answering(REPLY, 16_000)) as three,
            satellite_with(Several(one, two, three), room),
        ):
            await one.until_said(SatelliteState)
            room.say(silence(0.5) + ONE_BREATH)
            await one.until_said(UtteranceEnded)
            await one.stop()
            assert (await two.until_said(UtteranceStarted)).told_before
            assert await two.until_said(UtteranceEnded)
            await two.stop()
            assert (await three.until_said(UtteranceStarted)).told_before
            assert bytes(next(iter(three.audio.values()))) == bytes(next(iter(one.audio.values())))
            await three.until_said(PlaybackStarted)

    asyncio.run(check())


def test_utterance_begun_while_a_hub_is_looked_for_is_told_the_one_that_is_found() -> None:
    async def check() -> None:
        room = Room()
        connector = Several()
        async with fake_hub() as one, fake_hub(answering(REPLY, 16_000)) as two:
            connector.hubs = [one]
            async with satellite_with(connector, room) as satellite:
                await one.until_said(SatelliteState)
                connector.hubs = []
                await one.stop()
                await until(lambda: not satellite.connected)
                await until(lambda: satellite.hearing)
                satellite.listen()
                assert satellite.phase == "listening"
                connector.hubs = [two]
                room.say(COMMAND)
                await two.until_said(UtteranceEnded)
                assert not two.of(UtteranceStarted)[0].told_before

    asyncio.run(check())


def test_answer_that_breaks_off_with_the_hub_is_stopped_and_said_to_be_so() -> None:
    async def check() -> None:
        room, sink = Room(), CollectingSink()
        async with (
            fake_hub() as one,
            fake_hub() as two,
            satellite_with(Several(one, two), room, sink) as satellite,
        ):
            await one.until_said(SatelliteState)
            await until(lambda: satellite.hearing)
            satellite.listen()
            room.say(silence(0.2) + COMMAND)
            ended = await one.until_said(UtteranceEnded)
            await one.say(SpeechStarted(ended.utterance_id, 16_000), *[bytes(64_000)] * 10)
            await one.until_said(PlaybackStarted)
            await one.stop()
            await until(lambda: satellite.phase == "idle")
            await two.until_said(SatelliteState)
            assert two.of(UtteranceStarted) == []
            await until(lambda: len(sink.played) == 2)

    asyncio.run(check())


def test_better_hub_is_gone_to_when_nobody_speaks_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_session, "LOOK_EVERY_S", 0.02)

    async def check() -> None:
        room = Room()
        there: list[FakeHub] = []
        looked = 0

        def better() -> bool:
            nonlocal looked
            looked += 1
            return bool(there)

        async with fake_hub() as alone, fake_hub() as hub:
            connector = Several(alone, better=better)
            async with satellite_with(connector, room) as satellite:
                await alone.until_said(SatelliteState)
                await until(lambda: satellite.hearing)
                satellite.listen()
                there.append(hub)
                connector.hubs = [hub]
                before = looked
                room.say(silence(0.2) + COMMAND)
                ended = await alone.until_said(UtteranceEnded)
                assert looked == before
                await alone.say(
                    SpeechStarted(ended.utterance_id, 16_000), REPLY, SpeechEnded(ended.utterance_id, "Yes.")
                )
                connector.better = None
                await hub.until_said(SatelliteState)
                assert hub.of(UtteranceStarted) == []

    asyncio.run(check())


@pytest.mark.parametrize("engaged", [True, False])
def test_hub_that_went_silent_is_given_up_while_somebody_waits(
    monkeypatch: pytest.MonkeyPatch, engaged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(voice_session, "PING_EVERY_S", 0.02)

    async def check() -> None:
        stuck, pinged = asyncio.Event(), asyncio.Event()

        async def serve(request: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse(autoping=False)
            await socket.prepare(request)
            await socket.receive()
            await socket.send_str(encode(Welcome("silent")))
            while (await socket.receive()).type is aiohttp.WSMsgType.PING:
                pinged.set()
            await stuck.wait()
            return socket

        class Network(UrlConnector):
            @asynccontextmanager
            async def line(self, *, urgent: bool) -> AsyncIterator[Line]:
                async with (
                    aiohttp.ClientSession() as http,
                    http.ws_connect(url, autoping=False, timeout=aiohttp.ClientWSTimeout(ws_close=0.01)) as socket,
                ):
                    yield Line(socket, over_network=True)

        async with server(serve) as url:
            listener = Listener()
            session = VoiceSession(Network(url), Hello("kitchen"), listener)
            running = asyncio.create_task(session.run())
            try:
                await listener.until("connected")
                session.engage(engaged)
                if engaged:
                    await listener.until("connected", "lost")
                    await until(lambda: "it went silent" in caplog.text)
                else:
                    session.send(SatelliteState("idle"))
                    await session.flush(timeout_s=5)
                    assert not pinged.is_set()
            finally:
                running.cancel()
                await asyncio.wait({running})
                stuck.set()

    asyncio.run(check())
    assert ("it went silent" in caplog.text) == engaged


def test_hub_that_answers_pings_is_kept_however_long_it_thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_session, "PING_EVERY_S", 0.02)

    async def check() -> None:
        pings = 0
        enough = asyncio.Event()

        async def serve(request: web.Request) -> web.StreamResponse:
            nonlocal pings
            socket = web.WebSocketResponse(autoping=False)
            await socket.prepare(request)
            await socket.receive()
            await socket.send_str(encode(Welcome("thinks")))
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.PING:
                    pings += 1
                    await socket.pong(frame.data)
                    if pings == 20:
                        enough.set()
            return socket

        class Network(UrlConnector):
            @asynccontextmanager
            async def line(self, *, urgent: bool) -> AsyncIterator[Line]:
                async with aiohttp.ClientSession() as http, http.ws_connect(url, autoping=False) as socket:
                    yield Line(socket, over_network=True)

        async with server(serve) as url:
            listener = Listener()
            session = VoiceSession(Network(url), Hello("kitchen"), listener)
            running = asyncio.create_task(session.run())
            try:
                await listener.until("connected")
                session.engage(True)
                async with asyncio.timeout(20):
                    await enough.wait()
                assert listener.told == ["connected"]
            finally:
                running.cancel()
                await asyncio.wait({running})

    asyncio.run(check())
