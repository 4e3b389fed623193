"""Wyoming services of others as engines (`swarm.engine`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from wyoming.asr import Transcribe
from wyoming.asr import Transcript as Said
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.info import Info
from wyoming.tts import Synthesize, SynthesizeVoice

from swarm.audio import SAMPLE_BYTES, duration_s
from swarm.engine import RATE, ChatMessage, CommandGrammar, Transcript, TranscriptionStream
from swarm.errors import EngineError, MalformedMessage
from swarm.wyoming.audio import PcmReader
from swarm.wyoming.others import Exchange, OtherService

MAX_S = 30.0
"""Of one utterance."""
MAX_CHARS = 1_000
MAX_ANSWER_CHARS = 20_000
HEAR_S = 15.0
"""From the end of an utterance to its transcript: a small machine with a large model."""
SPEAK_S = 10.0
"""From one chunk of speech to the next."""
MAX_SPEECH_S = 300.0
CHUNK_BYTES = 8_192
VOICE_RATE = 22_050
"""Of the speech that is passed on; most voices have it, and what comes in another rate is converted."""


class WyomingTranscriber:
    """Speech to text by the service at `url`."""

    commands_only = False

    def __init__(self, url: str) -> None:
        self.name = url
        self._service = OtherService(url)

    async def open(self, *, language: str) -> TranscriptionStream:
        """See `Transcriber`."""
        return _Utterance(self._service, language)

    async def set_grammar(self, grammar: CommandGrammar) -> None:
        """It has none."""

    async def close(self) -> None:
        """Nothing is open between utterances."""


class _Utterance:
    """Keeps the audio; each question sends all of it."""

    def __init__(self, service: OtherService, language: str) -> None:
        self._service = service
        self._language = language
        self._pcm = bytearray()
        self._heard: Transcript | None = None
        """In all of the audio."""

    async def feed(self, pcm: bytes) -> None:
        if duration_s(self._pcm) > MAX_S:
            raise EngineError(f"the utterance is longer than {MAX_S:g} s")
        self._pcm += pcm
        self._heard = None

    async def so_far(self) -> Transcript:
        if self._heard is None:
            async with self._service.exchange() as exchange:
                await exchange.send(Transcribe(language=self._language).event())
                await exchange.send(AudioStart(RATE, SAMPLE_BYTES, 1).event())
                for start in range(0, len(self._pcm), CHUNK_BYTES):
                    piece = bytes(self._pcm[start : start + CHUNK_BYTES])
                    await exchange.send(AudioChunk(RATE, SAMPLE_BYTES, 1, piece).event())
                await exchange.send(AudioStop().event())
                self._heard = Transcript(await _transcript(exchange))
        return self._heard

    async def transcript(self) -> Transcript:
        return await self.so_far()

    async def close(self) -> None:
        pass


async def _transcript(exchange: Exchange) -> str:
    """Whole, or from those that stream and do not repeat it, piece by piece."""
    pieces = ""
    try:
        async with asyncio.timeout(HEAR_S):
            while True:
                kinds = ("transcript", "transcript-chunk", "transcript-stop")
                event = await exchange.until(*kinds, timeout_s=HEAR_S)
                if event.type == "transcript":
                    return exchange.text(event, limit=MAX_CHARS).strip()
                if event.type == "transcript-stop":
                    return pieces.strip()
                pieces = f"{pieces}{exchange.text(event, limit=MAX_CHARS)}"[:MAX_CHARS]
    except TimeoutError:
        raise EngineError(f"no transcript came within {HEAR_S:g} s") from None


class WyomingSynthesizer:
    """Text to speech by the service at `url`, in the rate that the caller wants."""

    def __init__(self, url: str, *, rate: int = VOICE_RATE) -> None:
        self.name = url
        self.rate = rate
        self._service = OtherService(url)

    async def synthesize(self, text: str, *, language: str) -> AsyncGenerator[bytes, None]:
        """Speak one sentence; raises `EngineError`."""
        info = await self._service.known_info()
        plain = text.encode(errors="replace").decode()
        request = Synthesize(plain, voice=_voice(info, language))
        sent_s = 0.0
        async with self._service.exchange() as exchange:
            await exchange.send(request.event())
            reader = PcmReader(self.rate)
            while True:
                event = await exchange.until("audio-chunk", "audio-stop", timeout_s=SPEAK_S)
                try:
                    pcm = reader.feed(event) if event.type == "audio-chunk" else reader.finish()
                except MalformedMessage as error:
                    raise EngineError(f"{self._service.name}: {error}") from error
                sent_s += duration_s(pcm, self.rate)
                if sent_s > MAX_SPEECH_S:
                    raise EngineError(f"{self._service.name} speaks for more than {MAX_SPEECH_S:g} s")
                if pcm:
                    yield pcm
                if event.type == "audio-stop":
                    return

    async def close(self) -> None:
        """Nothing is open between sentences."""


def _voice(info: Info | None, language: str) -> SynthesizeVoice:
    """The first that speaks the language: services older than the protocol's `language` know voices by name only."""
    wanted = language.lower().replace("_", "-")
    voices = [voice for program in (info.tts if info else ()) if program.installed for voice in program.voices]
    for exactly in (True, False):
        for voice in voices:
            spoken = [str(each).lower().replace("_", "-") for each in voice.languages]
            if voice.installed and any(
                each == wanted if exactly else each.split("-")[0] == wanted.split("-")[0] for each in spoken
            ):
                return SynthesizeVoice(name=voice.name)
    return SynthesizeVoice(language=language)


class WyomingGenerator:
    """Answers by the intent handling service at `url`: it is asked what the person said last."""

    def __init__(self, url: str) -> None:
        self.name = url
        self._service = OtherService(url)

    async def available(self) -> str | None:
        """Its name; None when it is away, or handles nothing."""
        info = await self._service.known_info()
        return next((program.name for program in (info.handle if info else ()) if program.installed), None)

    async def generate(self, messages: Sequence[ChatMessage], *, timeout_s: float) -> AsyncGenerator[str, None]:
        """See `Generator`. What it does not handle raises `EngineError`."""
        said = next((message.content for message in reversed(messages) if message.role == "user"), "")
        kinds = ("handled", "not-handled", "handled-chunk", "handled-stop")
        streamed = 0
        try:
            async with asyncio.timeout(timeout_s), self._service.exchange() as exchange:
                await exchange.send(Said(said.encode(errors="replace").decode()).event())
                while True:
                    event = await exchange.until(*kinds, timeout_s=timeout_s)
                    if event.type == "handled-stop" or (event.type == "handled" and streamed):
                        return  # what was streamed is repeated as a whole, for those who know no streams
                    text = exchange.text(event, limit=MAX_ANSWER_CHARS)
                    if event.type == "not-handled":
                        raise EngineError(f"{self._service.name} does not handle it: {text!r:.100}")
                    streamed += len(text)
                    if streamed > MAX_ANSWER_CHARS:
                        raise EngineError(f"{self._service.name} answers without end")
                    yield text
                    if event.type == "handled":
                        return
        except TimeoutError:
            raise EngineError(f"{self._service.name} did not answer within {timeout_s:g} s") from None

    async def close(self) -> None:
        """Nothing is open between questions."""
