"""What is no command goes to a language model: real node, real Whisper, a small server in the model's place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.satellite import BeginUtterance
from swarm.client import Answer
from swarm.messages import SpeechEnded, SpeechStarted
from tests.fake_ollama import FakeOllama, Mode
from tests.speech import say, silence
from tests.whole.background import fake_ollama
from tests.whole.room import Room, room_at
from tests.whole.running_node import RunningNode, Sections, running_node, until, wait_until
from tests.whole.what_was_said import what_was_said

WHISPER = Path(__file__).parents[1] / "data" / "tiny-whisper"
QUESTION = "tell me a joke"
TWO_SENTENCES = ("A penguin", " walks into", " a house.", " It asks", " for ice.")


@pytest.fixture(scope="module")
def server() -> Iterator[FakeOllama]:
    with fake_ollama() as server:
        yield server


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, server: FakeOllama) -> Iterator[RunningNode]:
    sections: Sections = {
        "language_model": {"url": server.url, "timeout_s": 3.0},
        "speech": {"whisper_model": str(WHISPER)},
    }
    folder = tmp_path_factory.mktemp("node")
    with running_node(folder, sections=sections, when="language model: tiny:latest") as node:
        yield node


@pytest.fixture(autouse=True)
def model(server: FakeOllama) -> FakeOllama:
    """As it was at first."""
    server.mode, server.words, server.hold_after = "normal", ["the", " answer", " is", " forty", " two."], None
    server.go_on, server.held, server.hung_up = asyncio.Event(), asyncio.Event(), asyncio.Event()
    server.chats.clear()
    return server


def question() -> bytes:
    """As the model was trained."""
    samples = np.frombuffer(say("Tell me a joke.", "en-us", speed=165, pitch=42), "<i2").astype(float)
    loud = (samples * (0.5 * 32767 / np.abs(samples).max())).astype("<i2")
    return silence(0.2) + bytes(loud.tobytes()) + silence(0.5)


def ask_aloud(room: Room) -> None:
    room.satellite.listen()
    room.say(question())


def test_typed_question_is_answered_by_the_model(node: RunningNode, model: FakeOllama) -> None:
    answer = node.ask(QUESTION)
    assert (answer.answer, answer.intent, answer.outcome) == ("the answer is forty two.", "language_model", "done")
    assert [mark.stage for mark in answer.trace.marks] == ["transcript", "intent", "first_token"]
    system, *_, user = model.chats[0]["messages"]
    assert "voice assistant of this home" in system["content"]
    assert user == {"role": "user", "content": QUESTION}


def test_typed_answer_is_shown_sentence_by_sentence_while_the_model_goes_on(
    node: RunningNode, model: FakeOllama
) -> None:
    model.words, model.hold_after = list(TWO_SENTENCES), 4
    sentences = node.client().ask(QUESTION)
    assert next(sentences) == "A penguin walks into a house."
    wait_until(model.held.is_set, "the model did not come to where it is held")
    asyncio_set(model)
    assert next(sentences) == "It asks for ice."
    assert isinstance(next(sentences), Answer)


def test_spoken_question_is_heard_by_whisper_and_answered_aloud(node: RunningNode) -> None:
    answer = node.ask_audio(question(), wake=False)
    assert (answer.transcript, answer.answer) == ("Tell me a joke.", "the answer is forty two.")
    stages = [mark.stage for mark in answer.trace.marks]
    assert stages == ["speech_end", "endpoint", "transcript", "intent", "first_token", "first_audio", "last_audio"]
    decoys = ["the answer is fifty", "the lamp is on", "i didn't understand that"]
    assert what_was_said(answer.reply_wav, ["the answer is forty two", *decoys]) == "the answer is forty two"


def test_first_sentence_is_spoken_before_the_model_has_finished(node: RunningNode, model: FakeOllama) -> None:
    model.words, model.hold_after = list(TWO_SENTENCES), 4

    async def check() -> None:
        async with room_at(node.voice_url, "kitchen") as room:
            ask_aloud(room)
            await room.until_seen(SpeechStarted)
            await room.until_seen(bytes)
            await until(model.held.is_set, "the model did not come to where it is held")
            assert room.of(SpeechEnded) == []
            asyncio_set(model)
            assert (await room.until_seen(SpeechEnded)).text == "A penguin walks into a house. It asks for ice."

    asyncio.run(check())


def test_speaking_again_stops_the_model(node: RunningNode, model: FakeOllama) -> None:
    model.words, model.hold_after = list(TWO_SENTENCES), 4

    async def check() -> None:
        async with room_at(node.voice_url, "kitchen") as room:
            ask_aloud(room)
            await room.until_seen(SpeechStarted)
            room.satellite.listen()
            await room.until_seen(BeginUtterance, 2)
            await until(model.hung_up.is_set)
        wait_until(lambda: node.client().trace(room.utterance_ids[0]).outcome == "cancelled")

    asyncio.run(check())


@pytest.mark.parametrize(
    ("mode", "hold_after", "told"),
    [
        ("stall", 4, "A penguin walks into a house. The language model stopped answering."),
        ("die", 4, "A penguin walks into a house. The language model stopped answering."),
        ("cut", 4, "A penguin walks into a house. The language model stopped answering."),
        ("stall", 0, "The language model did not answer."),
        ("error", None, "The language model did not answer."),
    ],
)
def test_model_that_fails_is_told_honestly_and_asked_again_the_next_time(
    node: RunningNode, model: FakeOllama, mode: Mode, hold_after: int | None, told: str
) -> None:
    model.mode, model.words, model.hold_after = mode, list(TWO_SENTENCES), hold_after
    answer = node.ask(QUESTION)
    assert (answer.answer, answer.outcome) == (told, "failed")
    model.mode, model.hold_after = "normal", None
    assert node.ask(QUESTION).answer == "A penguin walks into a house. It asks for ice."


@pytest.mark.parametrize("mode", ["html", "other_json"])
def test_something_else_in_the_models_place_is_no_model(node: RunningNode, model: FakeOllama, mode: Mode) -> None:
    model.mode = mode
    first, second = node.ask(QUESTION), node.ask(QUESTION)
    assert first.answer == "The language model did not answer."
    assert second.answer.startswith("I didn't understand that. I can ")
    assert second.outcome == "not_understood"
    model.mode = "normal"
    wait_until(lambda: node.ask(QUESTION).outcome == "done")


def asyncio_set(model: FakeOllama) -> None:
    """Let the rest of the words out, from another thread than the server's."""
    loop = model.go_on._loop  # type: ignore[attr-defined]
    loop.call_soon_threadsafe(model.go_on.set)
