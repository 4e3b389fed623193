from __future__ import annotations

import pytest

from edge.wake_word import REFRACTORY_S, MicroWakeDetector, cutoff_for
from swarm.engine import Detection
from swarm.errors import EngineUnavailable
from tests.speech import noise_of, say, silence, trimmed

NABU = ("en-us", "en-us+m3", "en-gb-x-rp", "flite:slt", "flite:rms")


def detections(detector: MicroWakeDetector, pcm: bytes, step: int = 640) -> list[tuple[float, Detection]]:
    """Each detection with the time, in seconds, by which it came."""
    found = []
    for start in range(0, len(pcm), step):
        if (detection := detector.process(pcm[start : start + step])) is not None:
            found.append(((start + step) / 32_000, detection))
    return found


@pytest.mark.parametrize("voice", NABU)
def test_wake_word_is_heard_once_and_soon_after_it_was_said(voice: str) -> None:
    word = trimmed(say("okay nabu", voice))
    found = detections(MicroWakeDetector(["okay_nabu"]), silence(1) + word + silence(2))
    assert [detection.wake_word for _, detection in found] == ["okay_nabu"]
    at, detection = found[0]
    assert detection.phrase == "okay nabu"
    assert 0.8 < detection.probability <= 1.0
    assert -0.2 < at - (1 + len(word) / 32_000) < 0.3


def test_several_wake_words_share_one_detector_and_each_is_told_apart() -> None:
    detector = MicroWakeDetector(["okay_nabu", "alexa", "hey_mycroft", "hey_jarvis"])
    words = (("okay nabu", "en-us"), ("alexa", "flite:slt"), ("hey mycroft", "flite:slt"), ("hey jarvis", "flite:awb"))
    pcm = b"".join(silence(1.5) + trimmed(say(word, voice)) + silence(1.5) for word, voice in words)
    assert [detection.wake_word for _, detection in detections(detector, pcm)] == [
        "okay_nabu",
        "alexa",
        "hey_mycroft",
        "hey_jarvis",
    ]


def test_audio_may_come_in_pieces_of_any_size() -> None:
    pcm = silence(1) + say("okay nabu", "en-us") + silence(1)
    found = {step: detections(MicroWakeDetector(["okay_nabu"]), pcm, step) for step in (2, 514, 640, 2560, len(pcm))}
    assert {len(each) for each in found.values()} == {1}
    assert len({each[0][1] for each in found.values()}) == 1


def test_refractory_time_is_counted_in_audio() -> None:
    word = trimmed(say("okay nabu", "en-us"))
    gap_s = REFRACTORY_S - len(word) / 32_000
    twice = silence(1) + word + silence(gap_s - 0.5) + word + silence(2)
    thrice = twice + word + silence(1)
    assert len(detections(MicroWakeDetector(["okay_nabu"]), twice)) == 1
    assert len(detections(MicroWakeDetector(["okay_nabu"]), thrice)) == 2


def test_other_speech_silence_and_noise_wake_nobody() -> None:
    detector = MicroWakeDetector(["okay_nabu", "alexa"])
    for pcm in (silence(3), noise_of("white", 5), noise_of("music", 5), noise_of("television", 20)):
        assert detections(detector, pcm) == []


def test_higher_sensitivity_hears_what_the_default_does_not() -> None:
    pcm = silence(1) + say("okay nabu", "en-us+f2") + silence(1)
    assert detections(MicroWakeDetector(["okay_nabu"], 0.5), pcm) == []
    assert len(detections(MicroWakeDetector(["okay_nabu"], 1.0), pcm)) == 1


@pytest.mark.parametrize(
    ("sensitivity", "cutoff"), [(0.0, 0.99), (0.25, 0.92), (0.5, 0.85), (1.0, 0.425), (-3, 0.99), (9, 0.425)]
)
def test_sensitivity_moves_the_models_cutoff(sensitivity: float, cutoff: float) -> None:
    assert cutoff_for(0.85, sensitivity) == pytest.approx(cutoff)


def test_reset_forgets_half_a_wake_word() -> None:
    word = trimmed(say("okay nabu", "en-us"))
    half = len(word) // 4 * 2
    detector = MicroWakeDetector(["okay_nabu"])
    assert detections(detector, silence(1) + word[:half]) == []
    detector.reset()
    assert detections(detector, word[half:] + silence(1)) == []
    assert len(detections(detector, silence(1) + word + silence(1))) == 1


def test_an_unknown_wake_word_is_told_with_those_that_are_known() -> None:
    with pytest.raises(EngineUnavailable, match="called hey_computer") as caught:
        MicroWakeDetector(["okay_nabu", "hey_computer"])
    assert "okay_nabu" in caught.value.hint
