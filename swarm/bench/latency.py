"""End of speech to first audio, in real time, at the two ends of a running node.

The bench is the satellite: its source knows when each sample was "captured", so that the true end of speech has a time,
and its sink knows when the first sample of the answer came. The node's own trace only tells what happened in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge import satellite as machine
from edge.endpointing import EndpointSettings
from edge.line import UrlConnector
from edge.service import Happening, Satellite
from edge.sinks import NoSink
from edge.sources import RecordingSource
from edge.voice_activity import SileroVoiceActivity
from edge.wake_word import MicroWakeDetector
from swarm.audio import duration_s
from swarm.bench.node import BenchNode
from swarm.bench.report import Measurement, Section, percentile
from swarm.bench.speech import Recording
from swarm.engine import RATE, VoiceActivityDetector, WakeDetector
from swarm.errors import MycoswarmError, NodeUnreachable
from swarm.messages import HeardSoFar, NoReply, SpeechStarted, Trace

ANSWER_S = 30.0
"""Longest wait for the end of an answer, after the recording: the longest takes more than ten seconds to say."""
TRACE_S = 5.0
STEPS = ("endpoint", "transcript", "intent", "action_confirmed", "first_audio")


@dataclass(frozen=True)
class Answered:
    """One command that got a spoken answer; times in ms."""

    total: float
    """True end of speech to first audio."""
    vad_lag: float
    """True end of speech to where the voice activity detector saw it."""
    silence: float
    """How long the endpointing was silent after that: no longer than it was meant to be."""
    trace: Trace
    speech_end_at: float
    """The true end of speech, of `time.monotonic`; s."""

    @property
    def rest(self) -> float:
        """All but the endpoint's silence."""
        return self.total - self.silence

    def step(self, stage: str) -> float | None:
        """From the stage before to `stage`; None when there was none."""
        at = [(mark.stage, mark.at_ms) for mark in self.trace.marks]
        stages = [name for name, _ in at]
        if stage not in stages or stages.index(stage) == 0:
            return None
        index = stages.index(stage)
        return at[index][1] - at[index - 1][1]


async def measure_latency(
    node: BenchNode, recordings: Sequence[tuple[str, Recording]], tell: Callable[[str], None]
) -> Section:
    """Say all `recordings` (text, recording) to the node, one after the other. Raises `MycoswarmError`."""
    status = await node.status()
    url = f"{status.url.replace('http', 'ws', 1)}/api/voice"
    detector, vad = MicroWakeDetector(("okay_nabu",)), SileroVoiceActivity()
    answers: list[Answered] = []
    unanswered: list[str] = []
    for number, (text, recording) in enumerate(recordings):
        detector.reset()
        answer = await time_answer(node, recording, url=url, name=f"bench-{number}", detector=detector, vad=vad)
        if answer is None:
            unanswered.append(text)
        else:
            answers.append(answer)
        tell(f"{text}: {f'{answer.total:.0f} ms' if answer else 'no spoken answer'}")
    return _section(answers, unanswered)


def _section(answers: Sequence[Answered], unanswered: Sequence[str]) -> Section:
    totals, rests = [each.total for each in answers], [each.rest for each in answers]
    count = len(answers)
    rows = [
        Measurement("end of speech to first audio, p50", percentile(totals, 50), "ms", most=350, of=count),
        Measurement("end of speech to first audio, p95", percentile(totals, 95), "ms", most=600, of=count),
        Measurement("all but the endpoint's silence, p50", percentile(rests, 50), "ms", most=80, of=count),
        Measurement("all but the endpoint's silence, p95", percentile(rests, 95), "ms", of=count),
    ]
    steps = [("speech_end", [each.vad_lag for each in answers]), *((stage, _steps(answers, stage)) for stage in STEPS)]
    for stage, values in steps:
        for percent in (50, 95):
            what = f"step to {stage}, p{percent}"
            rows.append(Measurement(what, percentile(values, percent), "ms", of=len(values)))
    rows.append(Measurement("commands without a spoken answer", len(unanswered), most=0, of=count + len(unanswered)))
    notes = [
        "Real time, clean speech, engines of the package; satellite and node are two processes. The endpoint's silence "
        f"is at most what it is meant to be (after a whole command {EndpointSettings().complete_ms:g} ms, "
        f"{EndpointSettings().extendable_ms:g} ms where a longer one begins so): waiting beyond it counts as the rest. "
        "Steps are those of the traces, each from the one before; speech_end, where the voice activity detector saw "
        "it, is from the true end of speech."
    ]
    if unanswered:
        notes.append(f"No spoken answer: {', '.join(unanswered)}.")
    return Section("End of speech to first audio", tuple(rows), tuple(notes))


def _steps(answers: Sequence[Answered], stage: str) -> list[float]:
    return [step for each in answers if (step := each.step(stage)) is not None]


async def time_answer(
    node: BenchNode,
    recording: Recording,
    *,
    url: str,
    name: str,
    detector: WakeDetector,
    vad: VoiceActivityDetector,
) -> Answered | None:
    """Say one recording to the node whose voice sessions are at `url`, as a satellite of that name; None when there was
    no spoken answer. Raises `MycoswarmError`."""
    watch = _Watch()
    source = RecordingSource(recording.pcm, then_silence=True, begin=watch.begin, clock=watch.source_clock)
    satellite = Satellite(
        hub=UrlConnector(url), name=name, source=source, sink=_Sink(watch), detector=detector, vad=vad, watch=watch.see
    )
    running = asyncio.create_task(satellite.run())
    try:
        async with asyncio.timeout(duration_s(recording.pcm) + ANSWER_S):
            await watch.until(lambda: satellite.connected)
            watch.begin.set()
            await watch.until(lambda: watch.over)
        await satellite.flush(timeout_s=1.0)
    except TimeoutError:
        return None
    finally:
        running.cancel()
        await asyncio.wait({running})
    if watch.first_audio_at is None or watch.endpoint_at is None:
        return None
    return _answered(watch, recording, await _trace_of(node, watch.utterance_id))


def _answered(watch: _Watch, recording: Recording, trace: Trace) -> Answered | None:
    at = {mark.stage: mark.at_ms for mark in trace.marks}
    if watch.first_audio_at is None or watch.endpoint_at is None or not {"speech_end", "endpoint"} <= at.keys():
        return None
    speech_end_at = watch.started_at + recording.speech_end / RATE
    waited = at["endpoint"] - at["speech_end"]
    return Answered(
        total=(watch.first_audio_at - speech_end_at) * 1000,
        vad_lag=(watch.endpoint_at - speech_end_at) * 1000 - waited,
        silence=min(waited, watch.wanted_silence_ms),
        trace=trace,
        speech_end_at=speech_end_at,
    )


async def _trace_of(node: BenchNode, utterance_id: str) -> Trace:
    """The trace of an utterance that just ended; raises `MycoswarmError`."""
    try:
        async with asyncio.timeout(TRACE_S):
            while True:
                try:
                    return await asyncio.to_thread(node.client.trace, utterance_id)
                except NodeUnreachable:
                    raise
                except MycoswarmError:  # not kept yet
                    await asyncio.sleep(0.05)
    except TimeoutError:
        raise MycoswarmError(f"the node kept no trace of the utterance {utterance_id}") from None


class _Watch:
    """Notes when what happened at the satellite."""

    def __init__(self) -> None:
        self.begin = asyncio.Event()
        self.started_at = 0.0
        """When the first sample of the recording was captured."""
        self.utterance_id = ""
        self.wanted_silence_ms = EndpointSettings().silence_ms
        self.endpoint_at: float | None = None
        self.first_audio_at: float | None = None
        self.over = False
        self._speaking = False
        self._changed = asyncio.Event()

    def source_clock(self) -> float:
        """The source's clock; it looks at it first when it begins."""
        now = time.monotonic()
        self.started_at = self.started_at or now
        return now

    def heard_audio(self) -> None:
        """Something was played."""
        if self._speaking and self.first_audio_at is None:
            self.first_audio_at = time.monotonic()

    def see(self, happening: Happening) -> None:
        """Called by the satellite."""
        match happening:
            case machine.BeginUtterance() if not self.utterance_id:
                self.utterance_id = happening.utterance_id
            case HeardSoFar() if self.endpoint_at is None:
                settings = EndpointSettings()
                wanted = {
                    "complete": settings.complete_ms,
                    "extendable": settings.extendable_ms,
                    "incomplete": settings.incomplete_ms,
                }
                self.wanted_silence_ms = wanted.get(happening.verdict, settings.silence_ms)
            case machine.EndUtterance() if self.endpoint_at is None:
                self.endpoint_at = time.monotonic()
                self.over = happening.reason in ("nothing_said", "cancelled")
            case SpeechStarted():
                self._speaking = True
            case machine.PlaybackDone() | NoReply() | machine.HubLost():
                self.over = True
            case _:
                pass
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition`; what is watched takes effect after it was shown."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()
            await asyncio.sleep(0)


class _Sink(NoSink):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    async def write(self, pcm: bytes) -> None:
        self._watch.heard_audio()
        await super().write(pcm)
