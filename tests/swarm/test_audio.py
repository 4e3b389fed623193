from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from swarm.audio import (
    SILENCE_DBFS,
    Resampler,
    duration_s,
    gain_of_volume,
    level_dbfs,
    read_wav,
    resampled,
    scaled,
    write_wav,
)
from swarm.errors import AudioError


def tone(hz: float, seconds: float, rate: int, amplitude: float = 0.5) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def pcm_of(samples: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bytes:
    return np.rint(samples * 32767).astype("<i2").tobytes()


def loudest_hz(pcm: bytes, rate: int = 16_000) -> float:
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (8_000, 1), (44_100, 2), (96_000, 2), (48_000, 6)])
def test_every_width_rate_and_channel_count_becomes_16_khz_pcm(subtype: str, rate: int, channels: int) -> None:
    file = io.BytesIO()
    samples = np.repeat(tone(440, 0.5, rate)[:, None], channels, axis=1)
    soundfile.write(file, samples, rate, format="WAV", subtype=subtype)
    pcm = read_wav(file.getvalue())
    assert duration_s(pcm) == pytest.approx(0.5, abs=0.002)
    assert loudest_hz(pcm) == pytest.approx(440, abs=4)
    assert level_dbfs(pcm) == pytest.approx(-9.03, abs=0.3)


def test_sixteen_bit_mono_at_16_khz_is_read_unchanged(tmp_path: Path) -> None:
    pcm = np.arange(-32768, 32767, 7, dtype="<i2").tobytes()
    path = tmp_path / "in.wav"
    path.write_bytes(write_wav(pcm))
    read = np.frombuffer(read_wav(path), dtype="<i2").astype(int)
    assert np.abs(read - np.frombuffer(pcm, dtype="<i2")).max() <= 1


def test_a_recording_that_is_too_long_is_refused_by_its_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "two_hours.wav"
    size = 2 * 3600 * 16_000 * 2
    header = bytearray(write_wav(b""))
    header[4:8], header[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(header)
        file.truncate(size + 44)
    with pytest.raises(AudioError, match=r"two_hours\.wav is 7200 s long; at most 300 s"):
        read_wav(path)


def test_a_longer_bound_can_be_asked_for() -> None:
    data = write_wav(bytes(2 * 16_000 * 3))
    assert duration_s(read_wav(data, max_s=3)) == pytest.approx(3)
    with pytest.raises(AudioError, match="3 s long; at most 2 s"):
        read_wav(data, max_s=2)


def test_a_truncated_recording_is_told_by_how_much() -> None:
    whole = write_wav(pcm_of(tone(440, 2, 16_000)))
    with pytest.raises(AudioError, match=r"cut off: its header promises 2\.00 s, 1\.00 s"):
        read_wav(whole[: 44 + 32_000])


def test_a_streamed_header_of_unknown_length_is_no_promise() -> None:
    data = bytearray(write_wav(pcm_of(tone(440, 1, 16_000))))
    for unknown in (b"\xff\xff\xff\xff", b"\x00\xf0\xff\x7f"):
        data[4:8] = data[40:44] = unknown
        assert duration_s(read_wav(bytes(data))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (write_wav(b""), "holds no audio"),
        (b"<html>not audio</html>" * 50, "cannot be read as audio"),
        (b"RIFF\x00\x00\x00\x00WAVE", "cannot be read as audio"),
        (write_wav(bytes(100))[:30], "cannot be read as audio"),
        (write_wav(bytes(100), rate=100), "no recording of speech"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        read_wav(data)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nowhere\.wav: No such file"):
        read_wav(tmp_path / "nowhere.wav")


def test_samples_that_are_no_numbers_become_silence_or_full_scale() -> None:
    file = io.BytesIO()
    samples = np.array([np.nan, np.inf, -np.inf, 0.5] * 400, dtype=np.float32)
    soundfile.write(file, samples, 16_000, format="WAV", subtype="FLOAT")
    read = np.frombuffer(read_wav(file.getvalue()), dtype="<i2")
    assert read[0] == 0
    assert set(np.unique(read)) <= {0, 32767, -32767, 16384, 16383}


def test_written_wav_says_its_rate() -> None:
    with wave.open(io.BytesIO(write_wav(b"\x01\x00\x02\x00", 22_050))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (22_050, 1, 2)
        assert file.readframes(9) == b"\x01\x00\x02\x00"


@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(48_000, 16_000), (44_100, 16_000), (22_050, 48_000), (16_000, 16_000)]
)
def test_resampling_in_chunks_gives_the_same_as_at_once(from_rate: int, to_rate: int) -> None:
    whole = pcm_of(tone(700, 1.0, from_rate))
    resampler = Resampler(from_rate, to_rate)
    step = 2 * (from_rate // 50)
    chunks = [resampler.feed(whole[i : i + step]) for i in range(0, len(whole), step)]
    streamed = b"".join(chunks) + resampler.finish()
    at_once = resampled(whole, from_rate, to_rate)
    assert len(streamed) == len(at_once) == 2 * to_rate
    difference = np.frombuffer(streamed, dtype="<i2").astype(int) - np.frombuffer(at_once, dtype="<i2")
    assert np.abs(difference).max() <= 4
    assert loudest_hz(streamed, to_rate) == pytest.approx(700, abs=2)


def test_scaling_clips_at_full_scale() -> None:
    pcm = np.array([100, -100, 30_000, -30_000], dtype="<i2").tobytes()
    assert np.frombuffer(scaled(pcm, 2.0), dtype="<i2").tolist() == [200, -200, 32767, -32768]
    assert scaled(pcm, 1.0) == pcm
    assert scaled(pcm, 0.0) == bytes(8)


def test_volume_runs_from_silent_to_unchanged_in_even_steps() -> None:
    assert (gain_of_volume(0), gain_of_volume(-5)) == (0.0, 0.0)
    assert gain_of_volume(100) == gain_of_volume(250) == 1.0
    assert gain_of_volume(50) == pytest.approx(0.1)


def test_level_is_decibels_below_full_scale() -> None:
    assert level_dbfs(b"") == level_dbfs(bytes(640)) == SILENCE_DBFS
    assert level_dbfs(np.full(320, 32767, dtype="<i2").tobytes()) == pytest.approx(0, abs=0.01)
    assert level_dbfs(np.full(320, 3277, dtype="<i2").tobytes()) == pytest.approx(-20, abs=0.01)
