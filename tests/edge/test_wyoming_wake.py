from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from wyoming.event import Event
from wyoming.ping import Pong
from wyoming.wake import Detection as Detected

from edge import wyoming_wake
from edge.wyoming_wake import WyomingWakeDetector
from swarm.engine import Detection
from tests.wyoming_peers import PATIENCE_S, Service, service

LOUD, QUIET = b"\x00\x40" * 1_280, bytes(2_560)


class Own:
    """Detects what is loud."""

    def process(self, pcm: bytes) -> Detection | None:
        return Detection("own", "own", 1.0) if b"\x40" in pcm else None

    def reset(self) -> None:
        pass


async def detects(event: Event, send: Callable[[Event], Awaitable[None]]) -> bool:
    if event.type == "ping":
        await send(Pong().event())
    if event.type == "audio-chunk" and b"\x40" in (event.payload or b""):
        await send(Detected(name="hey_house").event())
    return True


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


async def heard(detector: WyomingWakeDetector, pcm: bytes) -> Detection:
    """Feed it, then silence until something is detected."""
    async with asyncio.timeout(PATIENCE_S):
        found = detector.process(pcm)
        while found is None:
            await asyncio.sleep(0.01)
            found = detector.process(QUIET)
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_a_service_of_others_listens_and_the_own_detector_while_it_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wyoming_wake, "FIRST_RETRY_S", 0.05)

    async def test() -> None:
        other = Service(detects)
        detector = WyomingWakeDetector(other.url, Own())
        running = asyncio.create_task(detector.run())
        try:
            assert detector.process(LOUD) == Detection("own", "own", 1.0)
            await other.start()
            await until(lambda: detector.connected)
            assert await heard(detector, LOUD) == Detection("hey_house", "hey house", 1.0)
            assert detector.process(LOUD) is None  # the word's own echo
            await other.stop()
            await until(lambda: not detector.connected)
            assert detector.process(LOUD) == Detection("own", "own", 1.0)
        finally:
            running.cancel()
            await asyncio.wait([running])
            await other.stop()

    run(test())


def test_a_service_that_falls_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wyoming_wake, "PING_S", 0.05)
    monkeypatch.setattr(wyoming_wake, "SILENT_S", 0.3)

    async def test() -> None:
        async with service(detects) as other:
            detector = WyomingWakeDetector(other.url, Own())
            running = asyncio.create_task(detector.run())
            try:
                await until(lambda: detector.connected)
                await until(lambda: any(event.type == "ping" for event in other.heard))

                async def hangs(event: Event, send: Callable[[Event], Awaitable[None]]) -> bool:
                    return True

                other.answer = hangs
                await until(lambda: not detector.connected)
            finally:
                running.cancel()
                await asyncio.wait([running])

    run(test())
