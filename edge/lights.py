"""What a satellite shows by a few coloured lights: which colours, and the APA102's protocol. Pure but for `Ring`.

APA102 (data sheet, "Cascading data structure"): 32 zero bits, then for each light `111` and 5 bits of brightness, blue,
green, red, then at least half a clock for each light to push the last one's data through.
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edge.satellite import Phase

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255 each."""
Face = Literal["idle", "listening", "thinking", "speaking", "muted", "missing"]

MAX_LIGHTS = 64
BRIGHTNESS = 8
"""Of 31: enough by day, and not a lamp at night."""
SPI_HZ = 1_000_000
_SET_SPEED = 0x40046B04
"""`SPI_IOC_WR_MAX_SPEED_HZ` of <linux/spi/spidev.h>."""

_DARK: Colour = (0, 0, 0)
_COLOURS: dict[Face, Colour] = {
    "listening": (0, 90, 255),
    "thinking": (255, 255, 255),
    "speaking": (0, 200, 60),
    "muted": (255, 0, 0),
    "missing": (255, 110, 0),
}


def face_of(phase: Phase, *, hub_is_there: bool, hears: bool) -> Face:
    """What is worth showing. A mute is shown before all else, for it is a promise; what is missing only at rest."""
    if phase == "idle" and not (hub_is_there and hears):
        return "missing"
    return phase


def colours(face: Face, at_s: float, count: int) -> tuple[Colour, ...]:
    """The `count` lights of a face at `at_s` seconds after it began.

    Listening and muted stand still; thinking goes round once a second; speaking swells; what is missing blinks every
    three seconds; idle is dark.
    """
    if face == "idle":
        return (_DARK,) * count
    colour = _COLOURS[face]
    if face == "thinking":
        lit = int(at_s * count) % count
        return tuple(colour if each == lit else _DARK for each in range(count))
    if face == "speaking":
        return (_dimmed(colour, 0.55 + 0.45 * math.sin(2 * math.pi * at_s)),) * count
    if face == "missing":
        return (colour if at_s % 3.0 < 0.3 else _DARK,) * count
    if face == "muted":
        return (_dimmed(colour, 0.4),) * count
    return (colour,) * count


def apa102(lights: Sequence[Colour]) -> bytes:
    """What the wire carries for these lights, the first of the chain first."""
    body = b"".join(bytes((0xE0 | BRIGHTNESS, blue, green, red)) for red, green, blue in lights)
    return bytes(4) + body + b"\xff" * max(4, len(lights) // 16 + 1)


class Ring:
    """A chain of APA102 behind an SPI device of the kernel. Raises `OSError`."""

    def __init__(self, device: Path, count: int) -> None:
        self.count = min(count, MAX_LIGHTS)
        self._file = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
        self._shown: tuple[Colour, ...] | None = None
        try:
            fcntl.ioctl(self._file, _SET_SPEED, SPI_HZ.to_bytes(4, "little"))
        except OSError:
            if str(device).startswith("/dev/spidev"):
                self.close()
                raise

    def show(self, lights: tuple[Colour, ...]) -> None:
        """Nothing is sent when it shows them already."""
        if lights != self._shown:
            os.write(self._file, apa102(lights))
            self._shown = lights

    def close(self) -> None:
        """Give the device back, as it shines."""
        os.close(self._file)


def _dimmed(colour: Colour, factor: float) -> Colour:
    red, green, blue = (round(part * factor) for part in colour)
    return red, green, blue
