"""Speech and noise made at test time: eSpeak NG variants and flite (through ffmpeg), always 16 kHz mono 16-bit.

`say("turn on the lamp", "en-us+f2")` speaks with an eSpeak NG variant; a voice that begins with `flite:`, such as
`flite:slt`, speaks with flite. What was said once is kept in memory for the rest of the test run.
"""

from __future__ import annotations

import functools
import subprocess
from typing import Literal

import numpy as np
import numpy.typing as npt

from swarm.bench.sound import mixed, pcm_of, silence, trimmed
from swarm.engine import RATE

__all__ = ["NEWS", "RATE", "SPEAKERS", "NoiseKind", "mixed", "noise_of", "say", "silence", "trimmed", "with_noise"]

SPEAKERS = ("en-us", "en-us+f2", "en-gb-x-rp+m3", "flite:slt")
"""Four speakers that differ in sex, accent and synthesizer."""

NoiseKind = Literal["white", "music", "television"]


@functools.lru_cache(maxsize=4096)
def say(text: str, voice: str = "en-us", *, speed: int = 160, pitch: int = 50) -> bytes:
    """`text` spoken by `voice`, with whatever silence the synthesizer puts around it.

    `speed` is words per minute and `pitch` 0 to 99; both are eSpeak NG's and do nothing for flite.
    """
    if voice.startswith("en-gb+"):
        raise ValueError(f"eSpeak NG speaks {voice} as plain en-gb: name the file, as in en-gb-x-rp+m3")
    if voice.startswith("flite:"):
        quoted = text.replace("\\", "").replace("'", "\u2019").replace(":", "\\:")
        graph = f"flite=text='{quoted}':voice={voice.removeprefix('flite:')}"
        source, feed = ["-f", "lavfi", "-i", graph], b""
    else:
        speak = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", "--", text]
        feed = subprocess.run(speak, check=True, capture_output=True, timeout=30).stdout
        source = ["-f", "wav", "-i", "pipe:0"]
    convert = ["ffmpeg", "-v", "error", *source, "-f", "s16le", "-ac", "1", "-ar", str(RATE), "pipe:1"]
    return subprocess.run(convert, input=feed, check=True, capture_output=True, timeout=30).stdout


def with_noise(pcm: bytes, snr_db: float, kind: NoiseKind = "white", *, seed: int = 0) -> bytes:
    """`pcm` with noise at this ratio of speech power (over the parts that sound) to noise power."""
    return mixed(pcm, noise_of(kind, len(pcm) / 2 / RATE, seed=seed), snr_db)


@functools.lru_cache(maxsize=64)
def noise_of(kind: NoiseKind, seconds: float, *, seed: int = 0) -> bytes:
    """Noise alone, at about -20 dBFS."""
    count = round(seconds * RATE)
    if kind == "white":
        noise = np.random.default_rng(seed).standard_normal(count)
    elif kind == "music":
        noise = _music(count, seed)
    else:
        noise = _television(count, seed)
    level = np.sqrt(np.mean(noise**2)) or 1.0
    return pcm_of(noise / level * 3277)


def _music(count: int, seed: int) -> npt.NDArray[np.float64]:
    """Chords of plucked harmonic tones, changing every 0.4 s, with a soft drum on each change."""
    rng = np.random.default_rng(seed)
    out = np.zeros(count)
    beat = round(0.4 * RATE)
    time = np.arange(beat) / RATE
    scale = 220.0 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
    for start in range(0, count, beat):
        chord = np.zeros(beat)
        for tone in rng.choice(scale, 3, replace=False):
            for harmonic in range(1, 6):
                chord += np.sin(2 * np.pi * tone * harmonic * time) / harmonic**1.3
        chord *= np.exp(-3 * time)
        chord += rng.standard_normal(beat) * np.exp(-60 * time)
        out[start : start + beat] += chord[: count - start]
    return out


NEWS = (
    "good evening and welcome to the late programme, our top story tonight is the weather in the northern counties",
    "the minister said on tuesday that the new railway would be finished before the end of the decade",
    "and now we go live to our reporter in the city centre, who has been speaking with people on the street",
    "it was the third time in a row that the visitors scored in the last minute of the match",
    "scientists have found a small fish that lives deeper in the ocean than anybody thought possible",
)


def _television(count: int, seed: int) -> npt.NDArray[np.float64]:
    """People talking without end, in voices that are none of `SPEAKERS`."""
    voices = ("en-us+m7", "en-us+f4", "en-gb-scotland+m1")
    pieces: list[npt.NDArray[np.float64]] = []
    number = seed
    while sum(map(len, pieces)) < count:
        spoken = trimmed(say(NEWS[number % len(NEWS)], voices[number % len(voices)], speed=170))
        pieces.append(np.frombuffer(spoken + silence(0.12), dtype="<i2").astype(np.float64))
        number += 1
    return np.concatenate(pieces)[:count] if pieces else np.zeros(0)
