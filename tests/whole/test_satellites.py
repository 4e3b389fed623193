"""Satellites at a running node: the edge's own code in this process, and peers that are no good satellites."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from edge.satellite import BeginUtterance, EndUtterance, PlaybackDone, SpeechKnown
from edge.sinks import CollectingSink
from swarm.codec import MAX_AUDIO_BYTES, MAX_TEXT_BYTES, decode_from_hub, encode
from swarm.messages import (
    Hello,
    HubMessage,
    Message,
    NoReply,
    SetVolume,
    SpeechEnded,
    SpeechPaused,
    SpeechStarted,
    Transcribed,
    UtteranceEnded,
    UtteranceStarted,
)
from tests.speech import silence
from tests.whole.bus_watch import bus_watch
from tests.whole.room import room_at, spoken
from tests.whole.running_node import RunningNode, until, wait_until

LONG = "what can you do"
"""Its answer takes over ten seconds to speak."""


def test_wake_word_and_command_of_a_satellite_are_answered_in_its_room(flat_node: RunningNode) -> None:
    async def check() -> None:
        sink = CollectingSink()
        async with room_at(flat_node.voice_url, "bed", area="Bedroom", wake=True, sink=sink) as room:
            room.say(silence(0.5) + spoken("okay nabu switch on the light", "flite:rms"))
            answer = await room.until_seen(SpeechEnded)
            assert answer.text == "The bedroom lamp is on."
            await room.until_seen(PlaybackDone)
            assert "bed" in flat_node.client().status().satellites
            trace = await until(
                lambda: next((each for each in flat_node.client().traces(9) if each.satellite == "bed"), None)
            )
            assert trace is not None
            assert trace.utterance_id == room.utterance_ids[0]
        speech = sink.played[-1]
        assert len(speech[1]) > speech[0]  # half a second at least

    asyncio.run(check())
    wait_until(lambda: "bed" not in flat_node.client().status().satellites)


@pytest.mark.parametrize(
    ("said", "answer", "door"),
    [("no", "OK, I left it locked.", "locked"), ("yes", "The front door is unlocked.", "unlocked")],
)
def test_yes_or_no_answers_the_question_without_a_wake_word(
    flat_node: RunningNode, said: str, answer: str, door: str
) -> None:
    flat_node.ask("lock the front door")

    async def check() -> None:
        async with room_at(flat_node.voice_url, "hall", area="Hallway") as room:
            assert await room.answered("unlock the front door") == ("unlock the front door", "Unlock the front door?")
            assert room.of(SpeechEnded)[0].follow_up
            begun = await room.until_seen(BeginUtterance, 2)
            assert begun.follow_up
            assert flat_node.state_of("Front door")["value"] == "locked"
            room.say(silence(0.4) + spoken(said))
            assert (await room.until_seen(SpeechEnded, 2)).text == answer
            assert room.of(Transcribed)[1].text == said

    asyncio.run(check())
    assert flat_node.state_of("Front door")["value"] == door


def test_yes_of_another_room_unlocks_nothing(flat_node: RunningNode) -> None:
    flat_node.ask("lock the front door")

    async def check() -> None:
        async with room_at(flat_node.voice_url, "hall") as hall, room_at(flat_node.voice_url, "kitchen") as kitchen:
            await hall.answered("unlock the front door")
            await kitchen.answered("yes")
            assert flat_node.state_of("Front door")["value"] == "locked"

    asyncio.run(check())


def test_two_rooms_that_speak_at_once_are_both_answered(flat_node: RunningNode) -> None:
    async def check() -> None:
        async with room_at(flat_node.voice_url, "kitchen") as kitchen, room_at(flat_node.voice_url, "bed") as bed:
            one, other = await asyncio.gather(
                kitchen.answered("turn on the coffee machine"), bed.answered("turn on the bedroom fan")
            )
            assert one == ("turn on the coffee machine", "The coffee machine is on.")
            assert other == ("turn on the bedroom fan", "The bedroom fan is on.")

    asyncio.run(check())


def test_satellite_that_leaves_in_the_middle_of_an_utterance_costs_the_others_nothing(flat_node: RunningNode) -> None:
    async def check() -> None:
        async with room_at(flat_node.voice_url, "leaving") as room:
            room.command("turn off the coffee machine")
            await room.until_seen(BeginUtterance)
        async with room_at(flat_node.voice_url, "staying") as staying:
            assert (await staying.answered("what time is it"))[0] == "what time is it"
        trace = flat_node.client().trace(room.utterance_ids[0])
        assert (trace.satellite, trace.outcome, trace.transcript) == ("leaving", "cancelled", "")

    asyncio.run(check())


def test_speaking_again_stops_the_answer_that_is_being_spoken(flat_node: RunningNode) -> None:
    async def check() -> None:
        async with room_at(flat_node.voice_url, "kitchen", sink=CollectingSink(paced=True)) as room:
            room.command(LONG)
            await room.until_seen(SpeechStarted)
            room.command("what time is it")
            first, second = room.utterance_ids
            assert (await room.until_seen(PlaybackDone)).interrupted
            assert (await room.until_seen(SpeechKnown)).utterance_id == second
            assert (await room.until_seen(PlaybackDone, 2)).utterance_id == second
            await until(lambda: flat_node.client().traces(1)[0].utterance_id == second)
            assert flat_node.client().trace(second).outcome == "done"
            assert "last_audio" in [mark.stage for mark in flat_node.client().trace(first).marks]

    asyncio.run(check())


def test_speaking_on_while_the_first_is_answered_gives_up_the_first(flat_node: RunningNode) -> None:
    async def check() -> None:
        async with room_at(flat_node.voice_url, "kitchen") as room:
            room.satellite.listen()
            await room.until_seen(BeginUtterance)
            room.command("turn on the hallway light")
            answer = await room.until_seen(SpeechEnded)
            assert answer.utterance_id == room.utterance_ids[1]
            assert room.of(EndUtterance)[0] == EndUtterance(room.utterance_ids[0], "cancelled")
            assert flat_node.client().trace(room.utterance_ids[0]).outcome == "cancelled"

    asyncio.run(check())


def test_volume_that_was_said_is_told_to_the_satellite_and_again_when_it_returns(flat_node: RunningNode) -> None:
    async def check() -> None:
        async with room_at(flat_node.voice_url, "kitchen") as room:
            assert (await room.answered("set the volume to forty percent"))[1] == "Volume is at 40%."
            assert room.of(SetVolume) == [SetVolume(40)]
        async with room_at(flat_node.voice_url, "kitchen") as room:
            assert await room.until_seen(SetVolume) == SetVolume(40)

    asyncio.run(check())


# ---- what is no good satellite


@asynccontextmanager
async def raw_session(
    node: RunningNode, *messages: Message | bytes | str
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as http, http.ws_connect(node.voice_url, max_msg_size=0) as socket:
        for message in messages:
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_str(message if isinstance(message, str) else encode(message))
        yield socket


Frames = tuple[Message | bytes | str, ...]
HELLO = Hello("odd")
BEGUN = UtteranceStarted("u1")


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ((b"\0" * 640,), "a session begins with a hello"),
        (("{",), "not a voice session message"),
        (('{"type": "Teleport"}',), "not a voice session message"),
        ((BEGUN,), "a session begins with a hello, not with UtteranceStarted"),
        ((Hello("odd", version=99),), "version 99 of the voice protocol; this hub speaks 1"),
        ((Hello(""),), "a satellite's name has 1 to 100 characters"),
        ((Hello("x" * 101),), "a satellite's name has 1 to 100 characters"),
        ((HELLO, "not json"), "not a voice session message"),
        ((HELLO, "[" * 10_000), "not a voice session message"),
        ((HELLO, HELLO), "a second hello"),
        ((HELLO, UtteranceStarted("u" * 101)), "an utterance's id has 1 to 100 characters"),
        ((HELLO, UtteranceStarted("")), "an utterance's id has 1 to 100 characters"),
        ((HELLO, BEGUN, BEGUN), "an utterance began twice"),
        ((HELLO, BEGUN, b"\0" * 641), "audio of 641 bytes"),
        ((HELLO, "x" * (MAX_TEXT_BYTES + 2)), ""),
        ((HELLO, bytes(MAX_AUDIO_BYTES + 2)), ""),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_what_is_no_message_ends_that_session_only(flat_node: RunningNode, messages: Frames, why: str) -> None:
    async def check() -> None:
        async with raw_session(flat_node, *messages) as socket, asyncio.timeout(10):
            frames = [frame async for frame in socket]
            assert all(frame.type is aiohttp.WSMsgType.TEXT for frame in frames)
            assert socket.close_code in (aiohttp.WSCloseCode.POLICY_VIOLATION, aiohttp.WSCloseCode.MESSAGE_TOO_BIG)

    asyncio.run(check())
    assert why in flat_node.log_text()
    wait_until(lambda: "odd" not in flat_node.client().status().satellites)
    assert flat_node.ask("what time is it").outcome == "done"


def test_messages_that_mean_nothing_now_are_ignored(flat_node: RunningNode) -> None:
    stray: Frames = (UtteranceEnded("nobody's", "silence"), SpeechPaused("nobody's", 100.0), b"", b"\0\0" * 100)
    command = spoken("turn off the hallway light")
    pieces = [command[start : start + 6400] for start in range(0, len(command), 6400)]

    async def check() -> None:
        hello = Hello("odd", area="x" * 2000, language="tlh-Klingon")
        end = UtteranceEnded("u1", "silence")
        async with raw_session(flat_node, hello, *stray, BEGUN, *pieces[:3], b"", *stray, *pieces[3:], end) as socket:
            async with asyncio.timeout(15):
                async for frame in socket:
                    if frame.type is aiohttp.WSMsgType.TEXT:
                        said.append(decode_from_hub(frame.data))
                        if isinstance(said[-1], SpeechEnded | NoReply):
                            return

    said: list[HubMessage] = []
    asyncio.run(check())
    print(said)


def test_utterance_that_never_ends_does_not_keep_the_others_waiting_for_ever(flat_node: RunningNode) -> None:
    async def check() -> None:
        hanging = raw_session(flat_node, Hello("hanging"), BEGUN, bytes(6400))
        async with hanging, room_at(flat_node.voice_url, "kitchen") as room:
            room.command("what time is it")
            answer = await room.until_seen(SpeechEnded, seconds=40)
            assert answer.text.startswith("It's ")
            assert room.of(NoReply) == []

    asyncio.run(check())


def test_command_of_a_satellite_is_seen_on_the_broker(flat_node: RunningNode) -> None:
    async def check() -> None:
        async with room_at(flat_node.voice_url, "kitchen", area="Kitchen") as room:
            await room.answered("turn the light off")

    with bus_watch(flat_node.bus_port) as watch:
        asyncio.run(check())
        assert watch.commands() == ["flat/kitchen_lamp/set"]
