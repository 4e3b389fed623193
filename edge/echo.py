"""The satellite's own voice, taken out of what its microphone hears, so that a wake word is heard while it speaks.

libspeexdsp's echo canceller (J.-M. Valin, "On Adjusting the Learning Rate in Frequency Domain Echo Cancellation With
Double-Talk", IEEE 2007): Debian's libspeexdsp1, 100 KB, no model. It learns the room while it hears it, and needs
microphone and speaker on one clock: one sound board. USB speakerphones have a canceller of their own.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import Any

from swarm.audio import SAMPLE_BYTES, Resampler
from swarm.engine import RATE
from swarm.errors import AudioDeviceError

FRAME_BYTES = 640
"""20 ms, as sources deliver."""
TAIL_S = 0.3
"""From a sound's way into the device to its last audible echo: the devices' buffers (0.1 s) and a living room."""
AHEAD_S = 0.2
"""What was played and not yet heard is kept for so long: more would come to the canceller after its own echo."""
_SET_SAMPLING_RATE = 24
"""`SPEEX_ECHO_SET_SAMPLING_RATE` of <speex/speex_echo.h>."""


class EchoCanceller:
    """`played` is told what goes out, `cleaned` what comes in; each from a thread of its own."""

    def __init__(self) -> None:
        """Raises `AudioDeviceError` where the library is not installed."""
        self._library = _speexdsp()
        samples = FRAME_BYTES // SAMPLE_BYTES
        self._state = ctypes.c_void_p(self._library.speex_echo_state_init(samples, int(TAIL_S * RATE)))
        rate = ctypes.c_int(RATE)
        self._library.speex_echo_ctl(self._state, _SET_SAMPLING_RATE, ctypes.byref(rate))
        weakref.finalize(self, self._library.speex_echo_state_destroy, self._state)
        self._lock = threading.Lock()
        self._far = bytearray()
        self._resampler: Resampler | None = None
        self._resampled_from = 0
        self._echo_for = 0
        """Frames for which an echo may still be heard."""
        self._out = ctypes.create_string_buffer(FRAME_BYTES)

    def played(self, pcm: bytes, rate: int) -> None:
        """The device took this, now."""
        if rate != RATE:
            if self._resampler is None or self._resampled_from != rate:
                self._resampler, self._resampled_from = Resampler(rate, RATE), rate
            pcm = self._resampler.feed(pcm)
        with self._lock:
            self._far += pcm
            del self._far[: max(0, len(self._far) - int(AHEAD_S * RATE) * SAMPLE_BYTES)]

    def cleaned(self, frame: bytes) -> bytes:
        """20 ms of the microphone without the echo of what was played; untouched while there can be none."""
        with self._lock:
            far = bytes(self._far[:FRAME_BYTES])
            del self._far[:FRAME_BYTES]
        if far.strip(b"\0"):
            self._echo_for = int(TAIL_S / 0.02) + 1
        elif self._echo_for == 0:
            return frame
        self._echo_for -= 1
        self._library.speex_echo_cancellation(self._state, frame, far.ljust(FRAME_BYTES, b"\0"), self._out)
        return self._out.raw

    def begin(self) -> None:
        """The microphone was opened: what was played before it is not heard by it."""
        with self._lock:
            self._far.clear()


def _speexdsp() -> Any:
    try:
        library = ctypes.CDLL("libspeexdsp.so.1")
    except OSError as error:
        raise AudioDeviceError(
            f"the echo of the own voice cannot be cancelled: {error}", hint="apt install libspeexdsp1"
        ) from error
    library.speex_echo_state_init.restype = ctypes.c_void_p
    library.speex_echo_state_init.argtypes = [ctypes.c_int, ctypes.c_int]
    library.speex_echo_state_destroy.argtypes = [ctypes.c_void_p]
    library.speex_echo_ctl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    library.speex_echo_cancellation.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p]
    return library
