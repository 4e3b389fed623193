"""A node's engines as what they can do for others: one `TaskEngine` for each kind of task.

What a task of each kind asks (JSON) and what comes back:

=========== ======================================================== ===============================================
kind        payload                                                  pieces
=========== ======================================================== ===============================================
generate    `{"messages": [{"role": …, "content": …}]}`, or          `text`
            `{"prompt": …}`
synthesize  `{"text": …, "language": "en"}`                          `audio`; the first one's `value` is `{"rate": …}`
transcribe  `{"audio": …, "language": "en"}`, Base64 of 16 kHz pcm   `text`, once
=========== ======================================================== ===============================================
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, TypeVar, cast

import msgspec

from swarm.engine import RATE, ChatMessage, Generator, Synthesizer, Transcriber
from swarm.task import BadPayload, Piece, SizeClass, TaskRequest
from swarm.worker import Worker

LOOK_EVERY_S = 15.0
"""How often it is looked whether a language model came or went."""
MODEL_STAYS_S = 270.0
"""Ollama keeps a model in memory for five minutes after its last use."""
GENERATE_S = 3600.0
"""A run's bound is its task's deadline; this is for the engine's own."""
MAX_SPOKEN = 5_000
"""Characters: five minutes."""
_BILLIONS = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b(?![a-z0-9])")
_SIZES: tuple[tuple[float, SizeClass], ...] = ((2.0, "tiny"), (8.0, "small"), (20.0, "medium"))

T = TypeVar("T")


class GeneratePayload(msgspec.Struct, frozen=True):
    """What `generate` asks."""

    messages: Annotated[tuple[ChatMessage, ...], msgspec.Meta(max_length=1000)] = ()
    prompt: str = ""


class SynthesizePayload(msgspec.Struct, frozen=True):
    """What `synthesize` asks."""

    text: Annotated[str, msgspec.Meta(max_length=MAX_SPOKEN)]
    language: Annotated[str, msgspec.Meta(max_length=35)] = "en"


class TranscribePayload(msgspec.Struct, frozen=True):
    """What `transcribe` asks."""

    audio: bytes
    language: Annotated[str, msgspec.Meta(max_length=35)] = "en"


def payload_of(request: TaskRequest, of_type: type[T]) -> T:
    """The request's payload. Raises `BadPayload` that says what is wrong with it."""
    try:
        return msgspec.json.decode(request.payload, type=of_type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadPayload(
            f"a task of type {request.type:.80} cannot be done with this payload: {error}",
            hint="its form is in the documentation of the task API",
        ) from error


def size_of(model: str) -> SizeClass:
    """The size class by the model's name, such as `qwen2.5:7b`; `any` when it does not say."""
    found = _BILLIONS.search(model.lower())
    if found is None:
        return "any"
    billions = float(found.group(1))
    return next((size for limit, size in _SIZES if billions <= limit), "large")


class GenerateEngine:
    """One model of a language model server."""

    kind = "generate"

    def __init__(self, generator: Generator, model: str, *, slots: int = 2) -> None:
        """What is asked beyond `slots` waits here, where it is counted, and not at the server."""
        self.model = model
        self.slots = slots
        self.size: SizeClass = size_of(model)
        self._generator = generator
        self._used_at: float | None = None

    @property
    def warm(self) -> bool:
        """Whether the server still has it in memory, as far as this node knows."""
        return self._used_at is not None and time.monotonic() - self._used_at < MODEL_STAYS_S

    async def run(self, request: TaskRequest) -> AsyncGenerator[Piece, None]:
        """See `swarm.worker.TaskEngine`."""
        asked = payload_of(request, GeneratePayload)
        messages = asked.messages or (ChatMessage("user", asked.prompt),)
        if not asked.messages and not asked.prompt:
            raise BadPayload("the task asks nothing", hint="put `messages` or `prompt` into its payload")
        pieces = self._generator.generate(messages, timeout_s=request.deadline_s or GENERATE_S)
        async with aclosing(cast("AsyncGenerator[str, None]", pieces)) as texts:
            async for text in texts:
                self._used_at = time.monotonic()
                if text:
                    yield Piece(text=text)


class SynthesizeEngine:
    """A voice."""

    kind = "synthesize"
    size: SizeClass = "any"
    slots = 1
    """Its process says one sentence at a time: the others wait here, by priority, and are counted."""

    def __init__(self, synthesizer: Synthesizer, *, loaded: Callable[[], bool] = lambda: True) -> None:
        """`loaded`: whether it can speak at once."""
        self.model = synthesizer.name
        self._synthesizer = synthesizer
        self._loaded = loaded

    @property
    def warm(self) -> bool:
        """Whether the voice is in memory."""
        return self._loaded()

    async def run(self, request: TaskRequest) -> AsyncGenerator[Piece, None]:
        """See `swarm.worker.TaskEngine`."""
        asked = payload_of(request, SynthesizePayload)
        chunks = self._synthesizer.synthesize(asked.text, language=asked.language)
        value: dict[str, int] | None = {"rate": self._synthesizer.rate}
        async with aclosing(cast("AsyncGenerator[bytes, None]", chunks)) as audio:
            async for pcm in audio:
                yield Piece(audio=pcm, value=value)
                value = None


class TranscribeEngine:
    """A recognizer of everything that is said."""

    kind = "transcribe"
    size: SizeClass = "any"
    slots = 1
    """Its process hears one utterance at a time: the others wait here, and whoever speaks on leaves the queue."""

    def __init__(self, transcriber: Transcriber, *, loaded: Callable[[], bool] = lambda: True) -> None:
        """`loaded`: whether it can hear at once."""
        self.model = transcriber.name
        self._transcriber = transcriber
        self._loaded = loaded

    @property
    def warm(self) -> bool:
        """Whether the model is in memory."""
        return self._loaded()

    async def run(self, request: TaskRequest) -> AsyncGenerator[Piece, None]:
        """See `swarm.worker.TaskEngine`."""
        asked = payload_of(request, TranscribePayload)
        if not asked.audio or len(asked.audio) % 2:
            raise BadPayload("the recording is empty or cut short", hint=f"16-bit mono pcm of {RATE} Hz, in Base64")
        stream = await self._transcriber.open(language=asked.language)
        try:
            await stream.feed(asked.audio)
            heard = await stream.transcript()
        finally:
            await stream.close()
        yield Piece(text=heard.text)


class ModelOffer:
    """Offers a server's language model to the swarm while it is there."""

    def __init__(self, worker: Worker, generator: Generator, *, slots: int = 2) -> None:
        self.model: str | None = None
        """As of the last look."""
        self._slots = slots
        self._worker = worker
        self._generator = generator

    async def look(self) -> str | None:
        """Look now."""
        found = await self._generator.available()
        if found != self.model:
            if self.model is not None:
                self._worker.withdraw("generate", self.model)
            if found is not None:
                self._worker.offer(GenerateEngine(self._generator, found, slots=self._slots))
            self.model = found
        return found

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)
