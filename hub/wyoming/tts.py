"""Text to speech for Wyoming clients, with the voice that the hub itself has."""

from __future__ import annotations

import html
import re
from contextlib import aclosing

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.tts import SynthesizeStopped

from hub.sentence_stream import SentenceSplitter
from hub.verbalize import verbalize
from swarm.audio import SAMPLE_BYTES, duration_s
from swarm.engine import Synthesizer
from swarm.errors import MalformedMessage, MycoswarmError
from swarm.wyoming.events import text_in, text_of
from swarm.wyoming.listener import Client, Talk

MAX_TEXT = 10_000
"""Characters of one request: ten minutes of speech."""
CHUNK_BYTES = 8_192
MAX_LANGUAGE = 35


class TtsTalk(Talk):
    """One client. Whole texts (`synthesize`) and streams of text (`synthesize-start`, `-chunk`…, `-stop`), each
    sentence of which is spoken as soon as it is complete."""

    def __init__(self, client: Client, synthesizer: Synthesizer, language: str) -> None:
        """`language` of those who name none."""
        self._client = client
        self._synthesizer = synthesizer
        self._default = language
        self._language = language
        self._splitter: SentenceSplitter | None = None
        """Of the stream of text that is arriving."""
        self._arrived = 0
        self._spoken_s = 0.0
        self._begun = False

    async def take(self, event: Event) -> None:
        """See `Talk`."""
        match event.type:
            case "synthesize" if self._splitter is None:  # within a stream it repeats it, for those who know no streams
                self._choose_language(event)
                splitter = SentenceSplitter()
                text = _plain(event, _text(event))
                try:
                    await self._say(splitter.feed(text) + splitter.flush())
                finally:
                    await self._stop()
            case "synthesize-start":
                self._choose_language(event)
                self._splitter, self._arrived = SentenceSplitter(), 0
            case "synthesize-chunk" if self._splitter is not None:
                text = _text(event)
                self._arrived += len(text)
                if self._arrived > MAX_TEXT:
                    raise MalformedMessage(f"a text of more than {MAX_TEXT} characters")
                await self._say(self._splitter.feed(text))
            case "synthesize-stop" if self._splitter is not None:
                splitter, self._splitter = self._splitter, None
                try:
                    await self._say(splitter.flush())
                finally:
                    await self._stop()
                    await self._client.send(SynthesizeStopped().event())

    def _choose_language(self, event: Event) -> None:
        voice = event.data.get("voice") or {}
        if not isinstance(voice, dict):
            raise MalformedMessage("a voice that is no object")
        self._language = text_of(voice.get("language"), "a voice's language", limit=MAX_LANGUAGE) or self._default

    async def _say(self, sentences: list[str]) -> None:
        for sentence in sentences:
            speech = self._synthesizer.synthesize(verbalize(sentence, self._language), language=self._language)
            async with aclosing(speech) as chunks:  # type: ignore[type-var]
                async for pcm in chunks:
                    await self._send(pcm)

    async def _send(self, pcm: bytes) -> None:
        rate = self._synthesizer.rate
        if not self._begun:
            self._begun, self._spoken_s = True, 0.0
            await self._client.send(AudioStart(rate, SAMPLE_BYTES, 1, timestamp=0).event())
        for start in range(0, len(pcm), CHUNK_BYTES):
            piece = pcm[start : start + CHUNK_BYTES]
            chunk = AudioChunk(rate, SAMPLE_BYTES, 1, piece, timestamp=round(self._spoken_s * 1000))
            await self._client.send(chunk.event())
            self._spoken_s += duration_s(piece, rate)

    async def _stop(self) -> None:
        """Also where there was nothing to say: whoever asked waits for it."""
        begun, self._begun = self._begun, False
        if not begun:
            self._spoken_s = 0.0
            await self._client.send(AudioStart(self._synthesizer.rate, SAMPLE_BYTES, 1, timestamp=0).event())
        await self._client.send(AudioStop(timestamp=round(self._spoken_s * 1000)).event())


def _text(event: Event) -> str:
    text = text_in(event, "text", limit=MAX_TEXT)
    if text is None:
        raise MalformedMessage(f"{event.type} without a text")
    return text


def _plain(event: Event, text: str) -> str:
    if event.data.get("text_format") in (None, "text"):
        return text
    if event.data.get("text_format") == "ssml":  # what is to be said of it; how, no voice of ours understands
        return html.unescape(re.sub(r"<[^<>]*>", " ", text))
    raise MycoswarmError("only plain text and SSML can be spoken")
