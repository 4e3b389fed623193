"""Engines that do what a test says, with the interfaces of the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from swarm.engine import ChatMessage, CommandGrammar, Transcript
from swarm.errors import EngineError


class ScriptedTranscriber:
    """Hears each of `clips` (pcm to words) that the audio so far holds whole, in the order of `clips`."""

    name = "scripted"
    commands_only = True

    def __init__(self, clips: dict[bytes, str]) -> None:
        self.clips = clips
        self.opened = 0
        self.transcribed: list[int] = []
        """Bytes that each transcription was of."""
        self.closed = 0
        self.failure: EngineError | None = None

    async def open(self, *, language: str) -> ScriptedStream:
        if self.failure is not None:
            raise self.failure
        self.opened += 1
        return ScriptedStream(self)

    async def set_grammar(self, grammar: CommandGrammar) -> None:
        pass

    async def close(self) -> None:
        pass


class ScriptedStream:
    def __init__(self, engine: ScriptedTranscriber) -> None:
        self._engine = engine
        self._pcm = b""

    async def feed(self, pcm: bytes) -> None:
        assert pcm
        assert len(pcm) % 2 == 0
        self._pcm += pcm

    async def so_far(self) -> Transcript:
        return await self.transcript()

    async def transcript(self) -> Transcript:
        self._engine.transcribed.append(len(self._pcm))
        words = " ".join(text for clip, text in self._engine.clips.items() if clip in self._pcm)
        return Transcript(words, accepted=words != "")

    async def close(self) -> None:
        self._engine.closed += 1


class ScriptedSynthesizer:
    """`seconds` of speech for each sentence, in one piece; None in `fail_after` fails before it, a number after it."""

    name = "scripted"
    rate = 8_000

    def __init__(self, *, seconds: float = 0.1) -> None:
        self.seconds = seconds
        self.said: list[str] = []
        self.fails: dict[str, bool] = {}
        """Sentences that fail; True: after half of the speech."""

    async def synthesize(self, text: str, *, language: str) -> AsyncIterator[bytes]:
        self.said.append(text)
        pcm = b"\x01\x00" * round(self.seconds * self.rate)
        if text in self.fails:
            if self.fails[text]:
                yield pcm[: len(pcm) // 4 * 2]
            raise EngineError("the synthesizer failed")
        yield pcm

    async def close(self) -> None:
        pass


class ScriptedGenerator:
    """Says its sentences to every question; with a gate, only the first before that is opened."""

    name = "scripted"

    def __init__(self, sentences: Sequence[str]) -> None:
        self.sentences = sentences
        self.gate: asyncio.Event | None = None
        self.stopped = 0

    async def available(self) -> str | None:
        return "scripted"

    async def generate(self, messages: Sequence[ChatMessage], *, timeout_s: float) -> AsyncIterator[str]:
        try:
            for number, sentence in enumerate(self.sentences):
                if number and self.gate is not None:
                    await self.gate.wait()
                yield sentence + " "
        except BaseException:
            self.stopped += 1
            raise

    async def close(self) -> None:
        pass
