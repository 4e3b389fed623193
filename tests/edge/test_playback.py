from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge import playback
from edge.earcons import earcon
from edge.playback import MAX_WAITING, Player, Speech
from edge.sinks import AudioSink, CollectingSink, FirstSample, NoSink
from swarm.audio import scaled
from swarm.errors import AudioDeviceError


class Stage:
    """A player, and what it told."""

    def __init__(self, sink: AudioSink) -> None:
        self.started: list[str] = []
        self.done: list[tuple[str, bool]] = []
        self._changed = asyncio.Event()
        self.player = Player(sink, volume=100, on_started=self._start, on_done=self._end)

    def _start(self, utterance_id: str, at: float) -> None:
        self.started.append(utterance_id)
        self._changed.set()

    def _end(self, utterance_id: str, interrupted: bool) -> None:
        self.done.append((utterance_id, interrupted))
        self._changed.set()

    async def until(self, *, started: int = 0, done: int = 0) -> None:
        async with asyncio.timeout(10):
            while len(self.started) < started or len(self.done) < done:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def stage(sink: AudioSink) -> AsyncIterator[Stage]:
    it = Stage(sink)
    running = asyncio.create_task(it.player.run())
    try:
        yield it
    finally:
        running.cancel()
        await asyncio.wait({running})


async def speech_of(utterance_id: str, *chunks: bytes, rate: int = 16_000, end: bool = True) -> Speech:
    speech = Speech(utterance_id, rate)
    for chunk in chunks:
        await speech.add(chunk)
    if end:
        speech.end(complete=True)
    return speech


def test_speech_is_played_whole_and_told_once() -> None:
    async def check() -> None:
        sink = CollectingSink()
        async with stage(sink) as it:
            it.player.speak(await speech_of("a", b"\1\2\3", b"\4\5\6"), chime=False)
            it.player.speak(await speech_of("b", b"\7\0", rate=8_000), chime=False)
            await it.until(done=2)
        assert it.started == ["a", "b"]
        assert it.done == [("a", False), ("b", False)]
        assert [(rate, bytes(pcm)) for rate, pcm in sink.played] == [(16_000, b"\1\2\3\4\5\6"), (8_000, b"\7\0")]

    asyncio.run(check())


def test_chime_goes_before_in_the_same_rate() -> None:
    async def check() -> None:
        sink = CollectingSink()
        async with stage(sink) as it:
            it.player.speak(await speech_of("a", b"\7\0" * 100), chime=True)
            await it.until(done=1)
        assert bytes(sink.played[0][1]) == earcon("chime", 16_000) + b"\7\0" * 100

    asyncio.run(check())


def test_first_chunk_is_played_before_the_last_arrived() -> None:
    async def check() -> None:
        async with stage(CollectingSink()) as it:
            speech = await speech_of("a", b"\1\0" * 100, end=False)
            it.player.speak(speech, chime=False)
            await it.until(started=1)
            assert it.done == []
            speech.end(complete=True)
            await it.until(done=1)

    asyncio.run(check())


def test_volume_is_applied_to_what_is_played_next() -> None:
    async def check() -> None:
        sink = CollectingSink()
        async with stage(sink) as it:
            it.player.volume = 50
            it.player.speak(await speech_of("a", b"\x00\x10" * 10), chime=False)
            await it.until(done=1)
        assert bytes(sink.played[0][1]) == scaled(b"\x00\x10" * 10, 0.1)

    asyncio.run(check())


def test_stop_interrupts_what_plays_and_forgets_what_waits() -> None:
    async def check() -> None:
        sink = CollectingSink(paced=True)
        async with stage(sink) as it:
            it.player.speak(await speech_of("a", bytes(32_000 * 30)), chime=False)
            it.player.speak(await speech_of("b", bytes(3200)), chime=False)
            await it.until(started=1)
            it.player.stop()
            await it.until(done=2)
            assert sorted(it.done) == [("a", True), ("b", True)]
            it.player.speak(await speech_of("c", bytes(3200)), chime=False)
            await it.until(done=3)
            assert it.done[-1] == ("c", False)

    asyncio.run(check())


def test_speech_that_broke_off_is_played_and_told_as_interrupted() -> None:
    async def check() -> None:
        sink = CollectingSink()
        async with stage(sink) as it:
            speech = await speech_of("a", b"\1\0", end=False)
            it.player.speak(speech, chime=False)
            speech.end(complete=False)
            await it.until(done=1)
        assert it.done == [("a", True)]
        assert bytes(sink.played[0][1]) == b"\1\0"

    asyncio.run(check())


def test_speech_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playback, "STALLED_S", 0.05)

    async def check() -> None:
        async with stage(CollectingSink()) as it:
            it.player.speak(await speech_of("a", b"\1\0", end=False), chime=False)
            await it.until(done=1)
            assert it.done == [("a", True)]

    asyncio.run(check())


def test_missing_speaker_is_told_and_the_next_answer_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    class Flaky(NoSink):
        there = False

        async def start(self, rate: int, on_first_sample: FirstSample) -> None:
            if not self.there:
                raise AudioDeviceError("there is no speaker", hint="plug one in")
            await super().start(rate, on_first_sample)

    async def check() -> None:
        sink = Flaky()
        async with stage(sink) as it:
            for number, there in enumerate((False, False, True), start=1):
                sink.there = there
                it.player.speak(await speech_of(str(number), b"\1\0"), chime=False)
                await it.until(done=number)
            assert it.done == [("1", True), ("2", True), ("3", False)]

    asyncio.run(check())
    assert caplog.text.count("there is no speaker") == 1


def test_too_much_that_waits_is_refused() -> None:
    async def check() -> None:
        async with stage(CollectingSink(paced=True)) as it:
            it.player.speak(await speech_of("first", bytes(32_000 * 30)), chime=False)
            await it.until(started=1)
            for number in range(MAX_WAITING + 1):
                it.player.speak(await speech_of(str(number), b"\1\0"), chime=False)
            assert it.done == [(str(MAX_WAITING), True)]

    asyncio.run(check())


def test_arriving_speech_waits_once_a_minute_is_buffered() -> None:
    async def check() -> None:
        speech = Speech("a", 16_000)
        for _ in range(61):
            await speech.add(bytes(32_000))
        waiting = asyncio.create_task(speech.add(bytes(32_000)))
        await asyncio.sleep(0)
        assert not waiting.done()
        await speech.next_chunk()
        async with asyncio.timeout(5):
            await waiting

    asyncio.run(check())
