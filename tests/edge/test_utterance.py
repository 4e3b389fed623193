"""Endpointing over real speech and the real voice activity detector."""

from __future__ import annotations

import pytest

from edge.endpointing import Ended, EndpointSettings, Paused
from edge.utterance import Utterance
from edge.voice_activity import SileroVoiceActivity
from tests.speech import SPEAKERS, NoiseKind, say, silence, trimmed, with_noise

COMMANDS = (
    "turn on the lamp",
    "turn off the kitchen lights",
    "set the thermostat to twenty one degrees",
    "set the brightness to fifty percent",
    "stop",
    "yes",
    "no",
)


def hear(command: str, voice: str, noise: tuple[NoiseKind, float] | None = None) -> tuple[float, str, float]:
    """Speak it and take a hub that knows at each pause whether all was said. How long after the true end of speech the
    utterance ended, why, and the error of where it thinks that speech ended; in seconds."""
    spoken = trimmed(say(command, voice))
    true_end = 0.5 + len(spoken) / 32_000
    pcm = silence(0.5) + spoken + silence(5)
    if noise is not None:
        pcm = with_noise(pcm, noise[1], noise[0])
    utterance = Utterance("u", SileroVoiceActivity(), EndpointSettings(), preroll=b"", position=0)
    for start in range(0, len(pcm), 640):
        now = (start + 640) / 32_000
        events = utterance.feed(pcm[start : start + 640])
        if any(isinstance(event, Paused) for event in events):
            # The burst of a last "p" or "k" may come after the pause began; the word is understood without it.
            events += utterance.hint("complete" if now > true_end - 0.1 else "incomplete", command)
        for event in events:
            if isinstance(event, Ended):
                return now - true_end, event.reason, utterance.speech_end / 16_000 - true_end
    raise AssertionError("never ended")


@pytest.mark.parametrize("voice", SPEAKERS)
def test_clean_commands_end_soon_after_they_were_said_and_never_before(voice: str) -> None:
    for command in COMMANDS:
        delay_s, reason, error_s = hear(command, voice)
        assert reason == "silence", command
        assert 0.0 < delay_s < 0.35, command
        assert abs(error_s) < 0.2, command


@pytest.mark.parametrize("noise", [("white", 10), ("music", 15), ("television", 15)])
def test_noise_neither_cuts_a_command_nor_holds_it_open(noise: tuple[NoiseKind, float]) -> None:
    for command in COMMANDS:
        delay_s, reason, _ = hear(command, "en-us", noise)
        assert reason == "silence", command
        assert 0.0 < delay_s < 0.7, command


def test_preroll_of_less_than_what_primes_is_no_problem() -> None:
    utterance = Utterance("u", SileroVoiceActivity(), EndpointSettings(), preroll=silence(0.1), position=1_600)
    assert utterance.speech_end == pytest.approx(1_600 - 64 - 3 * 512)
