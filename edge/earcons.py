"""The satellite's short sounds, made by code: soft attack, no sample files."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.satellite import Cue

_ATTACK_S = 0.008
_LEVEL = 0.16

# Notes as (frequency in Hz, seconds). Rising means "go on", falling "it is over", a repeated low one "it went wrong".
_TUNES: dict[Cue, tuple[tuple[float, float], ...]] = {
    "wake": ((880.0, 0.05), (1174.7, 0.07)),
    "nothing_heard": ((587.3, 0.09), (440.0, 0.14)),
    "error": ((233.1, 0.12), (0.0, 0.05), (233.1, 0.18)),
    "done": ((1046.5, 0.12),),
    "chime": ((784.0, 0.14), (987.8, 0.14), (1174.7, 0.3), (0.0, 0.15)),
}


@functools.lru_cache(maxsize=32)
def earcon(cue: Cue, rate: int) -> bytes:
    """The sound as pcm in `rate`, at most 0.8 s and peaking 16 dB below full scale."""
    import numpy as np

    tones = [_tone(frequency, seconds, rate) for frequency, seconds in _TUNES[cue]]
    return np.rint(np.concatenate(tones) * 32767).astype("<i2").tobytes()


def _tone(frequency: float, seconds: float, rate: int) -> npt.NDArray[np.float64]:
    """A bell-like note: two partials under a raised-cosine attack and a decay that ends at zero."""
    import numpy as np

    time = np.arange(round(seconds * rate)) / rate
    attack = 0.5 - 0.5 * np.cos(np.pi * np.minimum(time / _ATTACK_S, 1.0))
    decay = np.cos(np.pi / 2 * time / seconds) ** 2
    wave = 0.8 * np.sin(2 * np.pi * frequency * time) + 0.2 * np.sin(4 * np.pi * frequency * time)
    note: npt.NDArray[np.float64] = _LEVEL * wave * attack * decay
    return note
