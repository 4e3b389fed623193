"""Speech to text for Wyoming clients, by the ears that the hub itself has."""

from __future__ import annotations

from contextlib import suppress

from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.event import Event

from swarm.audio import duration_s
from swarm.engine import RATE, Transcriber, TranscriptionStream
from swarm.errors import EngineError
from swarm.wyoming.audio import PcmReader, format_of
from swarm.wyoming.events import text_in
from swarm.wyoming.listener import Client, Talk

QUIET_S = 5.0
"""A client that sends neither audio nor an end for so long hangs, and must not keep the engine from the others."""
MAX_S = 30.0
"""Of one utterance."""
MAX_LANGUAGE = 35


class AsrTalk(Talk):
    """One client: `[transcribe] audio-start audio-chunk… audio-stop`, any number of times. The answer is a transcript
    as a stream of events, and whole for those who know no streaming."""

    def __init__(self, client: Client, transcriber: Transcriber, language: str) -> None:
        """`language` of those who name none."""
        self._client = client
        self._transcriber = transcriber
        self._default = language
        self._language = language
        self._reader = PcmReader()
        self._stream: TranscriptionStream | None = None
        self._heard_s = 0.0
        self._skips = False
        """The rest of this utterance is not wanted: the client was told why."""

    @property
    def patience_s(self) -> float | None:
        """See `Talk`."""
        return QUIET_S if self._stream is not None else None

    async def take(self, event: Event) -> None:
        """See `Talk`."""
        match event.type:
            case "transcribe":
                self._language = text_in(event, "language", limit=MAX_LANGUAGE) or self._default
            case "audio-start":
                format_of(event)
                await self._begin()
            case "audio-chunk" if not self._skips:
                await self._hear(self._reader.feed(event))
            case "audio-stop":
                await self._end()

    async def silent(self) -> None:
        """See `Talk`."""
        await self._give_up()
        raise EngineError(f"no audio and no end came for {QUIET_S:g} s")

    async def close(self) -> None:
        """See `Talk`."""
        await self._free()

    async def _begin(self) -> None:
        await self._free()
        self._reader, self._heard_s, self._skips = PcmReader(), 0.0, False
        try:
            self._stream = await self._transcriber.open(language=self._language)
        except EngineError:
            self._skips = True
            raise

    async def _hear(self, pcm: bytes) -> None:
        if self._stream is None:
            await self._begin()
        assert self._stream is not None
        self._heard_s += duration_s(pcm, RATE)
        try:
            if self._heard_s > MAX_S:
                raise EngineError(f"an utterance has at most {MAX_S:g} s")
            if pcm:
                await self._stream.feed(pcm)
        except EngineError:
            await self._give_up()
            raise

    async def _end(self) -> None:
        skipped, self._skips = self._skips, False
        if skipped:
            return
        text = ""
        if self._stream is not None:
            await self._hear(self._reader.finish())
            try:
                heard = await self._stream.transcript()
                text = heard.text if heard.accepted else ""
            finally:
                await self._free()
        send, language = self._client.send, self._language
        await send(TranscriptStart(language=language).event())
        if text:
            await send(TranscriptChunk(text).event())
        await send(Transcript(text, language=language).event())
        await send(TranscriptStop().event())

    async def _give_up(self) -> None:
        await self._free()
        self._skips = True

    async def _free(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(EngineError):
                await stream.close()
