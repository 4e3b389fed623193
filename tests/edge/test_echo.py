"""The own voice is taken out of what the microphone hears: synthetic speech in a synthetic room."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import numpy.typing as npt
import pytest

from edge import echo as echo_module
from edge import sinks
from edge.echo import FRAME_BYTES, EchoCanceller
from edge.sinks import _Output
from edge.sources import FRAME_BYTES as SOURCE_FRAME_BYTES
from edge.wake_word import MicroWakeDetector
from swarm.audio import resampled
from swarm.engine import RATE
from swarm.errors import AudioDeviceError
from tests.speech import say, silence

ANSWER = (
    "It is a quarter past eight in the evening and the kitchen lamp is on. Tomorrow it will rain in the morning, and "
    "the sun comes out at noon, with a light wind from the west. Your pizza timer has four minutes left."
)
Samples = npt.NDArray[np.float64]


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, dtype="<i2").astype(np.float64)


def _pcm(samples: Samples) -> bytes:
    return np.clip(samples, -32768, 32767).astype("<i2").tobytes()


def _loudness(samples: Samples) -> float:
    return 20 * math.log10(math.sqrt(float(np.mean(samples**2))) + 1e-9)


def _in_a_room(far: Samples) -> Samples:
    """50 ms away, with reverberation that decays by 60 dB in 0.4 s."""
    random = np.random.default_rng(3)
    count = round(0.24 * RATE)
    response = random.standard_normal(count) * np.exp(-np.arange(count) / (0.06 * RATE))
    response = np.concatenate([np.zeros(round(0.05 * RATE)), response / math.sqrt(float(np.sum(response**2)))])
    return np.convolve(far, response)[: len(far)] + random.standard_normal(len(far)) * 15


def _cleaned(canceller: EchoCanceller, far: bytes, near: bytes) -> bytes:
    heard = []
    for start in range(0, len(near) - FRAME_BYTES + 1, FRAME_BYTES):
        canceller.played(far[start : start + FRAME_BYTES], RATE)
        heard.append(canceller.cleaned(near[start : start + FRAME_BYTES]))
    return b"".join(heard)


def _wakes(pcm: bytes) -> list[float]:
    detector = MicroWakeDetector(("okay_nabu",), 0.5)
    starts = range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES)
    return [start / 2 / RATE for start in starts if detector.process(pcm[start : start + FRAME_BYTES]) is not None]


@pytest.fixture
def canceller() -> EchoCanceller:
    try:
        return EchoCanceller()
    except AudioDeviceError as error:
        pytest.skip(error.for_log())


def test_wake_word_is_heard_through_a_voice_that_is_three_times_as_loud(canceller: EchoCanceller) -> None:
    far = _samples(say(ANSWER, "en-gb", speed=150))
    echo = _in_a_room(far)
    word = _samples(say("okay nabu"))
    word *= 10 ** ((_loudness(echo) - 10 - _loudness(word)) / 20)
    at = 8 * RATE
    near = echo.copy()
    near[at : at + len(word)] += word
    deaf, hearing = _wakes(_pcm(near)), _wakes(_cleaned(canceller, _pcm(far), _pcm(near)))
    assert deaf == [], "it needs no canceller: the test is too easy"
    assert len(hearing) == 1 and 8.0 < hearing[0] < 8.0 + len(word) / RATE + 0.75


def test_echo_is_much_quieter_once_the_room_is_known(canceller: EchoCanceller) -> None:
    far = _samples(say(ANSWER))
    echo = _in_a_room(far)
    left = _samples(_cleaned(canceller, _pcm(far), _pcm(echo)))
    known = slice(5 * RATE, 8 * RATE)
    assert _loudness(echo[known]) - _loudness(left[known]) > 10


def test_nothing_is_touched_while_nothing_is_played(canceller: EchoCanceller) -> None:
    speech = say("turn on the kitchen lamp")
    whole = len(speech) - len(speech) % FRAME_BYTES
    assert _cleaned(canceller, bytes(len(speech)), speech) == speech[:whole]
    assert FRAME_BYTES == SOURCE_FRAME_BYTES


def test_what_was_played_to_a_closed_microphone_is_forgotten(canceller: EchoCanceller) -> None:
    speech = say("turn on the kitchen lamp")[: 50 * FRAME_BYTES]
    canceller.played(say(ANSWER), RATE)
    canceller.begin()
    assert canceller.cleaned(speech[:FRAME_BYTES]) == speech[:FRAME_BYTES]
    canceller.played(bytes(10 * RATE * 2), RATE)
    assert len(canceller._far) <= echo_module.AHEAD_S * RATE * 2, "bounded also when nobody hears"


def test_speaker_tells_what_its_device_took(canceller: EchoCanceller) -> None:
    told: list[tuple[bytes, int]] = []
    canceller.played = lambda pcm, rate: told.append((pcm, rate))  # type: ignore[method-assign]

    async def check() -> None:
        output = _Output(0.04, canceller)
        output.rate, output._channels = 22_050, 2
        await output.put(silence(0.01)[:4] + b"\1\0\2\0", 1.0)
        taken = bytearray(24)
        output._fill(taken, 6, None, None)
        assert told == [(b"\0\0\0\0\1\0\2\0" + bytes(4), 22_050)], "one channel, and the silence that fills it up"

    asyncio.run(check())


def test_other_rates_are_brought_to_that_of_the_microphone(canceller: EchoCanceller) -> None:
    far = say(ANSWER)
    echo = _in_a_room(_samples(far))
    canceller_input = resampled(far, RATE, 48_000)
    heard = []
    near = _pcm(echo)
    for start in range(0, len(near) - FRAME_BYTES + 1, FRAME_BYTES):
        canceller.played(canceller_input[3 * start : 3 * start + 3 * FRAME_BYTES], 48_000)
        heard.append(canceller.cleaned(near[start : start + FRAME_BYTES]))
    left = _samples(b"".join(heard))
    known = slice(5 * RATE, 8 * RATE)
    assert _loudness(echo[known]) - _loudness(left[known]) > 6


def test_a_boards_speaker_is_opened_in_the_rate_of_its_microphone(
    canceller: EchoCanceller, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def find_device(wanted: str, kind: str, rate: int) -> None:
        asked.append((wanted, rate))
        raise AudioDeviceError("there is none")

    monkeypatch.setattr(sinks, "find_device", find_device)
    monkeypatch.setattr(sinks, "look_again", lambda: None)

    async def check() -> None:
        for echo in (canceller, None):
            with pytest.raises(AudioDeviceError):
                sinks._Output(0.04, echo).open("respeaker-2mic", 22_050)

    asyncio.run(check())
    assert asked == [("respeaker-2mic", RATE), ("respeaker-2mic", 22_050)]
