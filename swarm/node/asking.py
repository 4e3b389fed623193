"""Questions that come in by text or as a recording, from the people's port and from other nodes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated

import msgspec

from edge.line import Connector
from edge.recorded import RecordingResult, run_recording
from edge.voice_activity import SileroVoiceActivity
from edge.wake_word import MicroWakeDetector
from hub.conversation import Conversation
from hub.intent import Context, Origin
from hub.people_port import MAX_ASKS, MAX_TEXT, Say, SpokenAnswer
from hub.voice import VoiceHub
from swarm.audio import duration_s, read_wav, write_wav
from swarm.config import Config
from swarm.errors import AudioError, MycoswarmError
from swarm.messages import Trace
from swarm.task import Piece, SizeClass, TaskRequest
from swarm.task_engines import payload_of
from swarm.trace import TraceRecorder

ANSWER_GRACE_S = 60.0
"""Longer than the language model may take, for devices and speech."""


class Asking:
    """Each question is answered by the conversation and leaves a trace."""

    def __init__(
        self,
        config: Config,
        *,
        conversation: Callable[[], Conversation],
        voice: Callable[[], VoiceHub],
        keep_trace: Callable[[Trace], Awaitable[None]],
        connector: Callable[[], Connector],
        goes_elsewhere: Callable[[], bool],
    ) -> None:
        """`connector`: how a recording, which is a satellite, reaches its hub; `goes_elsewhere`: that is another
        node, which tells the traces."""
        self._config = config
        self._conversation = conversation
        self._voice = voice
        self._keep_trace = keep_trace
        self._connector = connector
        self._goes_elsewhere = goes_elsewhere

    async def answer(self, text: str, context: Context) -> AsyncGenerator[Piece, None]:
        """What another node was asked: each sentence, then what it was taken for."""
        recorder = self._recorder(text)
        answer = await self._conversation().answer(text, context=context, recorder=recorder)
        try:
            async for sentence in answer.sentences:
                yield Piece(text=sentence)
        finally:
            await answer.close()
            await self._keep_trace(recorder.trace())
        trace = recorder.trace()
        yield Piece(value={"intent": trace.intent, "outcome": trace.outcome, "utterance_id": trace.utterance_id})

    async def ask(self, text: str, *, context: Context, say: Say) -> Trace:
        """See `hub.people_port.Node`."""
        recorder = self._recorder(text)
        answer = await self._conversation().answer(text, context=context, recorder=recorder)
        try:
            async for sentence in answer.sentences:
                await say(sentence)
        except ConnectionError:
            recorder.note(outcome="cancelled")
            raise
        finally:
            await answer.close()
            await self._keep_trace(recorder.trace())
        return recorder.trace()

    async def ask_audio(self, wav: bytes, wake: bool) -> SpokenAnswer:
        """See `hub.people_port.Node`."""
        pcm = await asyncio.to_thread(read_wav, wav)
        section = self._config.satellite
        result = await run_recording(
            pcm,
            hub=self._connector(),
            name=f"recording-{uuid.uuid4().hex[:8]}",
            detector=MicroWakeDetector(section.wake_words, section.sensitivity) if wake else None,
            vad=SileroVoiceActivity(),
            timeout_s=duration_s(pcm) + self._config.language_model.timeout_s + ANSWER_GRACE_S,
            area=section.area or None,
            language=self._config.node.language,
            traces=self._goes_elsewhere(),
        )
        return SpokenAnswer(await self._trace_of(result), _wav_of(result))

    def _recorder(self, text: str) -> TraceRecorder:
        recorder = TraceRecorder(uuid.uuid4().hex, node=self._config.node.name, source="text")
        recorder.mark("transcript")
        recorder.note(transcript=text)
        return recorder

    async def _trace_of(self, result: RecordingResult) -> Trace:
        """The trace of the last thing the recording said; raises `AudioError` when it said nothing to us."""
        if result.outcome == "wake_not_heard":
            phrases = " or ".join(f'"{word.replace("_", " ")}"' for word in self._config.satellite.wake_words)
            raise AudioError(
                f"no wake word was heard in the recording: {phrases} wakes this node",
                hint="--no-wake takes the whole recording for the question",
            )
        traces = list(result.traces)
        if not traces:
            found = [await self._voice().trace_of(each, timeout_s=5.0) for each in result.utterance_ids]
            traces = [trace for trace in found if trace is not None]
        for told in result.traces:
            await self._keep_trace(told)
        # The recording may end before it answers what it was asked back: then the question is what came of it.
        heard = [trace for trace in traces if trace.transcript or trace.outcome not in ("nothing_said", "cancelled")]
        trace = next(reversed(heard or traces), None)
        if trace is None:
            raise MycoswarmError(
                f"the recording got no answer ({result.outcome.replace('_', ' ')})", hint="mycoswarm doctor tells why"
            )
        return trace


class AskPayload(msgspec.Struct, frozen=True):
    """What a task of type `ask` asks."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
    area: Annotated[str, msgspec.Meta(max_length=200)] = ""
    language: Annotated[str, msgspec.Meta(max_length=35)] = ""
    desk: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """See `hub.intent.Context.desk`."""


class AskEngine:
    """The assistant as other nodes use it: understands a sentence, and does or answers what it says."""

    kind = "ask"
    model = "assistant"
    size: SizeClass = "any"
    slots = MAX_ASKS
    warm = True

    def __init__(self, asking: Asking, language: str) -> None:
        """`language` of questions that name none."""
        self._asking = asking
        self._language = language

    async def run(self, request: TaskRequest) -> AsyncGenerator[Piece, None]:
        """See `swarm.worker.TaskEngine`."""
        asked = payload_of(request, AskPayload)
        origin: Origin = "person" if asked.desk else "program"
        language = asked.language or self._language
        context = Context(area=asked.area, language=language, origin=origin, desk=asked.desk)
        async with aclosing(self._asking.answer(asked.text, context)) as pieces:
            async for piece in pieces:
                yield piece


def _wav_of(result: RecordingResult) -> bytes:
    return write_wav(result.reply_pcm, result.reply_rate) if result.reply_pcm else b""
