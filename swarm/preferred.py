"""An engine that a person named before the own one, which does the work while that one fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import cast

from swarm.audio import SAMPLE_BYTES, Resampler, duration_s
from swarm.engine import (
    ChatMessage,
    CommandGrammar,
    Generator,
    Synthesizer,
    Transcriber,
    Transcript,
    TranscriptionStream,
)
from swarm.errors import EngineError
from swarm.swarm_transcriber import Asked, Hearing
from swarm.trace import done_by

REST_S = 15.0
"""So long the first is not asked after it failed: nobody waits for it at each sentence."""
HEAR_S = 8.0
"""For the first to say what was said; nobody waits longer before an answer."""
PAUSE_S = 0.3
"""Before a sentence is said once more."""
MAX_S = 30.0

log = logging.getLogger(__name__)


class _Rest:
    """Whether the first engine is to be asked now."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._until = 0.0

    @property
    def over(self) -> bool:
        return asyncio.get_running_loop().time() >= self._until

    def failed(self, error: EngineError, instead: str) -> None:
        log.warning("%s; %s does it", error.for_log(), instead)
        self._until = asyncio.get_running_loop().time() + REST_S
        done_by("", note=f"{error}; done by {instead}")


class PreferredTranscriber:
    """Hears with `first`. Where `own` is a command mode, that one listens too; its sure commands are taken at once."""

    commands_only = False

    def __init__(self, first: Transcriber, own: Transcriber) -> None:
        """`own` belongs to the caller."""
        self.name = first.name
        self._first = first
        self._own = own
        self._rest = _Rest(first.name)

    @property
    def elsewhere(self) -> bool:
        """See `Elsewhere`."""
        return self._rest.over

    def ask(self, pcm: bytes, language: str) -> Asked:
        """See `Elsewhere`."""
        return _AskedFirst(self, pcm, language)

    async def open(self, *, language: str) -> TranscriptionStream:
        """See `Transcriber`."""
        if not self._own.commands_only:
            return _Instead(self, language) if self._rest.over else await self._own.open(language=language)
        try:
            own = await self._own.open(language=language)
        except EngineError as error:
            log.warning("command mode cannot hear, %s has to: %s", self.name, error)
            return Hearing(self, None, language)
        return Hearing(self, own, language)

    async def hear_first(self, pcm: bytes, language: str) -> Transcript:
        """What the first heard. Raises `EngineError`."""
        try:
            async with asyncio.timeout(HEAR_S):
                return await _heard(self._first, pcm, language)
        except TimeoutError:
            error = EngineError(f"{self.name} did not say within {HEAR_S:g} s what was said")
        except EngineError as failure:
            error = failure
        self._rest.failed(error, self._own.name)
        raise error

    async def hear_own(self, pcm: bytes, language: str) -> Transcript:
        """What the own engine heard. Raises `EngineError`."""
        return await _heard(self._own, pcm, language)

    async def set_grammar(self, grammar: CommandGrammar) -> None:
        """For the own engine."""
        await self._own.set_grammar(grammar)

    async def close(self) -> None:
        """Release the first."""
        await self._first.close()


class _AskedFirst:
    """See `Asked`."""

    def __init__(self, preferred: PreferredTranscriber, pcm: bytes, language: str) -> None:
        self.node = preferred.name
        self._asking = asyncio.create_task(preferred.hear_first(pcm, language))
        # A failure that nobody waits for belongs to audio that went on.
        self._asking.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def wait(self) -> str:
        return (await asyncio.shield(self._asking)).text

    def cancel(self) -> None:
        self._asking.cancel()


class _Instead:
    """An utterance of which the own engine hears only when the first failed."""

    def __init__(self, preferred: PreferredTranscriber, language: str) -> None:
        self._preferred = preferred
        self._language = language
        self._pcm = bytearray()
        self._heard: Transcript | None = None

    async def feed(self, pcm: bytes) -> None:
        if duration_s(self._pcm) > MAX_S:
            raise EngineError(f"the utterance is longer than {MAX_S:g} s")
        self._pcm += pcm
        self._heard = None

    async def so_far(self) -> Transcript:
        return await self.transcript()

    async def transcript(self) -> Transcript:
        if self._heard is None:
            try:
                self._heard = await self._preferred.hear_first(bytes(self._pcm), self._language)
            except EngineError:
                self._heard = await self._preferred.hear_own(bytes(self._pcm), self._language)
        return self._heard

    async def close(self) -> None:
        pass


async def _heard(engine: Transcriber, pcm: bytes, language: str) -> Transcript:
    stream = await engine.open(language=language)
    try:
        await stream.feed(pcm)
        return await stream.transcript()
    finally:
        with suppress(EngineError):
            await stream.close()


class PreferredSynthesizer:
    """Speaks with `first`. When that one fails the own voice says the sentence; if it broke off in the middle, once
    more from its beginning, behind words that say so."""

    def __init__(self, first: Synthesizer, own: Synthesizer, *, once_more: Callable[[str, str], str]) -> None:
        """`own` belongs to the caller. `once_more` (sentence, language) announces a sentence that is said again."""
        self.name = first.name
        self.rate = first.rate
        self._first = first
        self._own = own
        self._once_more = once_more
        self._rest = _Rest(first.name)

    async def synthesize(self, text: str, *, language: str) -> AsyncGenerator[bytes, None]:
        """See `Synthesizer`."""
        begun = False
        if self._rest.over:
            try:
                first = cast("AsyncGenerator[bytes, None]", self._first.synthesize(text, language=language))
                async with aclosing(first) as chunks:
                    async for chunk in chunks:
                        if not begun:
                            done_by(self.name)
                        begun = True
                        yield chunk
                if begun or not any(character.isalnum() for character in text):
                    return
                raise EngineError(f"{self.name} said nothing")
            except EngineError as error:
                self._rest.failed(error, self._own.name)
        if begun:
            yield bytes(round(PAUSE_S * self.rate) * SAMPLE_BYTES)
            text = self._once_more(text, language)
        own = cast("AsyncGenerator[bytes, None]", self._own.synthesize(text, language=language))
        resampler = Resampler(self._own.rate, self.rate)
        async with aclosing(own) as chunks:
            async for chunk in chunks:
                if pcm := resampler.feed(chunk):
                    yield pcm
        if pcm := resampler.finish():
            yield pcm

    async def close(self) -> None:
        """Release the first."""
        await self._first.close()


class PreferredGenerator:
    """Answers with `first`; when that one fails before it said anything, with the own one, if there is one."""

    def __init__(self, first: Generator, own: Generator | None) -> None:
        """`own` belongs to the caller."""
        self.name = first.name
        self._first = first
        self._own = own
        self._rest = _Rest(first.name)

    async def available(self) -> str | None:
        """See `Generator`."""
        found = await self._first.available() if self._rest.over else None
        return found or (await self._own.available() if self._own is not None else None)

    async def generate(self, messages: Sequence[ChatMessage], *, timeout_s: float) -> AsyncGenerator[str, None]:
        """See `Generator`."""
        begun = False
        if self._rest.over:
            try:
                first = cast("AsyncGenerator[str, None]", self._first.generate(messages, timeout_s=timeout_s))
                async with aclosing(first) as pieces:
                    async for piece in pieces:
                        begun = begun or bool(piece)
                        yield piece
                return
            except EngineError as error:
                if begun or self._own is None:
                    raise
                self._rest.failed(error, self._own.name)
        if self._own is None:
            raise EngineError(f"{self.name} failed a moment ago")
        own = cast("AsyncGenerator[str, None]", self._own.generate(messages, timeout_s=timeout_s))
        async with aclosing(own) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Release the first."""
        await self._first.close()
