"""Finding sound devices through PortAudio, and how they can be opened."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Literal

from swarm.errors import AudioDeviceError

Kind = Literal["input", "output"]

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


def stream_opened() -> None:
    """Count an open stream: PortAudio's list of devices must not be renewed under it."""
    global _open_streams
    with _lock:
        _open_streams += 1


def stream_closed() -> None:
    """Count it off again."""
    global _open_streams
    with _lock:
        _open_streams -= 1


def look_again() -> None:
    """Renew PortAudio's list of devices, which it makes once, unless one of ours is open."""
    sound = sound_library()
    with _lock:
        if _open_streams == 0:
            sound._terminate()
            sound._initialize()
