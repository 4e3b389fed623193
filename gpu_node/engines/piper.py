"""Speech by a Piper voice that a person added.

Piper is GPL software: it is imported in the child only (`python -m gpu_node.engines.piper VOICE`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.tts import Synthesize

from swarm.engine_process import Answer, EngineProcess, Send, module_argv, serve
from swarm.errors import EngineError, EngineUnavailable

MAX_TEXT = 2_000
"""Characters that are spoken at once: two minutes of speech."""
TIMEOUT_S = 30.0
"""Longest wait for one sentence."""
CHUNK_BYTES = 8_192
MAX_CONFIG_BYTES = 4 * 1024 * 1024


class PiperSynthesizer:
    """`swarm.engine.Synthesizer` by the voice in `voice_path` (`….onnx`, its `….onnx.json` beside it).

    A voice speaks the language that it was made for, whatever `language` says. Raises `EngineUnavailable`.
    """

    def __init__(self, voice_path: str | Path) -> None:
        voice = Path(voice_path).expanduser().absolute()
        self.name = f"piper:{voice.stem}"
        """Other machines ask for a voice by it."""
        self.rate = _rate_of(voice)
        self._process = EngineProcess(module_argv("gpu_node.engines.piper", str(voice)), "piper")

    async def start(self) -> None:
        """Load the voice now rather than with the first sentence. Raises `EngineError`."""
        await self._process.start()

    async def synthesize(self, text: str, *, language: str) -> AsyncGenerator[bytes, None]:
        """Speak plain text of at most `MAX_TEXT` characters, sentence by sentence; raises `EngineError`."""
        if len(text) > MAX_TEXT:
            raise EngineError(f"a text of {len(text)} characters is too long to speak at once (limit {MAX_TEXT})")
        plain = text.encode(errors="replace").decode()  # half a surrogate pair cannot be sent
        async with self._process.conversation() as conversation:
            answers = conversation.stream(Synthesize(plain).event(), last="audio-stop", timeout_s=TIMEOUT_S)
            async with aclosing(answers):
                async for answer in answers:
                    if answer.payload:
                        yield answer.payload

    @property
    def pid(self) -> int | None:
        """Process id of the child that is ready now."""
        return self._process.pid

    async def close(self) -> None:
        """End the child. Safe to call twice."""
        await self._process.close()


def _rate_of(voice: Path) -> int:
    """Samples per second, from the voice's description."""
    description = voice.with_name(voice.name + ".json")
    for path in (voice, description):
        if not path.is_file():
            raise EngineUnavailable(
                f"there is no file {path}", hint="a Piper voice is two files: NAME.onnx and NAME.onnx.json"
            )
    try:
        with description.open("rb") as file:
            config = json.loads(file.read(MAX_CONFIG_BYTES))
        rate, phonemes = config["audio"]["sample_rate"], config.get("phoneme_type", "espeak")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EngineUnavailable(
            f"{description} does not describe a Piper voice: {type(error).__name__}: {error}",
            hint="take the .onnx.json file that belongs to the voice",
        ) from error
    if not isinstance(rate, int) or not 8_000 <= rate <= 48_000:
        raise EngineUnavailable(f"{description}: a sample rate of {rate} is not possible")
    if phonemes not in ("espeak", "text"):
        raise EngineUnavailable(f'{description}: phonemes of type "{phonemes}" need files from the internet')
    return rate


# ---- in the child


def _build() -> Answer:
    from piper import PiperVoice

    voice = PiperVoice.load(sys.argv[1])

    def answer(event: Event, send: Send) -> None:
        if not Synthesize.is_type(event.type):
            raise EngineError(f"Piper has no answer to {event.type}")
        rate = voice.config.sample_rate
        send(AudioStart(rate, 2, 1).event())
        # Phonemes in [[ ]] would be spoken as such; the text is plain.
        text = Synthesize.from_event(event).text.replace("[[", " ").replace("]]", " ").replace("\0", " ")
        for sentence in voice.synthesize(text):
            pcm = sentence.audio_int16_bytes
            for start in range(0, len(pcm), CHUNK_BYTES):
                send(AudioChunk(rate, 2, 1, pcm[start : start + CHUNK_BYTES]).event())
        send(AudioStop().event())

    return answer


if __name__ == "__main__":
    serve(_build)
