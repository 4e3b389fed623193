"""Finding sound devices through PortAudio, and how they can be opened."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from swarm.errors import AudioDeviceError

Kind = Literal["input", "output"]

OPEN_S = 5.0
CLOSE_S = 1.0

T = TypeVar("T")

log = logging.getLogger(__name__)

_WORD: dict[Kind, str] = {"input": "microphone", "output": "speaker"}
_open_streams = 0
_lock = threading.Lock()


@dataclass(frozen=True)
class DeviceFormat:
    """How a device is opened: PortAudio's index (None: the system's choice), its rate and channel count."""

    index: int | None
    name: str
    rate: int
    channels: int


def sound_library() -> Any:
    """The `sounddevice` module. Raises `AudioDeviceError` where it or PortAudio is not installed."""
    try:
        import sounddevice
    except ImportError as error:
        raise AudioDeviceError(
            "the sounddevice package is not installed", hint="pip install 'mycoswarm[edge]'"
        ) from error
    except OSError as error:
        raise AudioDeviceError(
            f"sound devices cannot be used: {error}", hint="install PortAudio: apt install libportaudio2"
        ) from error
    return sounddevice


def find_device(wanted: str, kind: Kind, rate: int) -> DeviceFormat:
    """The device that `wanted` names, and a format that it takes, as near to mono in `rate` as it can.

    `wanted` is `auto` or a part of the device's name, in any case. Blocks for up to about a second: PortAudio looks at
    all devices. Raises `AudioDeviceError`.
    """
    sound = sound_library()
    word = _WORD[kind]
    try:
        devices = [device for device in sound.query_devices() if device[f"max_{kind}_channels"] > 0]
        if not devices:
            raise AudioDeviceError(f"there is no {word}", hint="plug one in; `arecord -l` and `aplay -l` list them")
        if wanted == "auto":
            device, index = sound.query_devices(kind=kind), None
        else:
            named = [device for device in devices if wanted.casefold() in device["name"].casefold()]
            if not named:
                there = ", ".join(str(device["name"]) for device in devices)
                raise AudioDeviceError(f'no {word} is called "{wanted}"', hint=f"there are: {there}")
            device, index = named[0], named[0]["index"]
        return _format_of(sound, device, index, kind, rate)
    except (sound.PortAudioError, ValueError) as error:
        raise AudioDeviceError(f"the {word} cannot be used: {error}", hint="is another program using it?") from error


def _format_of(sound: Any, device: dict[str, Any], index: int | None, kind: Kind, rate: int) -> DeviceFormat:
    check = sound.check_input_settings if kind == "input" else sound.check_output_settings
    own_rate = round(device["default_samplerate"])
    refusal: Exception | None = None
    for channels in (1, 2):
        for candidate in dict.fromkeys((rate, own_rate)):
            try:
                check(device=index, channels=channels, dtype="int16", samplerate=candidate)
            except (sound.PortAudioError, ValueError) as error:
                refusal = error
                continue
            return DeviceFormat(index, str(device["name"]), candidate, channels)
    raise AudioDeviceError(
        f'the {_WORD[kind]} "{device["name"]}" takes neither {rate} Hz nor {own_rate} Hz: {refusal}',
        hint="is another program using it?",
    )


async def in_sound_thread(work: Callable[[], T], what: str, *, timeout_s: float = OPEN_S) -> T:
    """The result of `work`, which may block in PortAudio, from a thread of its own.

    When a sound server dies PortAudio can hang for ever. So the wait is bounded, and the thread is none of the event
    loop's pool, whose threads are waited for at exit. Raises `AudioDeviceError` that names `what` after `timeout_s`.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def deliver(settle: Callable[[], None]) -> None:
        # RuntimeError: the loop was closed in the meantime, nobody waits any more
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: None if result.done() else settle())

    def run() -> None:
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 whatever it is, it is raised where the result is awaited
            caught = error
            deliver(lambda: result.set_exception(caught))
        else:
            deliver(lambda: result.set_result(value))

    threading.Thread(target=run, name="sound", daemon=True).start()
    try:
        async with asyncio.timeout(timeout_s):
            return await result
    except TimeoutError:
        raise AudioDeviceError(f"{what} does not answer", hint="is the sound server running?") from None


def open_stream(stream: Any) -> Any:
    """Start a new PortAudio stream; `close_stream` must follow. Blocks; raises PortAudio's error."""
    global _open_streams
    with _lock:
        _open_streams += 1
    try:
        stream.start()
    except BaseException:
        _close(stream)
        raise
    return stream


async def close_stream(stream: Any) -> None:
    """Close it, or give it up when PortAudio hangs in it."""
    try:
        await in_sound_thread(lambda: _close(stream), "the sound device", timeout_s=CLOSE_S)
    except AudioDeviceError:
        # It would hang at the process's exit again.
        atexit.unregister(sound_library()._exit_handler)
        log.warning("a sound device could not be closed and is given up")


def _close(stream: Any) -> None:
    global _open_streams
    stream.close(ignore_errors=True)
    with _lock:
        _open_streams -= 1


def look_again() -> None:
    """Renew PortAudio's list of devices, which it makes once, unless a stream is open: it would be closed."""
    sound = sound_library()
    with _lock:
        if _open_streams == 0:
            sound._terminate()
            sound._initialize()


def first_channel(pcm: bytes, channels: int) -> bytes:
    """The first of interleaved channels."""
    import numpy as np

    return np.frombuffer(pcm, dtype="<i2")[::channels].tobytes()
