"""Engines as tasks, and tasks as this node's own code follows them."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from swarm.alone import NAME, alone
from swarm.capability import Capability
from swarm.engine import ChatMessage, CommandGrammar, Transcript
from swarm.errors import EngineError
from swarm.membership import BACK_S, DEAD_S, Beat
from swarm.peer import Peer
from swarm.routing import RoutingSection
from swarm.task import Piece, Restarted, SizeClass, TaskRequest
from swarm.task_engines import GenerateEngine, ModelOffer, SynthesizeEngine, TranscribeEngine, size_of
from swarm.task_stream import SwarmGenerator, follow
from swarm.trace import watched


class Model:
    """A `Generator` that says two words, or fails between them."""

    name = "model"

    def __init__(self, model: str | None = "tiny:1b", *, breaks: bool = False) -> None:
        self.model = model
        self.breaks = breaks
        self.asked: list[tuple[ChatMessage, ...]] = []
        self.closed = 0

    async def available(self) -> str | None:
        return self.model

    async def generate(self, messages: Sequence[ChatMessage], *, timeout_s: float) -> AsyncGenerator[str, None]:
        self.asked.append(tuple(messages))
        try:
            yield "one "
            if self.breaks:
                raise EngineError("the model broke")
            yield "two"
        finally:
            self.closed += 1

    async def close(self) -> None: ...


class Voice:
    name = "voice"
    rate = 22_050

    async def synthesize(self, text: str, *, language: str) -> AsyncGenerator[bytes, None]:
        for word in text.split():
            yield f"{language}:{word}".encode()

    async def close(self) -> None: ...


class Ear:
    name = "ear"
    commands_only = False

    def __init__(self) -> None:
        self.heard = b""
        self.closed = False

    async def open(self, *, language: str) -> "Ear":
        return self

    async def feed(self, pcm: bytes) -> None:
        self.heard += pcm

    async def so_far(self) -> Transcript:
        return Transcript("")

    async def transcript(self) -> Transcript:
        return Transcript(f"{len(self.heard)} bytes")

    async def set_grammar(self, grammar: CommandGrammar) -> None: ...

    async def close(self) -> None:
        self.closed = True


def peer() -> Peer:
    return alone(name="attic", roles=("worker",), routing=RoutingSection())


def request(type_: str, payload: object) -> TaskRequest:
    return TaskRequest(type_, msgspec.Raw(msgspec.json.encode(payload)))


def run(check: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(check(), 20))


async def done(node: Peer, asked: TaskRequest) -> list[Piece | Restarted]:
    async with aclosing(follow(node.dispatcher, asked)) as events:
        return [event async for event in events]


def text_of(pieces: Sequence[Piece | Restarted]) -> str:
    return "".join(each.text for each in pieces if isinstance(each, Piece))


@pytest.mark.parametrize(
    ("model", "size"),
    [("qwen2.5:0.5b", "tiny"), ("llama3.2:3b", "small"), ("mistral:7b-instruct", "small"), ("phi4:14b", "medium"),
     ("qwen2.5:72B", "large"), ("tiny:latest", "any"), ("gpt-oss:20b", "medium"), ("a1b2c3", "any"), ("", "any")],
)  # fmt: skip
def test_size_class_is_read_from_a_models_name(model: str, size: SizeClass) -> None:
    assert size_of(model) == size


def test_language_model_answers_a_prompt_or_a_conversation() -> None:
    async def check() -> None:
        node, model = peer(), Model()
        node.worker.offer(GenerateEngine(model, "tiny:1b"))
        assert text_of(await done(node, request("generate", {"prompt": "hi"}))) == "one two"
        turns = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
        assert text_of(await done(node, request("chat", {"messages": turns}))) == "one two"
        assert model.asked[0] == (ChatMessage("user", "hi"),)
        assert [each.role for each in model.asked[1]] == ["system", "user"]

    run(check)


def test_model_is_warm_once_it_has_answered() -> None:
    async def check() -> None:
        node = peer()
        node.worker.offer(GenerateEngine(Model(), "tiny:1b"))
        before = node.worker.capabilities()[0].warm
        await done(node, request("generate", {"prompt": "hi"}))
        assert (before, node.worker.capabilities()[0].warm) == (False, True)

    run(check)


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        ("generate", {}),
        ("generate", {"messages": [{"role": "boss", "content": "x"}]}),
        ("generate", None),
        ("synthesize", {"text": 1}),
        ("transcribe", {"audio": "!"}),
        ("transcribe", {"audio": ""}),
        ("transcribe", {"audio": base64.b64encode(b"odd").decode()}),
    ],
)
def test_payload_that_makes_no_sense_is_said(type_: str, payload: object) -> None:
    async def check() -> None:
        node = peer()
        for engine in (GenerateEngine(Model(), "m"), SynthesizeEngine(Voice()), TranscribeEngine(Ear())):
            node.worker.offer(engine)
        with pytest.raises(EngineError) as failed:
            await done(node, request(type_, payload))
        assert failed.value.hint
        assert [each.attempts for each in node.dispatcher.tasks] == [0]  # no other node is troubled with it
        assert [each.fruitless for each in node.worker.capabilities()] == [0, 0, 0]

    run(check)


def test_speech_names_its_rate_once() -> None:
    async def check() -> None:
        node = peer()
        node.worker.offer(SynthesizeEngine(Voice()))
        pieces = await done(node, request("synthesize", {"text": "guten tag", "language": "de"}))
        assert [(each.audio, each.value) for each in pieces if isinstance(each, Piece)] == [
            (b"de:guten", {"rate": 22_050}),
            (b"de:tag", None),
        ]

    run(check)


def test_recording_is_transcribed_and_its_stream_closed() -> None:
    async def check() -> None:
        node, ear = peer(), Ear()
        node.worker.offer(TranscribeEngine(ear))
        assert text_of(await done(node, request("transcribe", {"audio": b"\0" * 640}))) == "640 bytes"
        assert ear.closed

    run(check)


def test_model_is_offered_while_it_is_there() -> None:
    async def check() -> None:
        node, model = peer(), Model(None)
        offer = ModelOffer(node.worker, model)
        seen = []
        for now in (None, "a:1b", "a:1b", "b:7b", None):
            model.model = now
            await offer.look()
            seen.append([each.model for each in node.worker.capabilities()])
        assert seen == [[], ["a:1b"], ["a:1b"], ["b:7b"], []]

    run(check)


def test_model_is_offered_with_as_many_slots_as_its_server_has() -> None:
    async def check() -> None:
        node = peer()
        await ModelOffer(node.worker, Model(), slots=5).look()
        assert [each.slots for each in node.worker.capabilities()] == [5]

    run(check)


def test_speech_engines_are_warm_once_their_models_are_loaded() -> None:
    async def check() -> None:
        node, loaded = peer(), False
        node.worker.offer(SynthesizeEngine(Voice(), loaded=lambda: loaded))
        node.worker.offer(TranscribeEngine(Ear(), loaded=lambda: loaded))
        assert [each.warm for each in node.worker.capabilities()] == [False, False]
        loaded = True
        assert [each.warm for each in node.worker.capabilities()] == [True, True]

    run(check)


def test_question_goes_to_the_swarms_model() -> None:
    async def check() -> None:
        node, model = peer(), Model()
        node.worker.offer(GenerateEngine(model, "tiny:1b"))
        generator = SwarmGenerator(node.dispatcher, node.members, own=model)
        assert await generator.available() == "tiny:1b"
        with watched() as work:
            said = [text async for text in generator.generate([ChatMessage("user", "hi")], timeout_s=60)]
        assert (said, work.node) == (["one ", "two"], "attic")
        model.breaks = True
        with pytest.raises(EngineError, match="the model broke"):
            [text async for text in generator.generate([ChatMessage("user", "hi")], timeout_s=60)]

    run(check)


def test_no_model_in_the_whole_swarm_is_none() -> None:
    async def check() -> None:
        node = peer()
        generator = SwarmGenerator(node.dispatcher, node.members, own=Model(None))
        assert await generator.available() is None
        with pytest.raises(EngineError, match="no node of this swarm can generate"):
            [text async for text in generator.generate([ChatMessage("user", "hi")], timeout_s=60)]
        beat = Beat("other", 1, 1, capabilities=(Capability("generate", "big:70b"),))
        node.membership.heard(beat, asyncio.get_running_loop().time())
        assert await generator.available() == "big:70b"

    run(check)


@pytest.mark.parametrize(
    ("silent_s", "offered"), [(DEAD_S, "big:70b"), (DEAD_S + BACK_S, None)], ids=["just now", "a while ago"]
)
def test_model_whose_node_died_counts_for_a_moment(silent_s: float, offered: str | None) -> None:
    async def check() -> None:
        node = peer()
        beat = Beat("other", 1, 1, capabilities=(Capability("generate", "big:70b"),))
        node.membership.heard(beat, asyncio.get_running_loop().time() - silent_s)
        assert [member.state for member in node.members() if member.node == "other"] == ["dead"]
        assert await SwarmGenerator(node.dispatcher, node.members).available() == offered

    run(check)


def test_reader_that_leaves_stops_the_model() -> None:
    async def check() -> None:
        node, model = peer(), Model()
        node.worker.offer(GenerateEngine(model, "tiny:1b"))
        async with aclosing(follow(node.dispatcher, request("generate", {"prompt": "hi"}))) as events:
            await anext(events)
        async with asyncio.timeout(5):
            while not model.closed or node.dispatcher.tasks.live():  # noqa: ASYNC110 any of two states
                await asyncio.sleep(0.001)
        assert node.here().node == NAME

    run(check)
