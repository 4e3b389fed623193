"""What the doctor looks at in a satellite's parts."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

from edge.sound_device import find_device, look_again
from edge.sources import Microphone
from swarm.checks import MicrophoneSample, Speaker
from swarm.config import Config
from swarm.engine import RATE

SAMPLE_S = 1.0
SPEECH_RATE = 22_050
"""What the voices that come with packages deliver."""


class Examination:
    """Looks at this machine's sound devices and models. Methods block; they may be called from several threads."""

    def __init__(self) -> None:
        self._sound = threading.Lock()  # PortAudio must not be opened by two threads at once

    def hear_microphone(self, device: str) -> MicrophoneSample:
        """Listen for a second; raises `AudioDeviceError`."""
        with self._sound:
            look_again()
            found = find_device(device, "input", RATE)
            return MicrophoneSample(found.name, found.rate, asyncio.run(_hear(device)))

    def find_speaker(self, device: str) -> Speaker:
        """The speaker that would play; raises `AudioDeviceError`."""
        with self._sound:
            look_again()
            found = find_device(device, "output", SPEECH_RATE)
        return Speaker(found.name, found.rate)

    def load_listening_models(self, config: Config) -> None:
        """Load and run what listens all the time; raises `EngineUnavailable`."""
        from edge.voice_activity import SileroVoiceActivity
        from edge.wake_word import MicroWakeDetector

        detector = MicroWakeDetector(config.satellite.wake_words, config.satellite.sensitivity)
        detector.process(bytes(round(2 * RATE * SAMPLE_S)))
        activity = SileroVoiceActivity()
        activity.probability(bytes(activity.chunk_bytes))


async def _hear(device: str) -> bytes:
    heard = bytearray()
    async with aclosing(Microphone(device).frames()) as frames:
        async for frame in frames:
            heard += frame
            if len(heard) >= round(2 * RATE * SAMPLE_S):
                break
    return bytes(heard)
