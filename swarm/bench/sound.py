"""Speech, silence and noise put together. `pcm` is 16 kHz."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from swarm.engine import RATE

_AUDIBLE = 100
"""Samples louder than this count as speech when its power is taken."""
_NOISE_RMS = 3277.0
"""-20 dBFS."""


def trimmed(pcm: bytes, *, below_db: float = 45.0) -> bytes:
    """`pcm` without the leading and trailing part that is `below_db` under its loudest sample.

    What is left begins and ends with sound: it is known where speech truly ends.
    """
    samples = np.abs(np.frombuffer(pcm, dtype="<i2").astype(np.int32))
    if not samples.size:
        return pcm
    loud = np.flatnonzero(samples >= max(1.0, samples.max() * 10 ** (-below_db / 20)))
    return pcm[2 * int(loud[0]) : 2 * (int(loud[-1]) + 1)] if loud.size else b""


def silence(seconds: float) -> bytes:
    """Digital silence."""
    return bytes(2 * round(seconds * RATE))


def white_noise(seconds: float, *, seed: int = 0) -> bytes:
    """White noise at -20 dBFS."""
    return pcm_of(np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * _NOISE_RMS)


def mixed(pcm: bytes, noise: bytes, snr_db: float) -> bytes:
    """`pcm` with `noise`, as long as it, at this ratio of speech power (over the parts that sound) to noise power."""
    speech = np.frombuffer(pcm, dtype="<i2").astype(np.float64)
    sounding = speech[np.abs(speech) > _AUDIBLE]
    if not sounding.size:
        return pcm
    other = np.frombuffer(noise, dtype="<i2").astype(np.float64)[: speech.size]
    wanted_power = np.mean(sounding**2) / 10 ** (snr_db / 10)
    return pcm_of(speech + other * np.sqrt(wanted_power / np.mean(other**2)))


def pcm_of(samples: npt.NDArray[np.float64]) -> bytes:
    """Samples as pcm, clipped at full scale."""
    return np.clip(np.round(samples), -32768, 32767).astype("<i2").tobytes()
