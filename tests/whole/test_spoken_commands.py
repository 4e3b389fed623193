"""A recording goes in at one end of a running node, and the other end is looked at: broker, device, reply, trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swarm.audio import write_wav
from swarm.errors import MycoswarmError
from tests.speech import NEWS, noise_of, silence
from tests.whole.bus_watch import bus_watch
from tests.whole.room import spoken
from tests.whole.running_node import RunningNode
from tests.whole.what_was_said import what_was_said

NABU = spoken("okay nabu", "en-us")
SILENCE = silence(0.4)
STAGES = ["wake", "speech_end", "endpoint", "transcript", "intent", "action_confirmed", "first_audio", "last_audio"]


def test_wake_word_and_command_switch_the_lamp_and_the_reply_says_so(flat_node: RunningNode, tmp_path: Path) -> None:
    assert flat_node.state_of("Kitchen lamp")["value"] == "off"
    question, reply = tmp_path / "question.wav", tmp_path / "reply.wav"
    question.write_bytes(write_wav(SILENCE + NABU + silence(0.3) + spoken("turn on the kitchen lamp") + SILENCE))
    with bus_watch(flat_node.bus_port) as watch:
        asked = flat_node.run("ask", "--audio", str(question), "--reply", str(reply), "--json")
        assert asked.returncode == 0, asked.stderr
        watch.until("flat/kitchen_lamp/set", b"ON")
        watch.until("flat/kitchen_lamp/state", b"ON")
        assert watch.commands() == ["flat/kitchen_lamp/set"]
    assert flat_node.state_of("Kitchen lamp")["value"] == "on"
    answer = json.loads(asked.stdout)
    assert (answer["transcript"], answer["intent"], answer["outcome"]) == (
        "turn on the kitchen lamp",
        "HassTurnOn",
        "done",
    )
    assert answer["answer"] == "The kitchen lamp is on."
    trace = answer["trace"]
    assert (trace["source"], trace["wake_word"]) == ("voice", "okay_nabu")
    assert [mark["stage"] for mark in trace["marks"]] == STAGES
    assert flat_node.client().trace(answer["utterance_id"]).answer == answer["answer"]
    decoys = [
        "the kitchen lamp is off",
        "the bedroom lamp is on",
        "sorry i didn't catch that",
        "the lamp did not answer",
    ]
    assert what_was_said(reply.read_bytes(), ["the kitchen lamp is on", *decoys]) == "the kitchen lamp is on"


@pytest.mark.parametrize(
    ("recording", "wake", "transcript"),
    [
        (SILENCE + spoken("okay nabu turn off the bedroom lamp", "en-us") + SILENCE, True, "turn off the bedroom lamp"),
        (SILENCE + spoken("okay nabu turn on the bedroom fan", "en-gb-x-rp+m3"), True, "turn on the bedroom fan"),
        (SILENCE + NABU + silence(1.5) + spoken("turn on the hallway light"), True, "turn on the hallway light"),
        (spoken("turn off the hallway light", "en-gb-x-rp+m3"), False, "turn off the hallway light"),
        (spoken("what time is it"), False, "what time is it"),
    ],
    ids=["one-breath", "one-breath-another-voice", "pause", "no-wake", "question"],
)
def test_each_way_of_asking_is_understood(
    flat_node: RunningNode, recording: bytes, wake: bool, transcript: str
) -> None:
    answer = flat_node.ask_audio(recording, wake=wake)
    assert (answer.transcript, answer.outcome) == (transcript, "done")
    assert answer.reply_wav[:4] == b"RIFF"


@pytest.mark.parametrize(
    "recording",
    [spoken("turn on the kitchen lamp"), silence(1.0), noise_of("white", 2.0)],
    ids=["command", "silence", "noise"],
)
def test_recording_without_a_wake_word_is_told_so(flat_node: RunningNode, recording: bytes) -> None:
    with pytest.raises(MycoswarmError) as refused:
        flat_node.ask_audio(recording)
    assert 'no wake word was heard in the recording: "okay nabu" wakes this node' in str(refused.value)
    assert "--no-wake" in refused.value.hint


@pytest.mark.parametrize("recording", [silence(0.3), noise_of("white", 0.5)], ids=["silence", "noise"])
def test_nothing_said_after_the_wake_word_is_told_so(flat_node: RunningNode, recording: bytes) -> None:
    answer = flat_node.ask_audio(SILENCE + NABU + recording)
    assert (answer.outcome, answer.answer, answer.reply_wav) == ("nothing_said", "", b"")


def test_what_is_no_command_moves_nothing_and_is_honestly_not_understood(flat_node: RunningNode) -> None:
    with bus_watch(flat_node.bus_port) as watch:
        answer = flat_node.ask_audio(SILENCE + spoken(NEWS[3]) + SILENCE, wake=False)
        assert (answer.transcript, answer.intent, answer.outcome) == ("", "", "not_understood")
        assert answer.answer == "Sorry, I didn't catch that."
        heard = what_was_said(answer.reply_wav, ["sorry i didn't catch that", "the kitchen lamp is on", "okay"])
        assert heard == "sorry i didn't catch that"
        assert watch.commands() == []


def test_question_of_the_node_is_what_the_asker_of_a_recording_gets(flat_node: RunningNode) -> None:
    answer = flat_node.ask_audio(spoken("unlock the front door"), wake=False)
    assert (answer.transcript, answer.answer) == ("unlock the front door", "Unlock the front door?")
    assert flat_node.state_of("Front door")["value"] == "locked"


def test_yes_in_the_same_recording_unlocks_the_door(flat_node: RunningNode) -> None:
    recording = spoken("unlock the front door") + silence(1.2) + spoken("yes") + SILENCE
    answer = flat_node.ask_audio(recording, wake=False)
    assert (answer.transcript, answer.answer) == ("yes", "The front door is unlocked.")
    assert flat_node.state_of("Front door")["value"] == "unlocked"
