"""The audio clock and the earcons."""

from __future__ import annotations

import numpy as np
import pytest

from edge.audio_clock import AudioClock
from edge.earcons import _TUNES, earcon
from edge.satellite import Cue


def test_age_is_counted_from_capture_though_audio_arrives_late() -> None:
    clock = AudioClock()
    clock.arrived(320, now=10.02)
    clock.arrived(640, now=10.04)
    clock.arrived(960, now=10.5)  # the loop was busy: captured at 10.06
    assert clock.ms_ago(960, now=10.5) == pytest.approx(440, abs=1)
    assert clock.ms_ago(320, now=10.5) == pytest.approx(480, abs=1)


def test_nothing_is_younger_than_now() -> None:
    clock = AudioClock()
    assert clock.ms_ago(0, now=5.0) == 0.0
    clock.arrived(16_000, now=5.0)
    assert clock.ms_ago(32_000, now=5.0) == 0.0


def test_faster_than_real_time_counts_in_audio() -> None:
    clock = AudioClock()
    for second in range(1, 100):
        clock.arrived(second * 16_000, now=50.0 + second / 1000)
    assert clock.ms_ago(98 * 16_000, now=50.099) == pytest.approx(1000, abs=1)


def test_a_sound_card_that_runs_slow_does_not_make_audio_look_old() -> None:
    clock = AudioClock()
    for frame in range(1, 200_000):
        clock.arrived(frame * 320, now=frame * 0.02 * 1.0002)
    assert clock.ms_ago(199_999 * 320, now=199_999 * 0.02 * 1.0002) < 1


@pytest.mark.parametrize("cue", list(_TUNES))
@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_earcons_are_short_soft_and_without_clicks(cue: Cue, rate: int) -> None:
    samples = np.frombuffer(earcon(cue, rate), dtype="<i2").astype(int)
    assert 0.05 < len(samples) / rate < 0.8
    assert 2000 < np.abs(samples).max() < 32767 * 10 ** (-15 / 20)
    assert abs(samples[0]) < 50
    assert abs(samples[-1]) < 50
    assert np.abs(samples[: rate // 500]).max() < 1500
