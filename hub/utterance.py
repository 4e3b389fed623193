"""One utterance at the hub: audio comes in, on speculation it is transcribed at every pause, at its end for good."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from hub.intent import Context
from hub.understanding import Verdict
from swarm.engine import RATE, Transcriber, Transcript, TranscriptionStream
from swarm.errors import EngineError
from swarm.trace import Work, watched

MAX_S = 20.0
"""Satellites end an utterance after 12 s. More audio is not kept, and the engine is given to the others."""
QUIET_S = 3.0
"""A satellite that sends neither audio nor an end for this long hangs, and must not keep the engine from the others."""
MAX_AUDIO_BYTES = round(MAX_S * RATE) * 2
MAX_PAUSES = 100
"""Transcriptions on speculation in one utterance: in 20 s nobody makes more pauses."""

Judge = Callable[[str, Context], Verdict]
Hint = Callable[[Verdict, str], Awaitable[None]]


class IncomingUtterance:
    """Takes the events of one utterance in order; nothing that an engine does delays the caller."""

    def __init__(self, transcriber: Transcriber, *, context: Context, judge: Judge, hint: Hint) -> None:
        """`hint` is told after each pause whether what was said so far is a whole command."""
        self._transcriber = transcriber
        self._context = context
        self._judge = judge
        self._hint = hint
        self._todo: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._received = 0
        self._heard_at = asyncio.get_running_loop().time()
        self._pauses = 0
        self._held: list[bytes] | None = None
        self._result: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
        self.work = Work()
        """Which node heard it, once it is transcribed."""
        self.audio = bytearray()
        """All `pcm` so far, for a recording."""

    def feed(self, pcm: bytes) -> None:
        """More audio. While paused it is held back: the transcript of the pause stays good if nothing follows."""
        self._heard_at = asyncio.get_running_loop().time()
        if not pcm or self._received + len(pcm) > MAX_AUDIO_BYTES:
            return
        self._received += len(pcm)
        self.audio += pcm
        if self._held is None:
            self._todo.put_nowait(pcm)
        else:
            self._held.append(pcm)

    def pause(self) -> None:
        """A short silence began: transcribe now, in case nothing follows."""
        if self._held is None and self._pauses < MAX_PAUSES:
            self._pauses += 1
            self._held = []
            self._todo.put_nowait(None)

    def resume(self) -> None:
        """Speech goes on."""
        held, self._held = self._held or [], None
        for pcm in held:
            self._todo.put_nowait(pcm)

    async def transcript(self) -> Transcript:
        """After the last audio: what was said. Raises `EngineError`."""
        self._todo.put_nowait(b"")
        return await asyncio.shield(self._result)

    async def run(self) -> None:
        """Work until the transcript is made or the task is cancelled."""
        stream: TranscriptionStream | None = None
        try:
            stream = await self._transcriber.open(language=self._context.language)
            deadline = asyncio.get_running_loop().time() + MAX_S
            while (pcm := await self._next(deadline)) != b"":
                if pcm is not None:
                    await stream.feed(pcm)
                else:
                    heard = await stream.so_far()
                    await self._hint(self._verdict(heard), heard.text)
            with watched() as self.work:
                heard = await stream.transcript()
            self._result.set_result(heard)
        except EngineError as error:
            self._fail(error)
        finally:
            self._fail(EngineError("the transcription was cancelled"))
            if stream is not None:
                with suppress(EngineError):
                    await stream.close()

    async def _next(self, deadline: float) -> bytes | None:
        """The next piece, None for a pause, empty for the end. Raises `EngineError` when the satellite hangs."""
        while self._todo.empty():
            try:
                async with asyncio.timeout_at(min(deadline, self._heard_at + QUIET_S)):
                    return await self._todo.get()
            except TimeoutError:
                # In a pause audio comes too, and is held back.
                if asyncio.get_running_loop().time() >= min(deadline, self._heard_at + QUIET_S):
                    raise EngineError("the satellite did not end its utterance") from None
        return self._todo.get_nowait()

    def _verdict(self, heard: Transcript) -> Verdict:
        if not heard.text:
            return "unclear"
        if heard.accepted and heard.continuation == "needed":
            return "incomplete"
        verdict = self._judge(heard.text, self._context)
        if verdict != "complete":
            return verdict
        if not heard.accepted:
            return "unclear"
        return "complete" if heard.continuation == "none" else "extendable"

    def _fail(self, error: EngineError) -> None:
        if not self._result.done():
            self._result.set_exception(error)
            self._result.exception()  # nobody may be waiting for it
