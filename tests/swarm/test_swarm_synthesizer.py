"""A hub with a plain voice, and nodes with a better one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing

import pytest

from swarm import swarm_synthesizer
from swarm.engine import Synthesizer
from swarm.errors import EngineError
from swarm.swarm_synthesizer import SwarmSynthesizer
from swarm.task_engines import SynthesizeEngine
from swarm.trace import Work, watched
from tests.swarm.plain_swarm import TaskNode, until

OWN_RATE = 22_050
CHUNK_S = 0.1
SENTENCE = "the lamp is on"


class Plain:
    """Every word is a tenth of a second of its number."""

    name = "plain"
    rate = OWN_RATE

    def __init__(self) -> None:
        self.said: list[str] = []

    async def synthesize(self, text: str, *, language: str) -> AsyncGenerator[bytes, None]:
        self.said.append(text)
        for _ in text.split():
            yield b"\1\0" * round(CHUNK_S * self.rate)

    async def close(self) -> None: ...


class Better:
    """The same in a voice and rate of its own; the n-th run fails before chunk `fails[n]`, a cleared gate stops it
    before its second."""

    def __init__(self, name: str = "better", rate: int = 16_000) -> None:
        self.name = name
        self.rate = rate
        self.fails: dict[int, int] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.hangs = False
        self.runs = self.stopped = 0

    async def synthesize(self, text: str, *, language: str) -> AsyncGenerator[bytes, None]:
        number, self.runs = self.runs, self.runs + 1
        try:
            if self.hangs:
                await asyncio.Event().wait()
            for count, _ in enumerate(text.split()):
                if self.fails.get(number) == count:
                    raise EngineError("the voice broke")
                if count:
                    await self.gate.wait()
                yield b"\x40\0" * round(CHUNK_S * self.rate)
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped += 1
            raise

    async def close(self) -> None: ...


class Home:
    def __init__(self) -> None:
        self.own = Plain()
        self.nodes: dict[str, TaskNode] = {}
        self.swarm: SwarmSynthesizer

    async def say(self, text: str = SENTENCE, language: str = "en") -> tuple[bytes, Work]:
        with watched() as work:
            pcm = b"".join([chunk async for chunk in self.swarm.synthesize(text, language=language)])
        assert len(pcm) % 2 == 0
        return pcm, work


def with_home(check: Callable[[Home], Awaitable[None]], **voices: Synthesizer) -> None:
    async def run() -> None:
        home = Home()
        async with asyncio.timeout(20), AsyncExitStack() as closing:
            hub = await closing.enter_async_context(TaskNode("hub", [SynthesizeEngine(home.own)]))
            for name, voice in voices.items():
                node = TaskNode(name, [SynthesizeEngine(voice)], roles=("worker",))
                home.nodes[name] = await closing.enter_async_context(node)
            await hub.meet(*home.nodes.values())
            home.swarm = SwarmSynthesizer(
                hub.peer.dispatcher,
                hub.peer.members,
                home.own,
                once_more=lambda sentence, language: f"again {sentence}",
            )
            await check(home)

    asyncio.run(run())


def seconds(pcm: bytes) -> float:
    return round(len(pcm) / 2 / OWN_RATE, 2)


@pytest.mark.parametrize("rate", [16_000, OWN_RATE])
def test_better_voice_of_another_machine_speaks_in_the_own_rate(rate: int) -> None:
    async def check(home: Home) -> None:
        assert home.swarm.rate == OWN_RATE
        pcm, work = await home.say()
        assert seconds(pcm) == 0.4
        assert all(60 < value < 70 for value in pcm[2000:-2000:2])
        assert (work.node, work.note, home.own.said) == ("mouth", "", [])

    with_home(check, mouth=Better(rate=rate))


def test_first_chunk_is_passed_on_before_the_rest_is_made() -> None:
    async def check(home: Home) -> None:
        voice.gate.clear()
        async with aclosing(home.swarm.synthesize(SENTENCE, language="en")) as chunks:
            assert await anext(chunks)
            voice.gate.set()
            assert len([chunk async for chunk in chunks]) >= 3

    voice = Better()
    with_home(check, mouth=voice)


def test_listener_who_has_heard_enough_stops_the_other_machine() -> None:
    async def check(home: Home) -> None:
        voice.gate.clear()
        async with aclosing(home.swarm.synthesize(SENTENCE, language="en")) as chunks:
            await anext(chunks)
        await until(lambda: voice.stopped == 1)
        assert home.own.said == []

    voice = Better()
    with_home(check, mouth=voice)


@pytest.mark.parametrize("others", [{}, {"mouth": Better("plain")}, {"mouth": Better("piper:de_DE-anna-low")}])
def test_own_voice_speaks_when_no_other_is_better(others: dict[str, Better]) -> None:
    async def check(home: Home) -> None:
        pcm, work = await home.say(language="en-US")
        assert (seconds(pcm), set(pcm[::2])) == (0.4, {1})
        assert (work.node, work.note) == ("", "")

    with_home(check, **others)


def test_of_several_voices_all_hubs_choose_the_same_which_speaks_the_language() -> None:
    async def check(home: Home) -> None:
        assert (await home.say(language="de"))[1].node == "anna"
        assert (await home.say(language="en_GB"))[1].node == "bob"

    voices = {"anna": "piper:de_DE-anna-low", "carl": "piper:en_US-carl-low", "bob": "piper:en_GB-bob-low"}
    with_home(check, **{name: Better(voice) for name, voice in voices.items()})


@pytest.mark.parametrize("failure", ["fails", "hangs", "is killed"])
def test_own_voice_says_the_sentence_and_the_rest_when_the_other_fails(
    failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swarm_synthesizer, "promised_s", lambda task: 0.0)
    if failure == "hangs":
        monkeypatch.setattr(swarm_synthesizer, "LATE_S", 0.2)

    async def check(home: Home) -> None:
        voice.fails = {0: 0} if failure == "fails" else {}
        voice.hangs = failure != "fails"
        saying = asyncio.ensure_future(home.say())
        if failure == "is killed":
            await until(lambda: voice.runs)
            await home.nodes["mouth"].closing.aclose()
        pcm, work = await saying
        assert (seconds(pcm), set(pcm[::2])) == (0.4, {1})
        assert (work.node, "said by the own voice" in work.note) == ("", True)
        assert (await home.say("it is on"))[1].note == ""
        assert home.own.said == [SENTENCE, "it is on"]
        assert voice.runs == 1
        await until(lambda: voice.stopped == (failure != "fails"))

    voice = Better()
    with_home(check, mouth=voice)


def test_machine_that_failed_is_asked_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm_synthesizer, "REST_S", 0.0)

    async def check(home: Home) -> None:
        assert (await home.say())[1].node == ""
        assert (await home.say())[1].node == "mouth"

    voice = Better()
    voice.fails = {0: 0}
    with_home(check, mouth=voice)


def test_sentence_that_breaks_off_is_said_once_more_by_the_own_voice() -> None:
    async def check(home: Home) -> None:
        pcm, work = await home.say()
        assert home.own.said == [f"again {SENTENCE}"]
        values = bytes(pcm[::2])
        heard, pause, again = values.rindex(64), values.count(0), values.index(1)
        assert heard < again
        assert pause >= swarm_synthesizer.PAUSE_S * OWN_RATE
        assert seconds(pcm[2 * again :]) == 0.5
        assert (work.node, "the voice broke" in work.note) == ("", True)

    voice = Better(rate=OWN_RATE)
    voice.fails = {0: 2}
    with_home(check, mouth=voice)


def test_another_machine_with_the_same_voice_goes_on_where_the_first_broke_off() -> None:
    async def check(home: Home) -> None:
        pcm, work = await home.say()
        assert (seconds(pcm), set(pcm[::2])) == (0.4, {64})
        assert (work.note, home.own.said, voice.runs) == ("", [], 2)

    voice = Better(rate=OWN_RATE)
    voice.fails = {0: 2}
    with_home(check, left=voice, right=voice)


class Odd(Better):
    """Sends what cannot be played."""

    async def synthesize(self, text: str, *, language: str) -> AsyncGenerator[bytes, None]:
        yield b"\1\2\3"


@pytest.mark.parametrize("voice", [Better(rate=0), Better(rate=800_000), Odd()], ids=["no-rate", "wild-rate", "odd"])
def test_speech_that_cannot_be_played_is_not(voice: Better) -> None:
    async def check(home: Home) -> None:
        pcm, work = await home.say()
        assert (seconds(pcm), set(pcm[::2])) == (0.4, {1})
        assert "its speech" in work.note

    with_home(check, mouth=voice)
