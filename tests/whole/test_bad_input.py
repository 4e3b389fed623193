"""What people and machines get wrong: told clearly to whoever did it, and the node stays up."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from swarm.audio import resampled, write_wav
from swarm.errors import MycoswarmError
from tests.whole.bus_watch import bus_watch
from tests.whole.room import spoken
from tests.whole.running_node import RunningNode, Sections, assert_no_surprise, running_node

COMMAND = spoken("turn on the kitchen lamp")
ANSWER = "The kitchen lamp is on."


def up(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "swarm", "up", "--config", str(config)], capture_output=True, text=True, timeout=20
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[node]\nname = 'a'\n[people]\nprot = 1\n", ":4: people.prot: no such key\n  did you mean people.port?"),
        ("[node]\n\nname = 7\n", ":3: node.name: Expected `str`, got `int`"),
        ("[bus]\nport = 70000\n", ":2: bus.port: Expected `int` <= 65535"),
        ("[satellite]\nwake_words = ['hey_you']\n", ':2: satellite.wake_words: "hey_you" is no wake word'),
        ("[nodes]\n", ":1: nodes: no such key\n  did you mean node?"),
        ("[node\n", ": not valid TOML: Expected ']'"),
    ],
)
def test_mistake_in_the_configuration_is_named_with_line_and_key(tmp_path: Path, text: str, told: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    ended = up(config)
    assert ended.returncode == 2
    assert f"error: {config}{told}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    config = tmp_path / "config.toml"
    config.write_text(f"[node]\nstate_dir = '{tmp_path / 'file' / 'state'}'\n")
    ended = up(config)
    assert ended.returncode == 1
    assert f"error: cannot make the state folder {tmp_path / 'file' / 'state'}: Not a directory" in ended.stderr


# ---- recordings


def eight_bit() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(16_000)
        out.writeframes(((np.frombuffer(COMMAND, "<i2") >> 8) + 128).astype("u1").tobytes())
    return file.getvalue()


def fast_stereo() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(96_000)
        out.writeframes(np.repeat(np.frombuffer(resampled(COMMAND, 16_000, 96_000), "<i2"), 2).tobytes())
    return file.getvalue()


def two_hours() -> bytes:
    """A header that announces two hours of 8 kHz, 8 bit, and as much behind it as compresses into nothing."""
    size = 2 * 3600 * 4_000
    header = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 4000, 4000, 1, 8)
    return header + b"data" + struct.pack("<I", size) + b"\x80" * size


GOOD = {"8-bit": eight_bit, "96 kHz stereo": fast_stereo}
BAD = {
    "truncated": (lambda: write_wav(COMMAND)[:-8000], "the recording is cut off"),
    "header only": (lambda: write_wav(COMMAND)[:44], "the recording"),
    "half a header": (lambda: write_wav(COMMAND)[:20], "the recording cannot be read as audio"),
    "no audio": (lambda: write_wav(b""), "the recording holds no audio"),
    "two hours": (two_hours, "the recording is 7200 s long; at most 300 s are read"),
    "no WAV": (lambda: b"RIFF" + b"this is a letter" * 100, "the recording cannot be read as audio"),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_recording_of_another_form_is_understood(flat_node: RunningNode, make: object) -> None:
    assert callable(make)
    answer = flat_node.ask_audio(make(), wake=False)
    assert (answer.transcript, answer.answer) == ("turn on the kitchen lamp", ANSWER)


@pytest.mark.parametrize(("make", "told"), BAD.values(), ids=BAD)
def test_recording_that_is_none_is_refused_with_the_reason(flat_node: RunningNode, make: object, told: str) -> None:
    assert callable(make)
    with pytest.raises(MycoswarmError) as refused:
        flat_node.ask_audio(make())
    assert told in str(refused.value)
    assert flat_node.ask("turn on the kitchen lamp").answer == ANSWER


def test_empty_recording_is_refused(flat_node: RunningNode) -> None:
    with pytest.raises(MycoswarmError, match="no recording came with the request"):
        flat_node.client().ask_audio(b"", wake=True)


def test_commands_of_automations_are_neither_obeyed_nor_answered_unless_a_person_switched_that_on(
    flat_node: RunningNode,
) -> None:
    api = "mycoswarm/api"
    with bus_watch(flat_node.bus_port, f"{api}/#") as watch:
        watch.publish(f"{api}/timer/set", '{"minutes": 5}')
        watch.publish(f"{api}/ask", "set a timer for five minutes")
        flat_node.ask("what time is it")
        assert flat_node.client().timers() == []
        assert {topic for topic, _ in watch.messages} == {f"{api}/timer/set", f"{api}/ask"}


def test_bad_recording_is_told_by_the_command_line(flat_node: RunningNode, tmp_path: Path) -> None:
    recording = tmp_path / "cut.wav"
    recording.write_bytes(write_wav(COMMAND)[:-8000])
    asked = flat_node.run("ask", "--audio", str(recording))
    assert asked.returncode == 1
    assert f"error: {recording} is cut off: its header promises" in asked.stderr


# ---- the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk, and not in every container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def test_disk_that_is_full_costs_no_answer_and_is_told_in_the_log(small_disk: Path, tmp_path: Path) -> None:
    sections: Sections = {"node": {"name": "home", "state_dir": str(small_disk)}, "recording": {"enabled": True}}
    with running_node(tmp_path / "node", demo_home=True, sections=sections) as node:
        node.state = small_disk
        before = node.ask("turn on the kitchen lamp")
        fill(small_disk)
        asked = [node.ask("set a timer for 40 minutes"), *(node.ask("what time is it") for _ in range(20))]
        assert all(each.answer for each in asked)
        assert node.ask_audio(COMMAND, wake=False).answer == ANSWER
        node.wait_for_log("traces are only kept in memory: cannot use the database")
        node.wait_for_log("cannot keep recordings in")
        assert [each.utterance_id for each in node.client().traces(30)[1:22]] == [
            each.utterance_id for each in reversed(asked)
        ]
        assert node.client().timers()
        (small_disk / "filler").unlink()
        last = node.ask("what time is it")
        node.end()
        node.start()
        found = {trace.utterance_id for trace in node.client().traces(100)}
        assert {before.utterance_id, last.utterance_id, *(each.utterance_id for each in asked)} <= found


@pytest.mark.parametrize("broker", ["own", "elsewhere"])
def test_disk_that_is_full_at_the_start_is_told(small_disk: Path, tmp_path: Path, broker: str) -> None:
    sections: Sections = {
        "node": {"name": "home", "state_dir": str(small_disk)},
        "bus": {} if broker == "own" else {"broker": "mqtt://127.0.0.1:1"},
    }
    fill(small_disk)
    node = RunningNode(tmp_path / "node", sections=sections)
    try:
        assert node.launch().wait() == 1
        assert re.search(rf"^error: cannot write .*{small_disk}.*No space left on device$", node.log_text(), re.M)
        assert_no_surprise(node)
    finally:
        node.end()
