"""Transcription of everything that is said, by a Whisper model in CTranslate2 form (faster-whisper).

The model lives in a child (`python -m gpu_node.engines.faster_whisper FOLDER`), on the GPU when there is one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wyoming.asr import Transcribe
from wyoming.asr import Transcript as HeardEvent
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event

from swarm.engine import RATE, CommandGrammar, Transcript
from swarm.engine_process import Answer, EngineProcess, Send, module_argv, serve
from swarm.errors import EngineError, EngineUnavailable
from swarm.wake_phrase import WAKE_PHRASES, strip_wake_phrase

MAX_SECONDS = 60.0
"""Longest utterance that is taken."""
TIMEOUT_S = 30.0
"""Longest wait for a transcription."""
_NEEDED = ("model.bin", "config.json", "tokenizer.json")


class WhisperTranscriber:
    """`swarm.engine.Transcriber` by the model in `model_dir`; a wake phrase that leads a transcript is taken off.

    Raises `EngineUnavailable` when the folder is no complete model: a missing file would be fetched from the internet.
    """

    name = "faster-whisper"
    commands_only = False

    def __init__(self, model_dir: str | Path, *, wake_phrases: Sequence[str] = WAKE_PHRASES) -> None:
        folder = Path(model_dir).expanduser().absolute()
        missing = [name for name in _NEEDED if not (folder / name).is_file()]
        if missing:
            raise EngineUnavailable(
                f"the Whisper model in {folder} lacks {', '.join(missing)}",
                hint="copy the whole folder of a faster-whisper (CTranslate2) model; tokenizer.json is in the folder "
                "of the original model",
            )
        self._wake_phrases = tuple(wake_phrases)
        self._process = EngineProcess(module_argv("gpu_node.engines.faster_whisper", str(folder)), self.name)
        self._work: set[asyncio.Task[Transcript]] = set()

    async def start(self) -> None:
        """Load the model now rather than with the first utterance. Raises `EngineError`."""
        await self._process.start()

    async def open(self, *, language: str) -> WhisperStream:
        """Begin an utterance; `language` such as `en` or `en-US`."""
        return WhisperStream(self, language)

    async def set_grammar(self, grammar: CommandGrammar) -> None:
        """Whisper has no grammar."""

    async def close(self) -> None:
        """End the child and what it is doing. Safe to call twice."""
        for task in self._work:
            task.cancel()
        await self._process.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child that is ready now."""
        return self._process.pid

    def _begin(self, pcm: bytes, language: str) -> _Work:
        work = _Work()
        work.task = asyncio.create_task(self._transcribe(work, pcm, language))
        self._work.add(work.task)
        work.task.add_done_callback(self._work.discard)
        # A failure that nobody awaits any more belongs to an utterance that was given up.
        work.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return work

    async def _transcribe(self, work: _Work, pcm: bytes, language: str) -> Transcript:
        async with self._process.conversation(wait_s=TIMEOUT_S) as conversation:
            work.started = True
            await conversation.tell(Transcribe(language=language).event())
            await conversation.tell(AudioStart(RATE, 2, 1).event())
            await conversation.tell(AudioChunk(RATE, 2, 1, pcm).event())
            answer = await conversation.ask(AudioStop().event(), timeout_s=TIMEOUT_S)
        text = strip_wake_phrase(str(answer.data["text"]), self._wake_phrases)
        return Transcript(text, score=float(answer.data.get("score", 0.0)))


class WhisperStream:
    """`swarm.engine.TranscriptionStream`: keeps the audio and transcribes all of it when asked."""

    def __init__(self, engine: WhisperTranscriber, language: str) -> None:
        self._engine = engine
        self._language = language
        self._pcm = bytearray()
        self._work: _Work | None = None
        self._work_bytes = 0

    async def feed(self, pcm: bytes) -> None:
        """More audio; raises `EngineError` beyond `MAX_SECONDS`."""
        if len(self._pcm) + len(pcm) > MAX_SECONDS * RATE * 2:
            raise EngineError(f"the utterance is longer than {MAX_SECONDS:g} s")
        self._pcm += pcm

    async def so_far(self) -> Transcript:
        """The same as `transcript`, which costs nothing then if no audio follows."""
        return await self.transcript()

    async def transcript(self) -> Transcript:
        """Transcribe everything fed so far; one that still waits for less audio is dropped, and fails."""
        if self._work is None or self._work_bytes != len(self._pcm) or self._work.failed:
            await self.close()
            self._work = self._engine._begin(bytes(self._pcm), self._language)
            self._work_bytes = len(self._pcm)
        work = self._work
        try:
            await asyncio.wait([work.task])
        except asyncio.CancelledError:
            if work is self._work:
                await self.close()
            raise
        if work.task.cancelled():
            raise EngineError("the transcription was given up for a newer one")
        return work.task.result()

    async def close(self) -> None:
        """Drop the transcription that waits.

        One that the model works on is left to end unheard: that takes less time than loading the model again.
        """
        if self._work is not None and not self._work.started:
            self._work.task.cancel()
        self._work = None


class _Work:
    task: asyncio.Task[Transcript]
    started = False
    """Whether the model works on it: cancelling would now kill the child."""

    @property
    def failed(self) -> bool:
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)


# ---- in the child


def _build() -> Answer:
    os.environ["HF_HUB_OFFLINE"] = "1"
    model = _load(sys.argv[1])
    language = "en"
    pcm = bytearray()

    def answer(event: Event, send: Send) -> None:
        nonlocal language
        if Transcribe.is_type(event.type):
            language = Transcribe.from_event(event).language or "en"
        elif AudioStart.is_type(event.type):
            pcm.clear()
        elif AudioChunk.is_type(event.type):
            pcm.extend(event.payload or b"")
        elif AudioStop.is_type(event.type):
            text, score = _hear(model, bytes(pcm), language)
            heard = HeardEvent(text=text, language=language).event()
            heard.data["score"] = score
            send(heard)
        else:
            raise EngineError(f"faster-whisper has no answer to {event.type}")

    return answer


def _load(folder: str) -> Any:
    import ctranslate2
    from faster_whisper import WhisperModel

    threads = min(4, len(os.sched_getaffinity(0)))
    if ctranslate2.get_cuda_device_count() > 0:
        try:
            model = WhisperModel(folder, device="cuda", compute_type="auto", local_files_only=True)
            _hear(model, bytes(RATE), "en")
        except (RuntimeError, ValueError) as error:
            # A GPU without NVIDIA's libraries, or with too little memory left: the first use shows it.
            print(f"the GPU is of no use here, the CPU transcribes: {error}", file=sys.stderr)
        else:
            return model
    model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True)
    _hear(model, bytes(RATE), "en")  # the first use allocates: the first utterance does not pay for it
    return model


def _hear(model: Any, pcm: bytes, language: str) -> tuple[str, float]:
    """The text and the mean log probability of its tokens."""
    import numpy as np

    audio = np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float32) / 32768.0
    if not audio.size:
        return "", 0.0
    spoken = language.replace("_", "-").partition("-")[0].lower()
    if spoken != "en" and not model.model.is_multilingual:
        raise EngineError(f'this Whisper model hears English only, not "{language}"')
    segments, _info = model.transcribe(
        audio,
        language=spoken,
        beam_size=1,
        temperature=0.0,
        condition_on_previous_text=False,
        without_timestamps=True,
        vad_filter=False,
    )
    heard = list(segments)
    score = sum(segment.avg_logprob for segment in heard) / len(heard) if heard else 0.0
    return " ".join(segment.text.strip() for segment in heard).strip(), score


if __name__ == "__main__":
    serve(_build)
