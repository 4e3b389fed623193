from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest

from hub.grammar import build_grammar
from hub.home.entity import Entity
from hub.sentences import load_templates
from hub.understanding import Understanding
from swarm.engine import RATE, Transcript
from swarm.engines.pocketsphinx import PocketsphinxTranscriber
from swarm.errors import EngineError
from tests.hub.a_home import AREAS, ENTITIES, IN_THE_KITCHEN, an_understanding
from tests.speech import noise_of, say, silence, trimmed
from tests.whole.running_node import until

T = TypeVar("T")
HOME = an_understanding()


async def no_pronunciation(words: Sequence[str], language: str) -> dict[str, list[str]]:
    raise AssertionError(f"the dictionary lacks {words}")


def with_engine(
    use: Callable[[PocketsphinxTranscriber], Awaitable[T]],
    home: Understanding = HOME,
    *,
    rest_after_s: float | None = None,
) -> T:
    async def run() -> T:
        engine = PocketsphinxTranscriber(no_pronunciation, rest_after_s=rest_after_s)
        try:
            await engine.set_grammar(build_grammar(load_templates("en"), home.vocabulary(["okay nabu"])))
            return await use(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


def spoken(text: str, voice: str = "en-us") -> bytes:
    return silence(0.2) + trimmed(say("okay nabu", voice)) + silence(0.2) + trimmed(say(text, voice)) + silence(0.15)


async def heard(engine: PocketsphinxTranscriber, pcm: bytes) -> Transcript:
    stream = await engine.open(language="en")
    for start in range(0, len(pcm), 640):
        await stream.feed(pcm[start : start + 640])
    transcript = await stream.transcript()
    await stream.close()
    return transcript


def is_taken_for_a_command(heard: Transcript) -> bool:
    """Whether the hub would do something."""
    return heard.accepted and bool(HOME.understand(heard.text, IN_THE_KITCHEN))


COMMANDS = (
    "turn on the kitchen lamp",
    "switch off the coffee machine",
    "set the living room lamp to fifty percent",
    "open the living room blinds",
    "lock the front door",
    "set a timer for ten minutes",
    "what time is it",
    "turn off the hallway light and turn on the bedroom fan",
)
OTHERS = (
    "the train was late again this morning",
    "we planted tomatoes and beans this spring",
    "somebody is knocking at the neighbour's door",
    "he lost his wallet on the bus",
    "the soup needs a little more garlic",
    "grandma is baking cookies for everybody",
)


@pytest.mark.parametrize("voice", ["en-us", "en-us+f2"])
def test_commands_are_heard_and_other_sentences_are_not_taken_for_one(voice: str) -> None:
    async def use(engine: PocketsphinxTranscriber) -> tuple[list[str], list[str]]:
        commands = [await heard(engine, spoken(text, voice)) for text in COMMANDS]
        others = [await heard(engine, spoken(text, voice)) for text in OTHERS]
        right = [
            wanted
            for wanted, got in zip(COMMANDS, commands, strict=True)
            if got.accepted and HOME.understand(got.text, IN_THE_KITCHEN) == HOME.understand(wanted, IN_THE_KITCHEN)
        ]
        return right, [text for text, got in zip(OTHERS, others, strict=True) if is_taken_for_a_command(got)]

    right, taken = with_engine(use)
    assert len(right) >= len(COMMANDS) - 1, set(COMMANDS) - set(right)
    assert len(taken) <= 1, taken


def test_unused_it_gives_its_memory_back_and_hears_the_next_sentence_all_the_same() -> None:
    async def use(engine: PocketsphinxTranscriber) -> list[Transcript]:
        assert not engine.pid, "nobody has spoken yet"
        transcripts: list[Transcript] = []
        for command in COMMANDS[:2]:
            stream = await engine.open(language="en")
            child = engine.pid
            assert child is not None
            await stream.feed(spoken(command))
            transcripts.append(await stream.transcript())
            await stream.close()
            await until(lambda: engine.pid is None, "it did not end")
            with pytest.raises(ProcessLookupError):
                os.kill(child, 0)
        return transcripts

    for command, transcript in zip(COMMANDS, with_engine(use, rest_after_s=0.1), strict=False):
        assert HOME.understand(transcript.text, IN_THE_KITCHEN) == HOME.understand(command, IN_THE_KITCHEN)


def test_a_new_grammar_wakes_nobody_and_counts_from_the_next_sentence_on() -> None:
    async def use(engine: PocketsphinxTranscriber) -> Transcript:
        await engine.set_grammar(build_grammar(load_templates("en"), HOME.vocabulary(["okay nabu"])))
        assert engine.pid is None
        return await heard(engine, spoken(COMMANDS[0]))

    empty = Understanding({}, AREAS, language="en")
    transcript = with_engine(use, empty, rest_after_s=30.0)
    assert HOME.understand(transcript.text, IN_THE_KITCHEN) == HOME.understand(COMMANDS[0], IN_THE_KITCHEN)


def test_silence_noise_and_a_television_are_no_command() -> None:
    async def use(engine: PocketsphinxTranscriber) -> dict[str, Transcript]:
        await heard(engine, spoken(COMMANDS[0]))
        sounds = {"silence": silence(2.0), "white": noise_of("white", 3.0), "music": noise_of("music", 3.0)}
        sounds |= {f"television {seed}": noise_of("television", 4.0, seed=seed) for seed in range(3)}
        return {name: await heard(engine, sound) for name, sound in sounds.items()}

    taken = {name: got.text for name, got in with_engine(use).items() if is_taken_for_a_command(got)}
    assert taken == {}


def test_a_television_before_the_wake_word_is_not_heard_as_a_command() -> None:
    async def use(engine: PocketsphinxTranscriber) -> list[str]:
        return [
            (await heard(engine, noise_of("television", 1.0, seed=seed) + spoken(text))).text
            for seed, text in enumerate(COMMANDS[:4])
        ]

    assert [text for text, wanted in zip(with_engine(use), COMMANDS, strict=False) if text != wanted] == []


def test_the_wake_word_alone_is_an_empty_transcript() -> None:
    async def use(engine: PocketsphinxTranscriber) -> Transcript:
        return await heard(engine, silence(0.3) + trimmed(say("okay nabu", "en-us")) + silence(0.3))

    assert with_engine(use).text == ""


def test_a_pause_shows_the_beginning_of_a_sentence_and_its_end_the_whole() -> None:
    begun, rest = trimmed(say("turn on the", "en-us")), trimmed(say("kitchen lamp", "en-us"))

    async def use(engine: PocketsphinxTranscriber) -> list[Transcript]:
        for text in COMMANDS[:3]:
            await heard(engine, spoken(text))
        stream = await engine.open(language="en")
        await stream.feed(silence(0.2) + begun + silence(0.13))
        first = await stream.so_far()
        await stream.feed(silence(0.1) + rest + silence(0.13))
        return [first, await stream.so_far(), await stream.transcript()]

    first, second, last = with_engine(use)
    assert HOME.judge(first.text, IN_THE_KITCHEN) == "incomplete", first
    assert [each.continuation for each in (first, second, last)] == ["needed", "possible", "possible"]
    assert (second.text, second.accepted) == ("turn on the kitchen lamp", True)
    assert (last.text, last.accepted) == ("turn on the kitchen lamp", True)


def test_a_sentence_that_never_ended_is_no_command() -> None:
    async def use(engine: PocketsphinxTranscriber) -> Transcript:
        await heard(engine, spoken(COMMANDS[0]))
        return await heard(engine, spoken("set the living room"))

    transcript = with_engine(use)
    assert not is_taken_for_a_command(transcript), transcript


def test_grammar_changes_between_utterances_and_words_unknown_to_the_dictionary_are_pronounced() -> None:
    lamp = Entity("light.z", "light", "Zorblatt lamp", "Kitchen")
    other = Understanding({**ENTITIES, lamp.id: lamp}, AREAS)
    asked: list[str] = []

    async def pronounce(words: Sequence[str], language: str) -> dict[str, list[str]]:
        asked.extend(words)
        return {"zorblatt": ["Z", "AO", "R", "B", "L", "AE", "T"]}

    async def use() -> Transcript:
        engine = PocketsphinxTranscriber(pronounce)
        try:
            await engine.set_grammar(build_grammar(load_templates("en"), HOME.vocabulary(["okay nabu"])))
            await heard(engine, spoken(COMMANDS[0]))
            await engine.set_grammar(build_grammar(load_templates("en"), other.vocabulary(["okay nabu"])))
            return await heard(engine, spoken("turn off the zorblatt lamp"))
        finally:
            await engine.close()

    assert asyncio.run(use()).text == "turn off the zorblatt lamp"
    assert asked == ["zorblatt"]


def test_a_killed_process_is_replaced_and_given_the_grammar_again() -> None:
    async def use(engine: PocketsphinxTranscriber) -> Transcript:
        stream = await engine.open(language="en")
        await stream.feed(silence(0.1))
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineError):
            await stream.transcript()
        await stream.close()
        return await heard(engine, spoken(COMMANDS[0]))

    assert with_engine(use).text == COMMANDS[0]


def test_without_a_grammar_it_says_so() -> None:
    async def use() -> None:
        engine = PocketsphinxTranscriber(no_pronunciation)
        try:
            with pytest.raises(EngineError, match="no grammar"):
                await engine.open(language="en")
        finally:
            await engine.close()

    asyncio.run(use())


def test_an_utterance_longer_than_any_command_is_cut_not_collected() -> None:
    async def use(engine: PocketsphinxTranscriber) -> Transcript:
        stream = await engine.open(language="en")
        for _ in range(30):
            await stream.feed(bytes(2 * RATE))
        transcript = await stream.transcript()
        await stream.close()
        return transcript

    assert not is_taken_for_a_command(with_engine(use))
