"""The protocols that engines implement, one for each kind of work on the voice path.

`pcm` is always 16-bit signed little-endian mono; 16 kHz unless a `rate` is named beside it. Every engine can be
cancelled: closing a stream or an iterator ends its work. Engines raise `EngineError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

import msgspec

RATE = 16_000
"""Samples per second of everything that is listened to."""


Continuation = Literal["unknown", "none", "possible", "needed"]
"""What may follow words that were heard: nothing, more words or not, more words for sure."""


class Transcript(msgspec.Struct, frozen=True):
    """What a transcriber heard in all the audio fed so far."""

    text: str
    """Lower case words for a commands-only engine; as the model writes it for others. Empty: nothing."""
    accepted: bool = True
    """False when the engine itself thinks that this was no command (commands-only engines)."""
    score: float = 0.0
    """The engine's own confidence; larger is better, scale is the engine's."""
    continuation: Continuation = "unknown"
    """Of the words so far, in the sentences that the engine knows."""


class TranscriptionStream(Protocol):
    """One utterance being transcribed."""

    async def feed(self, pcm: bytes) -> None:
        """More audio."""

    async def so_far(self) -> Transcript:
        """What was heard so far, in a pause: the sentence may go on, and more audio may be fed."""

    async def transcript(self) -> Transcript:
        """What was heard, now that the utterance is over. Nothing is fed after it."""

    async def close(self) -> None:
        """Free the stream; cancels a transcription under way. Safe to call twice."""


class Arc(msgspec.Struct, frozen=True, array_like=True):
    """One word between two states of a grammar; an empty word is a step without sound."""

    source: int
    target: int
    word: str
    weight: float = 1.0
    """Relative likelihood, above 0 to 1, of this way on."""


WAKE_JOINT = "_"
"""Joins the words of a wake phrase into one word of the grammar, `okay_nabu`, which never gets into a transcript."""


class CommandGrammar(msgspec.Struct, frozen=True):
    """A finite-state acceptor, over words, of every sentence that is a command in this home now."""

    language: str
    arcs: tuple[Arc, ...]
    start: int
    final: int
    conjunction: str = "and"
    """The word that joins commands in one sentence."""


class Transcriber(Protocol):
    """Speech to text."""

    name: str
    commands_only: bool
    """True when it can hear only sentences of the grammar it was given."""

    async def open(self, *, language: str) -> TranscriptionStream:
        """Begin an utterance; raises `EngineError` if the engine cannot take one now."""

    async def set_grammar(self, grammar: CommandGrammar) -> None:
        """Use this grammar from the next utterance on. Engines without grammar ignore it."""

    async def close(self) -> None:
        """Release processes and models."""


class Synthesizer(Protocol):
    """Text to speech."""

    name: str
    rate: int
    """Samples per second of what `synthesize` yields."""

    def synthesize(self, text: str, *, language: str) -> AsyncIterator[bytes]:
        """Speak one sentence: yields `pcm` in `rate`, the first chunk as soon as it exists."""

    async def close(self) -> None:
        """Release processes and models."""


class ChatMessage(msgspec.Struct, frozen=True):
    """One turn of a conversation with a language model."""

    role: Literal["system", "user", "assistant"]
    content: str


class Generator(Protocol):
    """A language model."""

    name: str

    async def available(self) -> str | None:
        """The model that would answer now, or None when no server or no model is there."""

    def generate(self, messages: Sequence[ChatMessage], *, timeout_s: float) -> AsyncIterator[str]:
        """Stream the answer as text pieces; the whole is bounded by `timeout_s`; raises `EngineError`."""

    async def close(self) -> None:
        """Release connections."""


class Detection(msgspec.Struct, frozen=True):
    """A wake word was heard."""

    wake_word: str
    """Model id, such as `okay_nabu`."""
    phrase: str
    """What a person says: `okay nabu`."""
    probability: float


class WakeDetector(Protocol):
    """Listens for wake words. Synchronous: 10 ms of audio cost about 20 microseconds."""

    def process(self, pcm: bytes) -> Detection | None:
        """Feed any amount of 16 kHz audio; the first detection in it, if any."""

    def reset(self) -> None:
        """Forget the audio so far."""


class VoiceActivityDetector(Protocol):
    """Tells speech from everything else. Synchronous: about 1 ms a chunk."""

    chunk_bytes: int
    """Exact length of what `probability` takes: 512 samples for Silero."""

    def probability(self, chunk: bytes) -> float:
        """Probability, 0 to 1, that this chunk holds speech."""

    def reset(self) -> None:
        """Forget the audio so far."""
