"""Speech by eSpeak NG, which comes inside a package: the voice that every node has.

eSpeak NG is GPL software in C: it is loaded in the child only (`python -m swarm.engines.espeak`). The interface is
`speak_lib.h` of eSpeak NG 1.52.
"""

from __future__ import annotations

import ctypes
import os
import sys
from array import array
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.tts import Synthesize, SynthesizeVoice

from swarm.engine_process import Answer, EngineProcess, Send, module_argv, serve
from swarm.errors import EngineError

RATE = 22_050
MAX_TEXT = 2_000
"""Characters that are spoken at once: two minutes of speech."""
CHUNK_MS = 60
TIMEOUT_S = 10.0
"""Longest wait for one chunk, which takes well under a millisecond."""
WORDS_AT_ONCE = 500
WORDS_PER_MINUTE = 175
"""How fast eSpeak NG speaks unless told otherwise."""

_PHONEMES = "phonemes"


class EspeakSynthesizer:
    """`swarm.engine.Synthesizer` by eSpeak NG; also tells how it pronounces a word."""

    name = "espeak-ng"
    rate = RATE

    def __init__(self, *, words_per_minute: int = WORDS_PER_MINUTE) -> None:
        """`words_per_minute`: 80 to 450."""
        self._process = EngineProcess(module_argv("swarm.engines.espeak", str(words_per_minute)), self.name)

    async def start(self) -> None:
        """Start the child now rather than with the first sentence. Raises `EngineError`."""
        await self._process.start()

    async def synthesize(self, text: str, *, language: str) -> AsyncGenerator[bytes, None]:
        """Speak plain text of at most `MAX_TEXT` characters; raises `EngineError`."""
        if len(text) > MAX_TEXT:
            raise EngineError(f"a text of {len(text)} characters is too long to speak at once (limit {MAX_TEXT})")
        event = Synthesize(_encodable(text), voice=SynthesizeVoice(language=language)).event()
        async with self._process.conversation() as conversation:
            answers = conversation.stream(event, last="audio-stop", timeout_s=TIMEOUT_S)
            async with aclosing(answers):
                async for answer in answers:
                    if answer.payload:
                        yield answer.payload

    async def phonemes(self, texts: Sequence[str], *, language: str) -> list[str]:
        """How each of `texts` is pronounced, in eSpeak's own phoneme mnemonics with `_` between them.

        Raises `EngineError`.
        """
        spoken: list[str] = []
        for start in range(0, len(texts), WORDS_AT_ONCE):
            some = [_encodable(text[:MAX_TEXT]) for text in texts[start : start + WORDS_AT_ONCE]]
            event = Event(_PHONEMES, {"texts": some, "language": language})
            answer = await self._process.request(event, timeout_s=TIMEOUT_S)
            spoken.extend(answer.data["phonemes"])
        return spoken

    @property
    def pid(self) -> int | None:
        """Process id of the child that is ready now."""
        return self._process.pid

    async def close(self) -> None:
        """End the child. Safe to call twice."""
        await self._process.close()


def _encodable(text: str) -> str:
    """`text` with a question mark for half a surrogate pair, which JSON from a stranger may hold."""
    return text.encode(errors="replace").decode()


# ---- in the child

_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_UTF8 = 1
_POSITION_CHARACTER = 1
_SEPARATE_PHONEMES = ord("_") << 8
_RATE_PARAMETER = 1
_SILENT_BELOW = 16
_VOICE_OF = {"en": "en-us", "en-gb": "en", "zh": "cmn", "zh-cn": "cmn", "no": "nb"}
"""Language tags that eSpeak NG calls otherwise; its `en` is British."""

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def _build() -> Answer:
    import espeakng_loader

    library, data = Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
    espeak = _Espeak(library, data, words_per_minute=int(sys.argv[1]))
    espeak.speak("ready", "en", lambda _event: None)  # reads the voice now: 20 ms that the first answer does not pay

    def answer(event: Event, send: Send) -> None:
        if Synthesize.is_type(event.type):
            request = Synthesize.from_event(event)
            language = request.voice.language if request.voice else None
            espeak.speak(request.text, language or "en", send)
        elif event.type == _PHONEMES:
            texts, language = event.data["texts"], event.data["language"]
            send(Event(_PHONEMES, {"phonemes": espeak.phonemes(texts, language)}))
        else:
            raise EngineError(f"eSpeak NG has no answer to {event.type}")

    return answer


class _Espeak:
    def __init__(self, library: Path, data: Path, *, words_per_minute: int) -> None:
        self._lib = ctypes.CDLL(str(library))
        self._lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        # eSpeak NG holds the path of its data in 160 bytes: a relative one always fits.
        os.chdir(data.parent)
        if self._lib.espeak_Initialize(_OUTPUT_SYNCHRONOUS, CHUNK_MS, b".", _DONT_EXIT) != RATE:
            raise EngineError(f"eSpeak NG cannot read its voices in {data}")
        self._lib.espeak_SetParameter(_RATE_PARAMETER, words_per_minute, 0)
        self._hear: Callable[[bytes], bool] = lambda _pcm: True
        self._callback = _Callback(self._called)  # kept: the library holds only its address
        self._lib.espeak_SetSynthCallback(self._callback)
        self._voice = ""

    def speak(self, text: str, language: str, send: Send) -> None:
        self._choose_voice(language)
        send(AudioStart(RATE, 2, 1).event())
        started = False
        failure: OSError | None = None

        def hear(pcm: bytes) -> bool:
            nonlocal started, failure
            if not started:
                pcm = _without_leading_silence(pcm)
                started = bool(pcm)
            try:
                if pcm:
                    send(AudioChunk(RATE, 2, 1, pcm).event())
            except OSError as error:
                failure = error
            return failure is None

        self._hear = hear
        data = _plain(text)
        size = ctypes.c_size_t(len(data) + 1)
        self._lib.espeak_Synth(data, size, 0, _POSITION_CHARACTER, 0, _UTF8, None, None)
        if failure is not None:
            raise failure
        send(AudioStop().event())

    def phonemes(self, texts: Sequence[str], language: str) -> list[str]:
        self._choose_voice(language)
        return [self._phonemes_of(text) for text in texts]

    def _phonemes_of(self, text: str) -> str:
        rest = ctypes.c_char_p(_plain(text))
        clauses: list[bytes] = []
        while rest.value:  # each call reads one clause and moves on; it is null at the end
            clauses.append(self._lib.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _SEPARATE_PHONEMES))
        return " ".join(clause.decode() for clause in clauses)

    def _choose_voice(self, language: str) -> None:
        tag = language.lower().replace("_", "-")
        if tag == self._voice:
            return
        for name in (_VOICE_OF.get(tag), tag, _VOICE_OF.get(tag.split("-")[0]), tag.split("-")[0]):
            if name and self._lib.espeak_SetVoiceByName(name.encode()) == 0:
                self._voice = tag
                return
        raise EngineError(f'eSpeak NG has no voice for the language "{language}"')

    def _called(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if not samples or not count:
            return 0
        return 0 if self._hear(ctypes.string_at(samples, count * 2)) else 1


def _plain(text: str) -> bytes:
    return text.replace("\0", " ").encode()


def _without_leading_silence(pcm: bytes) -> bytes:
    for index, sample in enumerate(array("h", pcm)):
        if abs(sample) >= _SILENT_BELOW:
            return pcm[index * 2 :]
    return b""


if __name__ == "__main__":
    serve(_build)
