"""Recording, when a person switched it on: what was heard is kept, and not more than was allowed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from swarm.audio import read_wav, write_wav
from tests.speech import silence
from tests.whole.room import spoken
from tests.whole.running_node import running_node, wait_until


def test_what_was_heard_is_kept_within_its_bounds(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "recordings"
    folder.mkdir(parents=True)
    for name, age_s in (("ancient", 9 * 86_400), ("older", 7200), ("newer", 3600)):
        file = folder / f"{name}.wav"
        file.write_bytes(write_wav(silence(15.4)))
        os.utime(file, (file.stat().st_mtime - age_s,) * 2)
    sections = {"recording": {"enabled": True, "max_mb": 1, "keep_days": 7}}
    with running_node(tmp_path, sections=sections, when="listening for the commands") as node:
        wait_until(lambda: not (folder / "ancient.wav").exists())
        command = spoken("what time is it")
        answer = node.ask_audio(command, wake=False)
        kept = folder / f"{answer.utterance_id}.wav"
        wait_until(kept.exists)
        heard, said = (np.frombuffer(pcm, "<i2").astype(int) for pcm in (read_wav(kept), command))
        assert np.abs(heard[: len(said) // 2] - said[: len(said) // 2]).max() <= 2  # each reading rounds
        assert kept.stat().st_mode & 0o777 == 0o600
        assert sorted(file.name for file in folder.iterdir()) == sorted([kept.name, "newer.wav"])


def test_nothing_is_kept_unless_somebody_said_so(tmp_path: Path) -> None:
    with running_node(tmp_path, when="listening for the commands") as node:
        node.ask_audio(spoken("what time is it"), wake=False)
        assert not (node.state / "recordings").exists()
