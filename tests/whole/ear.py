"""A machine that is nothing but a satellite, and a person who speaks to it: the node's own process with a microphone
that is a file. What a test writes there is heard in real time, silence before and after it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path

from edge.echo import EchoCanceller
from edge.sources import FRAME_BYTES, RecordingSource
from swarm.messages import Trace
from tests.speech import say, silence, trimmed
from tests.whole.running_node import wait_until
from tests.whole.swarm_machines import Machine

VOICE = "flite:rms"
"""The wake word model is surest of this one."""
PRELUDE = """
import edge.service
from tests.whole.ear import WrittenMicrophone
edge.service.Microphone = WrittenMicrophone
"""


class WrittenMicrophone:
    """In the node's process; `device` is the file."""

    is_device = False

    def __init__(self, device: str, *, echo: EchoCanceller | None) -> None:
        assert echo is None, "its sound goes past no speaker"
        self.name = f"the file {device}"
        self.lost_frames = 0
        self.burst_frames = 1
        self._device = device

    async def frames(self) -> AsyncGenerator[bytes, None]:
        heard_file = Path(f"{self._device}.heard")
        with Path(self._device).open("rb") as said, heard_file.open("wb") as heard:  # noqa: ASYNC230 in memory
            async for quiet in RecordingSource(b"", then_silence=True).frames():
                if words := said.read(FRAME_BYTES):
                    os.pwrite(heard.fileno(), b"%d" % said.tell(), 0)
                yield words.ljust(FRAME_BYTES, b"\0") or quiet


class Ear(Machine):
    """Its node's roles are `edge` alone. `area` is where it stands."""

    def __init__(self, folder: Path, *, area: str = "") -> None:
        self.microphone = folder / "microphone"
        satellite = {"microphone": str(self.microphone), "speaker": "none", "area": area}
        super().__init__(folder, {"swarm": {"roles": ["edge"]}, "satellite": satellite})
        self.microphone.touch()
        self._before: set[str] = set()
        self._program = ["-c", f"{PRELUDE}\nfrom swarm.cli import main\nmain()"]

    def hear(self, text: str) -> None:
        """A person says the wake word and a sentence in one breath."""
        self._before = {each.utterance_id for each in self.client().traces(50)}
        with self.microphone.open("ab") as file:
            file.write(silence(0.6) + trimmed(say(f"okay nabu {text}", VOICE)))

    def hear_all_but(self, seconds: float) -> None:
        """Return as soon as it has heard all but the last part of what is said."""
        wanted = self.microphone.stat().st_size - len(silence(seconds))
        heard = Path(f"{self.microphone}.heard")
        wait_until(lambda: int(heard.read_bytes() or b"0") >= wanted)

    def hub(self) -> str:
        """Whom its satellite uses."""
        return self.client().status().hub

    def answered(self, transcript: str) -> Trace:
        """Wait for the trace of what it was to hear last."""

        def found() -> Trace | None:
            new = [each for each in self.client().traces(50) if each.utterance_id not in self._before]
            return next((each for each in new if each.transcript == transcript), None)

        trace = wait_until(found, lambda: f"{self.client().traces(9)}\n{self.log_tail()}", seconds=40.0)
        assert trace is not None
        return trace

    def announced(self, answer: str) -> Trace | None:
        """What was said here unasked, in these words."""
        unasked = (each for each in self.client().traces(50) if each.source == "announcement")
        return next((each for each in unasked if each.answer == answer), None)


def nodes_of(trace: Trace) -> dict[str, str]:
    """Who did each stage."""
    return {mark.stage: mark.node for mark in trace.marks}
