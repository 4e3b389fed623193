"""Audio of any Wyoming event as pcm of one rate."""

from __future__ import annotations

from typing import NamedTuple

from wyoming.event import Event

from swarm.audio import Resampler
from swarm.engine import RATE
from swarm.errors import MalformedMessage

MIN_RATE, MAX_RATE = 4_000, 192_000
MAX_CHANNELS = 32
WIDTHS = (1, 2, 3, 4)


class AudioFormat(NamedTuple):
    """Of interleaved integer samples, little-endian; those of one byte are unsigned (as in WAV files)."""

    rate: int
    width: int
    channels: int


def format_of(event: Event) -> AudioFormat:
    """What an audio event says of its audio. Raises `MalformedMessage`."""
    numbers = [event.data.get(key) for key in ("rate", "width", "channels")]
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        raise MalformedMessage(f"{event.type!r:.24} without rate, width and channels")
    form = AudioFormat(*numbers)  # type: ignore[arg-type] # all are numbers
    if not MIN_RATE <= form.rate <= MAX_RATE or form.width not in WIDTHS or not 1 <= form.channels <= MAX_CHANNELS:
        raise MalformedMessage(f"audio of {form.channels} channels with {form.width} bytes at {form.rate} Hz")
    return form


class PcmReader:
    """Takes one stream of audio events, whose format may change on the way, and gives pcm in `rate`."""

    def __init__(self, rate: int = RATE) -> None:
        self._rate = rate
        self._form: AudioFormat | None = None
        self._resampler: Resampler | None = None
        self._rest = b""

    def feed(self, event: Event) -> bytes:
        """What is ready after this `audio-chunk`; may be empty. Raises `MalformedMessage`."""
        form = format_of(event)
        ready = b""
        if form != self._form or self._resampler is None:
            ready = self.finish()
            self._form, self._resampler = form, Resampler(form.rate, self._rate)
        data = self._rest + (event.payload or b"")
        whole = len(data) - len(data) % (form.width * form.channels)
        self._rest = data[whole:]
        return ready + self._resampler.feed(_mono(data[:whole], form))

    def finish(self) -> bytes:
        """The rest."""
        resampler, self._resampler, self._rest = self._resampler, None, b""
        return resampler.finish() if resampler is not None else b""


def _mono(data: bytes, form: AudioFormat) -> bytes:
    if (form.width, form.channels) == (2, 1):
        return data
    import numpy as np

    if form.width == 1:
        samples = (np.frombuffer(data, dtype=np.uint8).astype(np.int16) - 128) * 256
    elif form.width == 2:
        samples = np.frombuffer(data, dtype="<i2")
    else:  # its two highest bytes
        samples = np.frombuffer(data, dtype=np.uint8).reshape(-1, form.width)[:, -2:].copy().view("<i2")[:, 0]
    if form.channels > 1:
        samples = samples.reshape(-1, form.channels).mean(axis=1)
    return samples.astype("<i2").tobytes()
