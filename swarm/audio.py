"""Reading, writing and changing audio. `pcm` is 16-bit signed little-endian mono everywhere.

soundfile, soxr and numpy are imported by the functions that need them: a node without sound never loads them.
"""

from __future__ import annotations

import io
import math
import os
import wave
from pathlib import Path
from typing import TYPE_CHECKING

from swarm.engine import RATE
from swarm.errors import AudioError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SAMPLE_BYTES = 2
MAX_RECORDING_S = 300.0
"""Longest recording that is read: five minutes in 16 kHz pcm are 9.6 MB."""
MAX_CHANNELS = 32
MIN_RATE, MAX_RATE = 1_000, 768_000
SILENCE_DBFS = -96.0
"""What `level_dbfs` says of digital silence: the least that 16 bits can hold."""

_BLOCK_FRAMES = 65_536
_HEADER_BYTES = 65_536


def read_wav(source: bytes | str | os.PathLike[str], *, max_s: float = MAX_RECORDING_S) -> bytes:
    """A recording of any width, rate and channel count as 16 kHz pcm.

    `source` is a path or the file's bytes. WAV, and whatever else libsndfile reads. Channels are averaged. Raises
    `AudioError` when it is missing, empty, cut off, no recording at all, or longer than `max_s`; the length is
    judged from the header, before anything is decoded.
    """
    import numpy as np
    import soundfile

    name = "the recording" if isinstance(source, bytes) else str(source)
    head = source[:_HEADER_BYTES] if isinstance(source, bytes) else _read_head(Path(source))
    if not head:
        raise AudioError(f"{name} is empty", hint="record it again, or give another file")
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as file:
            rate, channels, frames = file.samplerate, file.channels, file.frames
            _refuse_unusable(name, rate, channels, frames, max_s)
            resampler = Resampler(rate, RATE)
            out = bytearray()
            decoded = 0
            while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                decoded += len(block)
                mono = np.nan_to_num(block.mean(axis=1), nan=0.0, posinf=1.0, neginf=-1.0)
                out += resampler.feed(_pcm_of(mono * 32767.0))
            out += resampler.finish()
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"{name} cannot be read as audio: {error}",
            hint="give a WAV file; `ffmpeg -i IN out.wav` makes one of anything",
        ) from error
    promised = max(frames, _frames_promised(head))
    if promised - decoded > rate // 100:
        raise AudioError(
            f"{name} is cut off: its header promises {promised / rate:.2f} s, {decoded / rate:.2f} s are there",
            hint="copy or record it again",
        )
    return bytes(out)


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEADER_BYTES)
    except OSError as error:
        raise AudioError(f"cannot read {path}: {error.strerror or error}") from error


def _refuse_unusable(name: str, rate: int, channels: int, frames: int, max_s: float) -> None:
    if frames <= 0:
        raise AudioError(f"{name} holds no audio", hint="record it again, or give another file")
    if channels > MAX_CHANNELS or not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(f"{name} has {channels} channels at {rate} Hz, which is no recording of speech")
    if frames / rate > max_s:
        raise AudioError(
            f"{name} is {frames / rate:.0f} s long; at most {max_s:.0f} s are read",
            hint="cut out the part with the question",
        )


def _frames_promised(head: bytes) -> int:
    """Frames that a RIFF header announces; libsndfile silently believes the file's real length instead.

    0 when it cannot be told. Streams written by programs that never learn their length (`espeak-ng --stdout`,
    `ffmpeg` to a pipe) announce sizes near 2³¹ or 2³²: they promise nothing.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return 0
    position, frame_bytes = 12, 0
    while position + 8 <= len(head):
        chunk, size = head[position : position + 4], int.from_bytes(head[position + 4 : position + 8], "little")
        if chunk == b"fmt ":
            frame_bytes = int.from_bytes(head[position + 20 : position + 22], "little")
        if chunk == b"data":
            return size // frame_bytes if frame_bytes and size < 0x7FFF_0000 else 0
        position += 8 + size + size % 2
    return 0


def write_wav(pcm: bytes, rate: int = RATE) -> bytes:
    """A 16-bit mono WAV file of `pcm`."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(rate)
        file.writeframes(pcm)
    return out.getvalue()


class Resampler:
    """Changes the rate of a stream of pcm, chunk by chunk, without clicks at the seams.

    The filter holds back some 10 to 30 ms until `finish`.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._stream = None
        if from_rate != to_rate:
            import soxr

            self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="int16")

    def feed(self, pcm: bytes) -> bytes:
        """What is ready after this chunk; may be empty."""
        return self._step(pcm, last=False)

    def finish(self) -> bytes:
        """The rest. Nothing may be fed afterwards."""
        return self._step(b"", last=True)

    def _step(self, pcm: bytes, *, last: bool) -> bytes:
        if self._stream is None:
            return pcm
        import numpy as np

        resampled: npt.NDArray[np.int16] = self._stream.resample_chunk(np.frombuffer(pcm, dtype="<i2"), last=last)
        return resampled.astype("<i2", copy=False).tobytes()


def resampled(pcm: bytes, from_rate: int, to_rate: int) -> bytes:
    """A whole recording in another rate."""
    resampler = Resampler(from_rate, to_rate)
    return resampler.feed(pcm) + resampler.finish()


def scaled(pcm: bytes, gain: float) -> bytes:
    """`pcm` times `gain`, clipped at full scale."""
    if gain == 1.0:
        return pcm
    import numpy as np

    return _pcm_of(np.frombuffer(pcm, dtype="<i2").astype(np.float32) * gain)


def gain_of_volume(percent: int) -> float:
    """Gain of a volume of 0 to 100: 0 is silent, then even steps in loudness from -40 dB to 0 dB."""
    percent = min(max(percent, 0), 100)
    return 0.0 if percent == 0 else float(10 ** (-40.0 * (1 - percent / 100) / 20))


def level_dbfs(pcm: bytes) -> float:
    """Power of `pcm` in dB against a full-scale square wave, from `SILENCE_DBFS` to 0."""
    import numpy as np

    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
    if not samples.size:
        return SILENCE_DBFS
    power = float(np.dot(samples, samples)) / samples.size
    return max(SILENCE_DBFS, 10 * math.log10(power / 32768.0**2)) if power else SILENCE_DBFS


def duration_s(pcm: bytes | bytearray, rate: int = RATE) -> float:
    """Length of `pcm` in seconds."""
    return len(pcm) / (SAMPLE_BYTES * rate)


def _pcm_of(samples: npt.NDArray[np.float32]) -> bytes:
    import numpy as np

    return np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()
