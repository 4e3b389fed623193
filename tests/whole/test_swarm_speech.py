"""Satellite, hub, and a third machine with ears and a voice: one utterance over all of them, and without the third."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

from edge.satellite import BeginUtterance
from swarm.messages import Mark, SpeechEnded, SpeechStarted, Trace, Transcribed
from tests.gpu_node.tiny_voice import make_tiny_voice
from tests.whole.room import Room, room_at, spoken
from tests.whole.running_node import wait_until
from tests.whole.swarm_machines import WORKER, Machine, machines, one_swarm
from tests.whole.test_language_model import WHISPER, question

OWN_RATE = 22_050
"""Of eSpeak NG; the other machine's voice has 16,000."""

PATIENCE = (
    "from swarm import swarm_synthesizer, swarm_transcriber\nswarm_synthesizer.LATE_S = swarm_transcriber.LATE_S = 3.0"
)
"""Of the hub: a busy machine may take longer than a person should wait."""


def test_utterance_goes_over_three_machines_and_survives_the_loss_of_the_third(tmp_path: Path) -> None:
    voice = make_tiny_voice(tmp_path)
    speech = {"speech": {"whisper_model": str(WHISPER), "piper_voice": str(voice)}}
    with machines(tmp_path, ("attic", []), ("study", [WORKER, speech])) as [hub, study]:
        hub.runs_first(PATIENCE)
        one_swarm(hub, study)
        wait_until(lambda: {("transcribe", "faster-whisper"), ("synthesize", "piper:tiny")} <= offered(hub, study))
        hub.wait_for_log("listening for the commands")

        async def check() -> list[str]:
            async with room_at(hub.voice_url, "kitchen") as room:
                await everything_is_heard_and_said_by_the_third(hub, room)
                for engine in ("faster_whisper", "piper"):
                    study.child(engine).suspend()
                await engines_that_hang_are_not_waited_for(hub, room)
                await machine_is_killed_while_somebody_speaks(hub, study, room)
                return room.utterance_ids

        first, second, _ = asyncio.run(check())
        shown = hub.did("trace", first)
        assert re.search(r"transcript +study", shown), shown
        assert re.search(r"first_audio +study", shown), shown
        assert "heard in command mode" in hub.did("trace", second)


async def everything_is_heard_and_said_by_the_third(hub: Machine, room: Room) -> None:
    trace, marks = await asked(hub, room, question(), 1)
    assert (trace.transcript, trace.outcome) == ("Tell me a joke.", "not_understood")
    assert {stage: mark.node for stage, mark in marks.items()} == {
        "speech_end": "kitchen",
        "endpoint": "kitchen",
        "transcript": "study",
        "intent": "attic",
        "first_audio": "study",
        "last_audio": "kitchen",
    }
    assert not any(mark.note for mark in marks.values())
    assert room.of(SpeechStarted)[0].rate == OWN_RATE


async def engines_that_hang_are_not_waited_for(hub: Machine, room: Room) -> None:
    trace, marks = await asked(hub, room, question(), 2)
    assert (trace.transcript, trace.answer) == ("", "Sorry, I didn't catch that.")
    assert (marks["transcript"].node, marks["first_audio"].node) == ("attic", "attic")
    assert marks["transcript"].note == "study: it was too late; heard in command mode"
    assert marks["first_audio"].note == "study: it was too late; said by the own voice"
    assert room.of(SpeechStarted)[1].rate == OWN_RATE


async def machine_is_killed_while_somebody_speaks(hub: Machine, study: Machine, room: Room) -> None:
    asking = asyncio.ensure_future(asked(hub, room, spoken("what time is it"), 3))
    await room.until_seen(BeginUtterance, 3)
    study.signal(signal.SIGKILL)
    study.wait()
    trace, marks = await asking
    assert (trace.transcript, trace.outcome) == ("what time is it", "done")
    assert (marks["transcript"].node, marks["first_audio"].node) == ("attic", "attic")


async def asked(hub: Machine, room: Room, pcm: bytes, count: int) -> tuple[Trace, dict[str, Mark]]:
    """What came of the `count`-th question, once it was answered aloud; its marks by stage."""
    room.satellite.listen()
    room.say(pcm)
    answer = await room.until_seen(SpeechEnded, count)
    assert room.of(Transcribed)[-1].utterance_id == answer.utterance_id

    def finished() -> Trace | None:
        trace = next((each for each in hub.client().traces(5) if each.utterance_id == answer.utterance_id), None)
        return trace if trace is not None and trace.marks[-1].stage == "last_audio" else None

    trace = await asyncio.to_thread(wait_until, finished)
    assert trace is not None
    return trace, {mark.stage: mark for mark in trace.marks}


def offered(hub: Machine, other: Machine) -> set[tuple[str, str]]:
    """What the hub knows that the other can do at once."""
    return {
        (each.kind, each.model)
        for node in hub.view()
        if node.name == other.name
        for each in node.capabilities
        if each.warm
    }
