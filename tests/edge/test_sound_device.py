"""The real PortAudio path, through PulseAudio's null sink. Only what is heard is asserted, never when."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing

import numpy as np
import pytest

from edge.sinks import Speaker
from edge.sound_device import find_device, in_sound_thread, look_again
from edge.sources import FRAME_BYTES, Microphone
from swarm.audio import level_dbfs
from swarm.errors import AudioDeviceError
from tests.edge.pulse import pulse_server


@pytest.fixture
def pulse(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    with pulse_server(monkeypatch) as server:
        yield server


def tone(hz: float, seconds: float, rate: int) -> bytes:
    wave = 12_000 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return wave.astype("<i2").tobytes()


def strength_db(pcm: bytes, hz: float) -> float:
    """Level of one frequency in 16 kHz pcm."""
    samples = np.frombuffer(pcm, dtype="<i2") / 32768
    return float(
        20 * np.log10(abs(np.mean(samples * np.exp(-2j * np.pi * hz * np.arange(len(samples)) / 16_000))) + 1e-9)
    )


async def until_heard(frames: object, hz: float) -> None:
    async for frame in frames:  # type: ignore[attr-defined]
        assert len(frame) == FRAME_BYTES
        if strength_db(frame, hz) > -20:
            return


def test_microphone_hears_what_the_speaker_plays_and_silence_once_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def check() -> None:
        speaker, started = Speaker(), asyncio.Event()
        async with asyncio.timeout(15), aclosing(Microphone().frames()) as frames:
            await anext(frames)
            await speaker.start(22_050, lambda at: started.set())
            playing = asyncio.create_task(speaker.write(tone(600, 60, 22_050)))
            await started.wait()
            await until_heard(frames, 600)
            playing.cancel()
            speaker.stop()
            async for frame in frames:
                if level_dbfs(frame) < -80:
                    break
            # The same device again, in another rate, to its end.
            await speaker.start(16_000, lambda at: None)
            playing = asyncio.create_task(speaker.write(tone(900, 1.0, 16_000)))
            await until_heard(frames, 900)
            await playing
            await speaker.drain()
        await speaker.close()

    # On a busy machine a null sink stalls as no sound card does; then once more with a new server.
    for _ in range(3):
        with pulse_server(monkeypatch), contextlib.suppress(TimeoutError):
            look_again()
            asyncio.run(check())
            return
    pytest.skip("PulseAudio's null sink stalled three times: this machine is too busy to play to it")


def test_a_microphone_that_is_unplugged_is_an_error_that_names_it(pulse: subprocess.Popen[bytes]) -> None:
    async def check() -> None:
        async with asyncio.timeout(40), aclosing(Microphone("pulse").frames()) as frames:
            await anext(frames)
            pulse.kill()
            with pytest.raises(AudioDeviceError, match='the microphone "pulse" went away'):
                async for _ in frames:
                    pass

    asyncio.run(check())


def test_a_device_that_is_not_there_is_told_with_those_that_are(pulse: object) -> None:
    look_again()
    with pytest.raises(AudioDeviceError, match='no speaker is called "bluetooth"') as caught:
        find_device("bluetooth", "output", 16_000)
    assert "pulse" in caught.value.hint
    assert find_device("PULSE", "input", 16_000).name == "pulse"


def test_a_sound_library_that_hangs_is_not_waited_for() -> None:
    answered = threading.Event()

    async def check() -> None:
        with pytest.raises(AudioDeviceError, match="the speaker does not answer"):
            await in_sound_thread(answered.wait, "the speaker", timeout_s=0.01)
        with pytest.raises(AudioDeviceError, match="broken"):
            await in_sound_thread(fail, "the speaker")
        assert await in_sound_thread(lambda: 7, "the speaker") == 7

    asyncio.run(check())
    answered.set()


def fail() -> None:
    raise AudioDeviceError("broken")


def test_without_a_sound_card_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoDevices:
        PortAudioError = RuntimeError

        @staticmethod
        def query_devices() -> list[object]:
            return []

    monkeypatch.setitem(sys.modules, "sounddevice", NoDevices)
    with pytest.raises(AudioDeviceError, match="there is no microphone"):
        find_device("auto", "input", 16_000)


def test_without_portaudio_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(AudioDeviceError, match="PortAudio library not found") as caught:
        find_device("auto", "output", 16_000)
    assert "apt install libportaudio2" in caught.value.hint
