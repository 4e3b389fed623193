"""Two nodes: a hub with command mode, and one whose recognizer hears everything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from swarm import swarm_transcriber
from swarm.engine import RATE, CommandGrammar, Transcript
from swarm.errors import EngineError
from swarm.swarm_transcriber import SwarmTranscriber
from swarm.task_engines import TranscribeEngine
from swarm.trace import Work, watched
from tests.swarm.plain_swarm import TaskNode, until

LAMP = Transcript("turn on the lamp", score=3.0)
MAYBE = Transcript("stop", score=0.1)
BEGUN = Transcript("turn on the", score=3.0, continuation="needed")
NOTHING = Transcript("", accepted=False, score=-4.0)
SPEECH = b"\1\0" * (RATE // 10)


class CommandMode:
    """Hears `heard`; breaks at the call that `fails` names."""

    name = "command mode"
    commands_only = True

    def __init__(self, heard: Transcript = NOTHING, fails: str = "") -> None:
        self.heard = heard
        self.fails = fails
        self.opened = self.closed = 0

    async def open(self, *, language: str) -> CommandMode:
        self._break("open")
        self.opened += 1
        return self

    async def feed(self, pcm: bytes) -> None:
        self._break("feed")

    async def so_far(self) -> Transcript:
        self._break("so_far")
        return self.heard

    async def transcript(self) -> Transcript:
        self._break("transcript")
        return self.heard

    async def set_grammar(self, grammar: CommandGrammar) -> None: ...

    async def close(self) -> None:
        self.closed += 1

    def _break(self, call: str) -> None:
        if call == self.fails:
            raise EngineError("command mode broke")


class Ear:
    """Hears how many bytes there were, when the gate is open."""

    name = "ear"
    commands_only = False

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails = False
        self.asked: list[int] = []
        """Bytes of each transcription that began."""
        self.given_up = 0

    async def has_been_asked(self, count: int) -> None:
        await until(lambda: len(self.asked) == count)

    async def open(self, *, language: str) -> _Heard:
        return _Heard(self)

    async def set_grammar(self, grammar: CommandGrammar) -> None: ...

    async def close(self) -> None: ...


class _Heard:
    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self._pcm = b""

    async def feed(self, pcm: bytes) -> None:
        self._pcm += pcm

    async def so_far(self) -> Transcript:
        return await self.transcript()

    async def transcript(self) -> Transcript:
        self._ear.asked.append(len(self._pcm))
        try:
            await self._ear.gate.wait()
        except asyncio.CancelledError:
            self._ear.given_up += 1
            raise
        if self._ear.fails:
            raise EngineError("out of memory")
        return Transcript(f" {len(self._pcm)} bytes ")

    async def close(self) -> None: ...


class Home:
    """`ears` are the nodes that hear everything."""

    def __init__(self, own: CommandMode) -> None:
        self.own = own
        self.ear = Ear()
        self.nodes: dict[str, TaskNode] = {}
        self.swarm: SwarmTranscriber

    async def said(self, *, pauses: int = 0) -> tuple[Transcript, Work]:
        """What was heard of an utterance with pauses in it, and who heard it."""
        stream = await self.swarm.open(language="en")
        try:
            for _ in range(pauses):
                await stream.feed(SPEECH)
                await stream.so_far()
            await stream.feed(SPEECH)
            with watched() as work:
                return await stream.transcript(), work
        finally:
            await stream.close()


def with_home(
    check: Callable[[Home], Awaitable[None]], own: CommandMode | None = None, *, ears: tuple[str, ...] = ("ear",)
) -> None:
    async def run() -> None:
        home = Home(own or CommandMode())
        async with asyncio.timeout(20), AsyncExitStack() as closing:
            hub = await closing.enter_async_context(TaskNode("hub"))
            for name in ears:
                engines = [TranscribeEngine(home.ear)]
                home.nodes[name] = await closing.enter_async_context(TaskNode(name, engines, roles=("worker",)))
            await hub.meet(*home.nodes.values())
            home.swarm = SwarmTranscriber(hub.peer.dispatcher, hub.peer.members, home.own)
            await check(home)

    asyncio.run(run())


def test_sure_command_is_taken_at_once_and_nobody_is_asked() -> None:
    async def check(home: Home) -> None:
        home.ear.gate.clear()
        heard, work = await home.said()
        assert (heard, work.node, work.note) == (LAMP, "", "")
        assert home.ear.asked == []

    with_home(check, CommandMode(LAMP))


@pytest.mark.parametrize("own", [NOTHING, MAYBE, BEGUN], ids=["nothing", "unsure", "half-a-command"])
def test_what_is_no_sure_command_is_what_the_other_machine_heard(own: Transcript) -> None:
    async def check(home: Home) -> None:
        heard, work = await home.said()
        assert heard == Transcript(f"{len(SPEECH)} bytes")
        assert (work.node, work.note) == ("ear", "")
        assert home.own.closed == 1

    with_home(check, CommandMode(own))


def test_alone_command_mode_says_what_it_heard() -> None:
    async def check(home: Home) -> None:
        for heard in (LAMP, MAYBE, NOTHING):
            home.own.heard = heard
            assert (await home.said())[0] == heard

    with_home(check, ears=())


def test_pauses_transcript_is_good_when_nothing_follows() -> None:
    async def check(home: Home) -> None:
        stream = await home.swarm.open(language="en")
        await stream.feed(SPEECH)
        assert await stream.so_far() == NOTHING
        await until(lambda: home.ear.asked)
        assert (await stream.transcript()).text == f"{len(SPEECH)} bytes"
        assert home.ear.asked == [len(SPEECH)]
        await stream.close()

    with_home(check)


def test_hint_of_a_pause_does_not_wait_for_the_other_machine() -> None:
    async def check(home: Home) -> None:
        home.ear.gate.clear()
        stream = await home.swarm.open(language="en")
        await stream.feed(SPEECH)
        assert await stream.so_far() == BEGUN
        await stream.close()
        await until(lambda: home.ear.given_up == len(home.ear.asked))

    with_home(check, CommandMode(BEGUN))


def test_speech_that_goes_on_stops_the_transcription_and_frees_its_place() -> None:
    async def check(home: Home) -> None:
        home.ear.gate.clear()
        stream = await home.swarm.open(language="en")
        for count in (1, 2):
            await stream.feed(SPEECH)
            await stream.so_far()
            await home.ear.has_been_asked(count)
        await stream.feed(SPEECH)
        await until(lambda: home.ear.given_up == 2)
        home.ear.gate.set()
        assert (await stream.transcript()).text == f"{3 * len(SPEECH)} bytes"
        assert home.ear.asked == [len(SPEECH), 2 * len(SPEECH), 3 * len(SPEECH)]
        await stream.close()

    with_home(check)


def test_while_another_machine_is_asked_command_mode_serves_others() -> None:
    async def check(home: Home) -> None:
        home.ear.gate.clear()
        hearing = asyncio.ensure_future(home.said())
        await until(lambda: home.ear.asked)
        assert home.own.closed == 1
        home.ear.gate.set()
        await hearing

    with_home(check)


def test_several_utterances_at_once_are_heard_by_one_recognizer() -> None:
    async def check(home: Home) -> None:
        told = await asyncio.gather(*(home.said() for _ in range(5)))
        assert [heard.text for heard, _ in told] == [f"{len(SPEECH)} bytes"] * 5

    with_home(check)


@pytest.mark.parametrize("own", [MAYBE, NOTHING], ids=["unsure", "nothing"])
@pytest.mark.parametrize("failure", ["fails", "is late", "is killed"])
def test_when_the_other_machine_fails_command_mode_counts(
    failure: str, own: Transcript, monkeypatch: pytest.MonkeyPatch
) -> None:
    if failure != "fails":
        monkeypatch.setattr(swarm_transcriber, "LATE_S", 0.2)
        monkeypatch.setattr(swarm_transcriber, "promised_s", lambda task: 0.1)

    async def check(home: Home) -> None:
        home.ear.fails = failure == "fails"
        if failure != "fails":
            home.ear.gate.clear()
        hearing = asyncio.ensure_future(home.said())
        if failure == "is killed":
            await until(lambda: home.ear.asked)
            await home.nodes["ear"].closing.aclose()
        heard, work = await hearing
        assert heard == own
        assert (work.node, work.note.endswith("; heard in command mode")) == ("", True)
        assert {"fails": "out of memory", "is late": "too late"}.get(failure, "") in work.note
        await until(lambda: home.ear.given_up == (failure != "fails"))

    with_home(check, CommandMode(own))


def test_another_machine_takes_over_from_one_that_dies() -> None:
    async def check(home: Home) -> None:
        home.ear.gate.clear()
        hearing = asyncio.ensure_future(home.said())
        await until(lambda: home.ear.asked)
        busy = next(name for name, node in home.nodes.items() if node.worker.capabilities()[0].running)
        home.ear.gate.set()
        await home.nodes[busy].closing.aclose()
        heard, work = await hearing
        assert heard.text == f"{len(SPEECH)} bytes"
        assert work.node in home.nodes

    with_home(check, ears=("left", "right"))


@pytest.mark.parametrize("call", ["open", "feed", "so_far", "transcript"])
def test_when_command_mode_breaks_the_other_machine_hears(call: str) -> None:
    async def check(home: Home) -> None:
        heard, work = await home.said(pauses=1)
        assert heard.text == f"{2 * len(SPEECH)} bytes"
        assert work.node == "ear"
        assert home.own.closed == home.own.opened

    with_home(check, CommandMode(NOTHING, fails=call))


@pytest.mark.parametrize("call", ["open", "feed", "transcript"])
def test_when_nobody_can_hear_whoever_speaks_is_told(call: str) -> None:
    async def check(home: Home) -> None:
        with pytest.raises(EngineError):
            await home.said()

    with_home(check, CommandMode(LAMP, fails=call), ears=())


def test_when_both_fail_whoever_speaks_is_told() -> None:
    async def check(home: Home) -> None:
        home.ear.fails = True
        with pytest.raises(EngineError, match="out of memory"):
            await home.said()

    with_home(check, CommandMode(fails="transcript"))
