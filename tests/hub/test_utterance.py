from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hub import utterance
from hub.grammar import build_grammar
from hub.intent import Context
from hub.sentences import load_templates
from hub.understanding import Verdict
from hub.utterance import MAX_AUDIO_BYTES, IncomingUtterance
from swarm.engine import Transcriber, Transcript
from swarm.engines.pocketsphinx import PocketsphinxTranscriber
from swarm.errors import EngineError
from tests.hub.a_home import an_understanding
from tests.hub.scripted_engines import ScriptedTranscriber
from tests.speech import say, silence

LAMP, STOP = "turn on the kitchen lamp", "stop"
LAMP_CLIP, STOP_CLIP = say(LAMP, "flite:slt"), say(STOP, "flite:slt")
CLIPS = {LAMP_CLIP: LAMP, STOP_CLIP: STOP}
KITCHEN = Context("kitchen", "Kitchen")


def judge(text: str, context: Context) -> Verdict:
    return "complete" if text in CLIPS.values() else "unclear"


class Begun:
    """An utterance that is being taken, and the hints that it gave."""

    def __init__(self, transcriber: Transcriber) -> None:
        self.hints: asyncio.Queue[tuple[Verdict, str]] = asyncio.Queue()
        self.incoming = IncomingUtterance(transcriber, context=KITCHEN, judge=judge, hint=self._hint)

    async def _hint(self, verdict: Verdict, text: str) -> None:
        self.hints.put_nowait((verdict, text))

    def feed(self, pcm: bytes, piece: int = 1920) -> None:
        for start in range(0, len(pcm), piece):
            self.incoming.feed(pcm[start : start + piece])

    async def hint(self) -> tuple[Verdict, str]:
        async with asyncio.timeout(10):
            return await self.hints.get()

    async def transcript(self) -> Transcript:
        async with asyncio.timeout(10):
            return await self.incoming.transcript()


@asynccontextmanager
async def begun(transcriber: Transcriber) -> AsyncIterator[Begun]:
    one = Begun(transcriber)
    running = asyncio.create_task(one.incoming.run())
    try:
        yield one
    finally:
        running.cancel()
        await asyncio.wait({running})


@asynccontextmanager
async def engine(kind: str) -> AsyncIterator[Transcriber]:
    if kind == "scripted":
        yield ScriptedTranscriber(CLIPS)
        return

    async def none_unknown(words: object, language: str) -> dict[str, list[str]]:
        return {}

    transcriber = PocketsphinxTranscriber(none_unknown)
    try:
        await transcriber.set_grammar(build_grammar(load_templates("en"), an_understanding().vocabulary(["okay nabu"])))
        yield transcriber
    finally:
        await transcriber.close()


both = pytest.mark.parametrize("kind", ["scripted", "pocketsphinx"])


# ---- what holds for any engine


@both
def test_audio_in_pieces_becomes_a_transcript(kind: str) -> None:
    async def check() -> None:
        async with engine(kind) as transcriber, begun(transcriber) as one:
            one.feed(LAMP_CLIP)
            assert (await one.transcript()).text == LAMP
            assert bytes(one.incoming.audio) == LAMP_CLIP

    asyncio.run(check())


@both
def test_pause_gives_a_hint_and_speech_that_goes_on_is_transcribed_whole(kind: str) -> None:
    async def check() -> None:
        async with engine(kind) as transcriber, begun(transcriber) as one:
            one.feed(LAMP_CLIP[: len(LAMP_CLIP) // 4 * 2])
            one.incoming.pause()
            verdict, _ = await one.hint()
            assert verdict not in ("complete", "extendable")
            one.feed(LAMP_CLIP[len(LAMP_CLIP) // 4 * 2 :])
            one.incoming.resume()
            one.incoming.pause()
            assert await one.hint() == ("extendable", LAMP)
            one.feed(silence(0.2))
            assert (await one.transcript()).text == LAMP

    asyncio.run(check())


@both
def test_silence_is_no_command(kind: str) -> None:
    async def check() -> None:
        async with engine(kind) as transcriber, begun(transcriber) as one:
            one.feed(silence(0.5))
            one.incoming.pause()
            assert (await one.hint())[0] != "complete"
            heard = await one.transcript()
            assert not (heard.accepted and heard.text)

    asyncio.run(check())


@both
def test_two_utterances_after_each_other_do_not_mix(kind: str) -> None:
    async def check() -> None:
        async with engine(kind) as transcriber:
            for clip, words in (*CLIPS.items(), *CLIPS.items()):
                async with begun(transcriber) as one:
                    one.feed(clip)
                    assert (await one.transcript()).text == words

    asyncio.run(check())


@both
def test_cancelled_utterance_leaves_the_engine_to_the_next(kind: str) -> None:
    async def check() -> None:
        async with engine(kind) as transcriber:
            async with begun(transcriber) as cut_off:
                cut_off.feed(LAMP_CLIP)
                cut_off.incoming.pause()
                await cut_off.hint()
            with pytest.raises(EngineError):
                await cut_off.transcript()
            async with begun(transcriber) as one:
                one.feed(STOP_CLIP)
                assert (await one.transcript()).text == STOP

    asyncio.run(check())


# ---- what only shows with a scripted one


def test_silence_after_a_pause_is_not_transcribed() -> None:
    async def check() -> None:
        transcriber = ScriptedTranscriber(CLIPS)
        async with begun(transcriber) as one:
            one.feed(LAMP_CLIP)
            one.incoming.pause()
            await one.hint()
            one.feed(silence(0.3))
            assert (await one.transcript()).text == LAMP
            assert transcriber.transcribed == [len(LAMP_CLIP), len(LAMP_CLIP)]
        assert (transcriber.opened, transcriber.closed) == (1, 1)

    asyncio.run(check())


def test_empty_piece_of_audio_ends_nothing() -> None:
    async def check() -> None:
        async with begun(ScriptedTranscriber(CLIPS)) as one:
            one.feed(LAMP_CLIP[:6400])
            one.incoming.feed(b"")
            await asyncio.sleep(0)
            one.feed(LAMP_CLIP[6400:])
            assert (await one.transcript()).text == LAMP

    asyncio.run(check())


def test_audio_beyond_the_bound_is_not_kept() -> None:
    async def check() -> None:
        transcriber = ScriptedTranscriber(CLIPS)
        async with begun(transcriber) as one:
            one.feed(bytes(2 * MAX_AUDIO_BYTES), 64_000)
            await one.transcript()
            assert transcriber.transcribed == [MAX_AUDIO_BYTES]
            assert len(one.incoming.audio) == MAX_AUDIO_BYTES

    asyncio.run(check())


def test_pauses_without_end_are_not_transcribed_without_end() -> None:
    async def check() -> None:
        transcriber = ScriptedTranscriber(CLIPS)
        async with begun(transcriber) as one:
            one.feed(LAMP_CLIP)
            for _ in range(1000):
                one.incoming.pause()
                one.feed(b"\1\0")
                one.incoming.resume()
            assert (await one.transcript()).text == LAMP
            assert len(transcriber.transcribed) == utterance.MAX_PAUSES + 1
            assert len(one.incoming.audio) == len(LAMP_CLIP) + 2000

    asyncio.run(check())


@pytest.mark.parametrize("bound", ["QUIET_S", "MAX_S"])
def test_satellite_that_hangs_does_not_keep_the_engine(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utterance, bound, 0.1)

    async def check() -> None:
        transcriber = ScriptedTranscriber(CLIPS)
        async with begun(transcriber) as one, asyncio.timeout(10):
            one.feed(LAMP_CLIP)
            one.incoming.pause()
            while not transcriber.closed:
                await asyncio.sleep(0.01)
                if bound == "MAX_S":
                    one.incoming.feed(b"\1\0")
            with pytest.raises(EngineError, match="did not end its utterance"):
                await one.transcript()

    asyncio.run(check())


def test_long_pause_in_which_audio_comes_is_no_hanging_satellite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utterance, "QUIET_S", 0.2)

    async def check() -> None:
        async with begun(ScriptedTranscriber(CLIPS)) as one:
            one.feed(LAMP_CLIP)
            one.incoming.pause()
            for _ in range(30):
                await asyncio.sleep(0.02)
                one.incoming.feed(silence(0.02))
            assert (await one.transcript()).text == LAMP

    asyncio.run(check())


def test_engine_that_fails_is_told_to_who_waits() -> None:
    async def check() -> None:
        transcriber = ScriptedTranscriber(CLIPS)
        transcriber.failure = EngineError("out of order")
        async with begun(transcriber) as one:
            one.feed(LAMP_CLIP)
            with pytest.raises(EngineError, match="out of order"):
                await one.transcript()

    asyncio.run(check())
