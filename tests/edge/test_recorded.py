from __future__ import annotations

import asyncio

import pytest

from edge.line import UrlConnector
from edge.recorded import RecordingResult, run_recording
from edge.voice_activity import SileroVoiceActivity
from edge.wake_word import MicroWakeDetector
from swarm.messages import (
    HeardSoFar,
    NoReply,
    PlaybackFinished,
    SatelliteMessage,
    SpeechEnded,
    SpeechPaused,
    SpeechStarted,
    Transcribed,
    UtteranceEnded,
    UtteranceStarted,
)
from tests.edge.fake_hub import FakeHub, answering, fake_hub
from tests.speech import say, silence, trimmed

REPLY = say("The lamp is on.")
COMMAND = trimmed(say("turn on the lamp"))


async def ask(hub: FakeHub, pcm: bytes, *, wake: bool, timeout_s: float = 20.0) -> RecordingResult:
    return await run_recording(
        pcm,
        hub=UrlConnector(hub.url),
        name="ask",
        detector=MicroWakeDetector(["okay_nabu"]) if wake else None,
        vad=SileroVoiceActivity(),
        timeout_s=timeout_s,
    )


def test_recording_without_wake_word_is_answered() -> None:
    async def script(hub: FakeHub, message: SatelliteMessage) -> None:
        if isinstance(message, UtteranceEnded):
            await hub.say(Transcribed(message.utterance_id, "turn on the lamp"))
        await answering(REPLY, 16_000, "The lamp is on.")(hub, message)

    async def check() -> None:
        async with fake_hub(script) as hub:
            result = await ask(hub, COMMAND, wake=False)
            started = hub.of(UtteranceStarted)[0]
            assert result == RecordingResult(
                "answered", (started.utterance_id,), None, "turn on the lamp", "The lamp is on.", REPLY, 16_000
            )
            assert bytes(hub.audio[started.utterance_id]).startswith(COMMAND)
            await hub.until_said(PlaybackFinished)

    asyncio.run(check())


def test_recording_with_wake_word_names_it() -> None:
    async def check() -> None:
        async with fake_hub(answering(REPLY, 16_000)) as hub:
            result = await ask(hub, silence(0.5) + say("okay nabu turn on the lamp"), wake=True)
            assert (result.outcome, result.wake_word, result.reply_pcm) == ("answered", "okay_nabu", REPLY)

    asyncio.run(check())


def test_wake_word_that_never_comes_is_told() -> None:
    async def check() -> None:
        async with fake_hub() as hub:
            assert await ask(hub, COMMAND, wake=True) == RecordingResult("wake_not_heard")
            assert hub.audio == {}

    asyncio.run(check())


def test_silence_is_nothing_said() -> None:
    async def check() -> None:
        async with fake_hub() as hub:
            assert (await ask(hub, silence(0.5), wake=False)).outcome == "nothing_said"

    asyncio.run(check())


def test_withheld_reply_is_told() -> None:
    async def script(hub: FakeHub, message: SatelliteMessage) -> None:
        if isinstance(message, UtteranceEnded):
            await hub.say(NoReply(message.utterance_id, "done"))

    async def check() -> None:
        async with fake_hub(script) as hub:
            assert (await ask(hub, COMMAND, wake=False)).outcome == "no_reply"

    asyncio.run(check())


def test_sentence_that_the_hub_calls_incomplete_is_waited_on_longer() -> None:
    async def script(hub: FakeHub, message: SatelliteMessage) -> None:
        if isinstance(message, SpeechPaused):
            await hub.say(HeardSoFar(message.utterance_id, "incomplete", "turn on the"))
        if isinstance(message, UtteranceEnded):
            await hub.say(NoReply(message.utterance_id))

    async def check() -> None:
        async with fake_hub(script) as hub:
            await ask(hub, trimmed(say("turn on the")), wake=False)
            assert hub.of(UtteranceEnded)[0].speech_end_ms_ago >= 890

    asyncio.run(check())


def test_announcement_in_between_is_no_answer() -> None:
    async def script(hub: FakeHub, message: SatelliteMessage) -> None:
        if isinstance(message, UtteranceEnded):
            await hub.say(
                SpeechStarted("timer", 8_000, announcement=True), b"\1\0", SpeechEnded("timer", "Ten minutes.")
            )
        await answering(REPLY, 16_000, "The lamp is on.")(hub, message)

    async def check() -> None:
        async with fake_hub(script) as hub:
            result = await ask(hub, COMMAND, wake=False)
            assert (result.answer, result.reply_pcm, result.reply_rate) == ("The lamp is on.", REPLY, 16_000)

    asyncio.run(check())


def test_question_back_is_not_waited_on_once_the_recording_is_over() -> None:
    async def check() -> None:
        async with fake_hub(answering(REPLY, 16_000, "Which lamp?", follow_up=True)) as hub:
            result = await ask(hub, COMMAND, wake=False)
            assert (result.outcome, result.answer) == ("answered", "Which lamp?")
            assert len(result.utterance_ids) == 2

    asyncio.run(check())


def test_hub_that_never_answers_is_given_up_in_time() -> None:
    async def check() -> None:
        async with fake_hub() as hub:
            result = await ask(hub, COMMAND, wake=False, timeout_s=2.0)
            assert (result.outcome, len(result.utterance_ids)) == ("timed_out", 1)

    asyncio.run(check())


def test_hub_that_is_not_there_is_told() -> None:
    async def check() -> None:
        result = await run_recording(
            COMMAND,
            hub=UrlConnector("ws://127.0.0.1:9/api/voice"),
            name="ask",
            detector=None,
            vad=SileroVoiceActivity(),
            timeout_s=0.5,
        )
        assert result == RecordingResult("hub_unreachable")

    asyncio.run(check())


@pytest.mark.parametrize("extra", [1, 3])
def test_recording_of_odd_length_is_taken(extra: int) -> None:
    async def check() -> None:
        async with fake_hub(answering(REPLY, 16_000)) as hub:
            assert (await ask(hub, COMMAND + bytes(extra), wake=False)).outcome == "answered"

    asyncio.run(check())
