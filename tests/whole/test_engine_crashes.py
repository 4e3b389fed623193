"""Engines that die under a running node: what was under way may be lost, the next command is not."""

from __future__ import annotations

import asyncio

import pytest

from edge.satellite import BeginUtterance, UtteranceOver
from swarm.messages import SpeechEnded, SpeechStarted
from tests.whole.room import Room, room_at, spoken
from tests.whole.running_node import RunningNode, until, wait_until

RECOGNIZER, SYNTHESIZER = "swarm.engines.pocketsphinx", "swarm.engines.espeak"
LONG = "what can you do"


def kill(node: RunningNode, engine: str) -> None:
    process = node.child(engine)
    process.kill()
    wait_until(lambda: not process.is_running())


async def next_command_works(room: Room) -> None:
    answers = len(room.of(SpeechEnded))
    assert await room.answered("turn on the hallway light", answers + 1) == (
        "turn on the hallway light",
        "The hallway light is on.",
    )


@pytest.mark.parametrize("engine", [RECOGNIZER, SYNTHESIZER])
def test_engine_that_died_while_nobody_spoke_serves_the_next_command(flat_node: RunningNode, engine: str) -> None:
    kill(flat_node, engine)
    answer = flat_node.ask_audio(spoken("turn off the hallway light"), wake=False)
    assert (answer.transcript, answer.answer) == ("turn off the hallway light", "The hallway light is off.")
    assert answer.reply_wav


def test_recognizer_that_dies_in_the_middle_of_a_sentence_is_told_by_a_sound_and_hears_the_next(
    flat_node: RunningNode,
) -> None:
    async def check() -> None:
        async with room_at(flat_node.voice_url, "kitchen") as room:
            room.command("turn off the kitchen lamp")
            await room.until_seen(BeginUtterance)
            await asyncio.to_thread(kill, flat_node, RECOGNIZER)
            await room.until_seen(UtteranceOver)
            await until(lambda: bool(room.refused) or bool(room.of(SpeechEnded)))
            if room.refused:
                assert room.refused[0].cue == "error"
                assert flat_node.client().trace(room.utterance_ids[0]).outcome == "failed"
            await next_command_works(room)

    asyncio.run(check())


def test_synthesizer_that_dies_in_the_middle_of_an_answer_speaks_the_next(flat_node: RunningNode) -> None:
    async def check() -> None:
        async with room_at(flat_node.voice_url, "kitchen") as room:
            room.command(LONG)
            await room.until_seen(SpeechStarted)
            await asyncio.to_thread(kill, flat_node, SYNTHESIZER)
            assert (await room.until_seen(SpeechEnded)).text.startswith("I can ")
            await next_command_works(room)

    asyncio.run(check())


def test_engines_that_die_again_and_again_come_back(flat_node: RunningNode) -> None:
    for _ in range(3):
        kill(flat_node, RECOGNIZER)
        kill(flat_node, SYNTHESIZER)
    answer = wait_until(lambda: _heard(flat_node), "no command was understood any more", seconds=30)
    assert answer == "The hallway light is off."


def _heard(node: RunningNode) -> str:
    answer = node.ask_audio(spoken("turn off the hallway light"), wake=False)
    return answer.answer if answer.transcript else ""
