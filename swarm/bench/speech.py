"""Makes the recordings of the benchmark: eSpeak NG's voices and, where ffmpeg has it, flite's."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from swarm.audio import resampled
from swarm.bench.corpus import NEWS, SPEAKERS, SPEAKERS_WITHOUT_FLITE, TELEVISION_VOICES
from swarm.bench.sound import mixed, silence, trimmed, white_noise
from swarm.engine import RATE
from swarm.engines.espeak import EspeakSynthesizer
from swarm.errors import EngineError

LEAD_S = 0.5
"""Of every recording, before anybody speaks."""
WAKE_GAP_S = 0.3
"""Between wake word and command."""
WORDS_PER_MINUTE = 160
"""As people speak to a machine."""
FLITE_TIMEOUT_S = 30.0
_FLITE = "flite:"


@dataclass(frozen=True)
class Recording:
    """Somebody says a command."""

    pcm: bytes
    wake_end: int
    """Samples up to the last sound of the wake word; 0 without one."""
    speech_end: int
    """Samples up to the last sound of the command: the true end of speech."""


class Speech:
    """Speaks; what was said once as part of a recording is kept."""

    def __init__(self) -> None:
        self._espeak: dict[int, EspeakSynthesizer] = {}
        self._said: dict[tuple[str, str], bytes] = {}
        self.speakers: tuple[str, ...] = SPEAKERS_WITHOUT_FLITE

    async def start(self) -> None:
        """Find out which voices there are; raises `EngineError`."""
        if await _has_flite():
            self.speakers = SPEAKERS

    async def speak(self, text: str, voice: str, *, words_per_minute: int = WORDS_PER_MINUTE) -> bytes:
        """16 kHz pcm that begins and ends with sound; raises `EngineError`.

        `voice`: an eSpeak NG language with `+` and one of its variants, as in `en-us+f2`, or `flite:` and a voice,
        which has a speed of its own.
        """
        if voice.startswith(_FLITE):
            return trimmed(await _flite(text, voice.removeprefix(_FLITE)))
        if words_per_minute not in self._espeak:
            self._espeak[words_per_minute] = EspeakSynthesizer(words_per_minute=words_per_minute)
        espeak = self._espeak[words_per_minute]
        pcm = bytearray()
        async with aclosing(espeak.synthesize(text, language=voice)) as chunks:
            async for chunk in chunks:
                pcm += chunk
        return trimmed(resampled(bytes(pcm), espeak.rate, RATE))

    async def say(self, text: str, voice: str) -> bytes:
        """`speak`, said once."""
        if (text, voice) not in self._said:
            self._said[text, voice] = await self.speak(text, voice)
        return self._said[text, voice]

    async def recording(
        self,
        parts: Sequence[str],
        voice: str,
        *,
        wake: str = "",
        pause_s: float = 0.0,
        tail_s: float = 0.0,
        snr_db: float | None = None,
        television_db: float | None = None,
    ) -> Recording:
        """A command in `parts`, with pauses between them, after the wake phrase if there is one.

        `tail_s` of what goes on in the room follows: silence, white noise `snr_db` below the speech, or a television
        that far below it.
        """
        woken = silence(LEAD_S) + (await self.say(wake, voice) if wake else b"")
        said = silence(pause_s).join([await self.say(part, voice) for part in parts])
        speech = woken + (silence(WAKE_GAP_S) if wake else b"") + said
        pcm = speech + silence(tail_s)
        seconds = len(pcm) / 2 / RATE
        if snr_db is not None:
            pcm = mixed(pcm, white_noise(seconds, seed=len(speech)), snr_db)
        if television_db is not None:
            pcm = mixed(pcm, await self.television(seconds), television_db)
        return Recording(pcm, len(woken) // 2 if wake else 0, len(speech) // 2)

    async def television(self, seconds: float) -> bytes:
        """People talking without end."""
        pcm = bytearray()
        number = 0
        while len(pcm) < 2 * RATE * seconds:
            voice = TELEVISION_VOICES[number % len(TELEVISION_VOICES)]
            pcm += await self.say(NEWS[number % len(NEWS)], voice) + silence(0.12)
            number += 1
        return bytes(pcm[: 2 * round(RATE * seconds)])

    async def close(self) -> None:
        """End the engines."""
        for espeak in self._espeak.values():
            await espeak.close()


async def _has_flite() -> bool:
    if shutil.which("ffmpeg") is None:
        return False
    return re.search(rb"\bflite\b", await _ffmpeg("-hide_banner", "-filters")) is not None


async def _flite(text: str, voice: str) -> bytes:
    quoted = text.replace("\\", "").replace("'", "\N{RIGHT SINGLE QUOTATION MARK}").replace(":", "\\:")
    source = ("-f", "lavfi", "-i", f"flite=text='{quoted}':voice={voice}")
    return await _ffmpeg("-v", "error", *source, "-f", "s16le", "-ac", "1", "-ar", str(RATE), "pipe:1")


async def _ffmpeg(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *("ffmpeg", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(FLITE_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise EngineError(f"ffmpeg was not ready within {FLITE_TIMEOUT_S:g} s") from error
    if process.returncode:
        raise EngineError(f"ffmpeg {' '.join(arguments)} failed")
    return output
