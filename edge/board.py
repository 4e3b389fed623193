"""The button and the lights of a sound board that sits on a Raspberry Pi's pins.

A short press asks for attention: it ends what is being spoken, else it is push to talk. Held, it mutes the microphone,
which is then closed, and held again it opens it. The lights show what the satellite does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edge.lights import Face, Ring, colours, face_of
from edge.satellite import Phase
from swarm.errors import AudioDeviceError

HOLD_S = 1.0
BOUNCE_S = 0.02
FRAME_S = 0.1
"""Between two looks at what the satellite does; each costs some microseconds, and only what changed is sent."""
MAX_PRESSES = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Board:
    """What of a board is neither microphone nor speaker."""

    button: int | None
    """GPIO line, low while it is pressed."""
    lights: int = 0
    """How many APA102 there are."""
    lights_at: Path = Path("/dev/spidev0.1")


BOARDS = {
    "respeaker-2mic": Board(button=17, lights=3),  # Seeed's schematic: button GPIO17, lights SPI0 CE1
    "voice-bonnet": Board(button=17),  # Adafruit's; its three lights are on lines of their own (5, 6), not on SPI
}


class Seen(Protocol):
    """The satellite, as far as a board shows and moves it."""

    @property
    def phase(self) -> Phase: ...  # noqa: D102
    @property
    def connected(self) -> bool: ...  # noqa: D102
    @property
    def hearing(self) -> bool: ...  # noqa: D102
    @property
    def muted(self) -> bool: ...  # noqa: D102
    def listen(self) -> None: ...  # noqa: D102
    def stop_speaking(self) -> None: ...  # noqa: D102


async def serve_board(
    board: Board, satellite: Seen, set_muted: Callable[[bool], Awaitable[None]], *, factory: Any = None
) -> None:
    """Serve button and lights until cancelled. What of them is not there is told once, and the rest works.

    `factory` is gpiozero's pin factory; None takes the machine's own.
    """
    presses: asyncio.Queue[bool] = asyncio.Queue(MAX_PRESSES)
    with ExitStack() as closing:
        ring: Ring | None = None
        if board.lights:
            try:
                ring = Ring(board.lights_at, board.lights)
                closing.callback(ring.close)
                closing.callback(_darken, ring)
            except OSError as error:
                log.warning("the lights of the sound board cannot be used: %s", error)
        if board.button is not None:
            try:
                closing.callback(_button(board.button, presses, factory).close)
            except AudioDeviceError as error:
                log.warning("the button of the sound board cannot be used: %s", error.for_log())
        async with asyncio.TaskGroup() as both:
            both.create_task(_obey(presses, satellite, set_muted))
            if ring is not None:
                both.create_task(_shine(ring, satellite))


async def _obey(presses: asyncio.Queue[bool], satellite: Seen, set_muted: Callable[[bool], Awaitable[None]]) -> None:
    while True:
        held = await presses.get()
        if held:
            await set_muted(not satellite.muted)
        elif satellite.phase == "speaking":
            satellite.stop_speaking()
        else:
            satellite.listen()


async def _shine(ring: Ring, satellite: Seen) -> None:
    shown: Face = "idle"
    since = time.monotonic()
    while True:
        face = face_of(satellite.phase, hub_is_there=satellite.connected, hears=satellite.hearing)
        if face != shown:
            shown, since = face, time.monotonic()
        try:
            ring.show(colours(face, time.monotonic() - since, ring.count))
        except OSError as error:
            log.warning("the lights of the sound board do not answer any more: %s", error)
            return
        await asyncio.sleep(FRAME_S)


def _darken(ring: Ring) -> None:
    try:
        ring.show(colours("idle", 0.0, ring.count))
    except OSError as error:
        log.debug("the lights stay as they are: %s", error)


def _button(line: int, presses: asyncio.Queue[bool], factory: Any) -> Any:
    """A gpiozero button that puts True for a press that is held and False for a short one. Raises
    `AudioDeviceError`."""
    try:
        import gpiozero
    except ImportError as error:
        raise AudioDeviceError("gpiozero is not installed", hint="pip install 'mycoswarm[edge]'") from error
    loop = asyncio.get_running_loop()
    try:
        button = gpiozero.Button(line, bounce_time=BOUNCE_S, hold_time=HOLD_S, pin_factory=factory)
    except Exception as error:  # each pin library has errors of its own, and none of them may end the node
        raise AudioDeviceError(f"GPIO {line}: {error}", hint="is this machine a Raspberry Pi?") from error
    was_held = False

    def put(held: bool) -> None:
        if not presses.full():
            presses.put_nowait(held)

    def tell(held: bool) -> None:
        loop.call_soon_threadsafe(put, held)

    def on_held() -> None:
        nonlocal was_held
        was_held = True
        tell(True)

    def on_released() -> None:
        nonlocal was_held
        if not was_held:
            tell(False)
        was_held = False

    button.when_held = on_held
    button.when_released = on_released
    return button
