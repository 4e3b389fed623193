"""One question from a recording through a satellite of its own: the whole voice path without a sound card."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from edge import satellite as machine
from edge.endpointing import EndpointSettings
from edge.line import Connector
from edge.service import Happening, Satellite
from edge.sinks import AudioSink, NoSink
from edge.sources import RecordingSource
from swarm.audio import resampled
from swarm.engine import VoiceActivityDetector, WakeDetector
from swarm.messages import NoReply, SpeechEnded, SpeechStarted, Trace, Traced, Transcribed

CONNECT_S = 5.0
WAKE_GRACE_S = 1.0
"""How long after the recording's end its wake word may still be recognised."""
TRACE_S = 5.0
"""How long after the answer its trace may come."""
MAX_REPLY_BYTES = 64 * 1024 * 1024

Outcome = Literal["answered", "no_reply", "nothing_said", "wake_not_heard", "no_answer", "timed_out", "hub_unreachable"]


@dataclass(frozen=True)
class RecordingResult:
    """What became of a recording."""

    outcome: Outcome
    """`no_answer`: the hub took the question and never answered; `no_reply`: it answered that it will not speak."""
    utterance_ids: tuple[str, ...] = ()
    wake_word: str | None = None
    transcript: str = ""
    answer: str = ""
    reply_pcm: bytes = b""
    """The answer's speech, without cues; all answers one after the other."""
    reply_rate: int = 22_050
    traces: tuple[Trace, ...] = ()
    """Of its utterances, as far as they came; none if they were not asked for."""


async def run_recording(
    pcm: bytes,
    *,
    hub: Connector,
    name: str,
    detector: WakeDetector | None,
    vad: VoiceActivityDetector,
    timeout_s: float,
    sink: AudioSink | None = None,
    area: str | None = None,
    language: str = "en",
    traces: bool = False,
    endpointing: EndpointSettings | None = None,
) -> RecordingResult:
    """Speak 16 kHz `pcm` to `hub` in real time, then silence until the answer was played.

    `detector` None takes the recording for the question itself; else it must begin with a wake word. `sink` None
    plays the answer to nobody, in no time. `traces` asks the hub for them. Ends after `timeout_s` at the latest.
    """
    begin = asyncio.Event()
    source = RecordingSource(pcm, then_silence=True, begin=begin)
    watcher = _Watcher()
    satellite = Satellite(
        hub=hub,
        name=name,
        source=source,
        sink=sink or NoSink(),
        detector=detector,
        vad=vad,
        area=area,
        language=language,
        traces=traces,
        endpointing=endpointing,
        watch=watcher.see,
    )
    if detector is None:
        watcher.on_hearing = satellite.listen
    running = asyncio.create_task(satellite.run())
    try:
        if not await watcher.saw(lambda: satellite.connected, timeout_s=min(CONNECT_S, timeout_s)):
            return RecordingResult("hub_unreachable")
        begin.set()
        result = await _listen_through(watcher, satellite, source, timeout_s)
        if traces and result.utterance_ids:
            await watcher.saw(lambda: result.utterance_ids[-1] in watcher.traces, timeout_s=TRACE_S)
        return replace(result, traces=tuple(watcher.traces.values()))
    finally:
        running.cancel()
        await asyncio.wait({running})


async def _listen_through(
    watcher: _Watcher, satellite: Satellite, source: RecordingSource, timeout_s: float
) -> RecordingResult:
    deadline = asyncio.get_running_loop().time() + timeout_s
    exhausted = asyncio.create_task(source.exhausted.wait())
    exhausted.add_done_callback(lambda _: watcher.changed.set())
    try:
        if not await watcher.saw(lambda: bool(watcher.utterance_ids) or exhausted.done(), timeout_s=timeout_s):
            return watcher.result("timed_out")
        if not await watcher.saw(lambda: bool(watcher.utterance_ids), timeout_s=WAKE_GRACE_S):
            return watcher.result("wake_not_heard")
        remaining_s = deadline - asyncio.get_running_loop().time()
        finished = await watcher.saw(lambda: exhausted.done() and watcher.over(satellite.phase), timeout_s=remaining_s)
        await satellite.flush(timeout_s=1.0)
        return watcher.result(None if finished else "timed_out")
    finally:
        exhausted.cancel()


class _Watcher:
    """Keeps what a recording's result is made of."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.on_hearing: Callable[[], None] | None = None
        self.utterance_ids: list[str] = []
        self.traces: dict[str, Trace] = {}
        self._wake_word: str | None = None
        self._transcript = ""
        self._answers: list[str] = []
        self._reply = bytearray()
        self._reply_rate = 0
        self._speech: tuple[int, bytearray] | None = None
        self._outcome: Outcome | None = None
        self._following_up = False

    def see(self, happening: Happening) -> None:
        """Called by the satellite."""
        match happening:
            case machine.MicrophoneFound():
                if self.on_hearing is not None:
                    self.on_hearing()
            case machine.BeginUtterance():
                self.utterance_ids.append(happening.utterance_id)
                self._wake_word = self._wake_word or happening.wake_word
                self._following_up = happening.follow_up
                if not happening.follow_up:
                    self._outcome = None
            case machine.EndUtterance(reason="nothing_said"):
                self._outcome = self._outcome or "nothing_said"
            case NoReply():
                self._outcome = "no_reply"
            case Transcribed():
                self._transcript = happening.text
            case Traced():
                self.traces[happening.trace.utterance_id] = happening.trace
            case SpeechStarted():
                self._speech = (happening.rate, bytearray()) if not happening.announcement else None
            case bytes():
                if self._speech is not None and len(self._speech[1]) < MAX_REPLY_BYTES:
                    self._speech[1].extend(happening)
            case SpeechEnded():
                self._answered(happening.text)
            case machine.HubLost():
                self._outcome = self._outcome or "hub_unreachable"
            case machine.TimePassed():
                self._outcome = self._outcome or "no_answer"
            case _:
                pass
        self.changed.set()

    def _answered(self, text: str) -> None:
        if self._speech is None:
            return
        rate, pcm = self._speech
        self._outcome = "answered"
        self._answers.append(text)
        self._reply_rate = self._reply_rate or rate
        self._reply += resampled(bytes(pcm[: len(pcm) // 2 * 2]), rate, self._reply_rate)

    async def saw(self, condition: Callable[[], bool], *, timeout_s: float) -> bool:
        """Wait until `condition`; False when it did not come true in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return False
        return True

    def over(self, phase: machine.Phase) -> bool:
        """Whether nothing more will come: an outcome is there, and no more than an unanswered question is open."""
        return self._outcome is not None and (phase == "idle" or (phase == "listening" and self._following_up))

    def result(self, outcome: Outcome | None) -> RecordingResult:
        """What was kept."""
        return RecordingResult(
            outcome or self._outcome or "no_answer",
            tuple(self.utterance_ids),
            self._wake_word,
            self._transcript,
            " ".join(self._answers),
            bytes(self._reply),
            self._reply_rate or RecordingResult.reply_rate,
        )
