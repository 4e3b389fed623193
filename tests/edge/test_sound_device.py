"""The real PortAudio path, through PulseAudio's null sink. Only what is heard is asserted, never when."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from edge.sound_device import find_device, in_sound_thread, look_again
from edge.sources import Microphone
from swarm.errors import AudioDeviceError
from tests.edge import hear_tone
from tests.edge.pulse import pulse_server


@pytest.fixture
def pulse(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    with pulse_server(monkeypatch) as server:
        yield server


def test_microphone_hears_what_the_speaker_plays_and_silence_once_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # On a busy machine a null sink stalls as no sound card does; then once more with a new server.
    for _ in range(3):
        with pulse_server(monkeypatch):
            try:
                hearing = subprocess.run(
                    [sys.executable, "-m", hear_tone.__name__], capture_output=True, text=True, timeout=30
                )
            except subprocess.TimeoutExpired:
                continue
        if hearing.returncode != os.EX_TEMPFAIL:
            assert hearing.returncode == 0, hearing.stderr
            assert hearing.stdout.splitlines() == ["heard 600 Hz", "heard silence", "heard 900 Hz", "closed"]
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
