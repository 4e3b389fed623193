from __future__ import annotations

import asyncio
import io
import os
from contextlib import aclosing
from pathlib import Path

import pytest

from edge.sound_device import DeviceFormat
from edge.sources import FRAME_BYTES, AudioSource, RecordingSource, StreamSource, _Capture
from swarm.errors import AudioError


async def taken(source: AudioSource, count: int = 10_000) -> list[bytes]:
    frames: list[bytes] = []
    async with asyncio.timeout(20), aclosing(source.frames()) as coming:
        async for frame in coming:
            frames.append(frame)
            if len(frames) == count:
                break
    return frames


def numbered(frames: int) -> bytes:
    return b"".join(number.to_bytes(2, "little") * (FRAME_BYTES // 2) for number in range(frames))


@pytest.mark.parametrize("burst", [1, 4])
def test_recording_comes_in_frames_the_last_filled_with_silence(burst: int) -> None:
    async def check() -> None:
        pcm = numbered(3)[:-100]
        source = RecordingSource(pcm, paced=False)
        source.burst_frames = burst
        frames = await taken(source)
        assert {len(frame) for frame in frames} == {FRAME_BYTES}
        assert b"".join(frames).rstrip(b"\0") == pcm.rstrip(b"\0")
        assert source.exhausted.is_set()

    asyncio.run(check())


def test_recording_may_be_followed_by_endless_silence() -> None:
    async def check() -> None:
        source = RecordingSource(numbered(2), paced=False, then_silence=True)
        frames = await taken(source, 50)
        assert frames[2:] == [bytes(FRAME_BYTES)] * 48
        assert source.exhausted.is_set()

    asyncio.run(check())


@pytest.mark.parametrize("burst", [1, 4])
def test_paced_recording_never_runs_ahead_of_its_clock(burst: int) -> None:
    async def check() -> None:
        now = asyncio.get_running_loop().time
        started = now()
        source = RecordingSource(numbered(12), clock=now)
        source.burst_frames = burst
        async with aclosing(source.frames()) as frames:
            count = 0
            async for _ in frames:
                count += 1
                # the loop's timers may ring early by their resolution
                assert now() - started >= count * 0.02 - 0.002

    asyncio.run(check())


def test_recording_waits_for_its_begin() -> None:
    async def check() -> None:
        begin = asyncio.Event()
        source = RecordingSource(numbered(2), paced=False, begin=begin)
        taking = asyncio.create_task(taken(source))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not taking.done()
        begin.set()
        assert len(await taking) == 2

    asyncio.run(check())


def test_pcm_from_a_pipe_is_taken_until_the_writer_closes_it() -> None:
    async def check() -> None:
        read_end, write_end = os.pipe()
        pcm = numbered(20) + b"half a frame"
        writer = asyncio.create_task(asyncio.to_thread(write_all, write_end, pcm))
        with os.fdopen(read_end, "rb") as file:
            frames = await taken(StreamSource(file))
        await writer
        assert b"".join(frames) == pcm[: 20 * FRAME_BYTES]

    asyncio.run(check())


def write_all(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def test_pcm_from_a_regular_file_is_taken_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "in.raw").write_bytes(numbered(5))

    async def check() -> None:
        with (tmp_path / "in.raw").open("rb") as file:
            assert b"".join(await taken(StreamSource(file))) == numbered(5)

    asyncio.run(check())


def test_what_is_no_open_file_is_an_audio_error() -> None:
    with pytest.raises(AudioError, match="cannot be read"):
        asyncio.run(taken(StreamSource(io.BytesIO(b"abc"))))


def test_a_stuck_loop_costs_the_oldest_frames_and_they_are_counted() -> None:
    async def check() -> None:
        capture = _Capture(max_frames=5)
        capture.put(numbered(8))
        assert capture.lost_frames == 3
        assert [await capture.next_frame() for _ in range(5)] == [
            numbered(8)[start : start + FRAME_BYTES] for start in range(3 * FRAME_BYTES, 8 * FRAME_BYTES, FRAME_BYTES)
        ]

    asyncio.run(check())


def test_frames_put_by_another_thread_wake_the_loop() -> None:
    async def check() -> None:
        capture = _Capture(max_frames=100)
        capture.burst_frames = 4
        pcm = numbered(16)
        putting = asyncio.create_task(asyncio.to_thread(put_in_pieces, capture, pcm))
        async with asyncio.timeout(20):
            assert b"".join([await capture.next_frame() for _ in range(16)]) == pcm
            await putting
            capture.end()
            assert await capture.next_frame() == b""

    asyncio.run(check())


def put_in_pieces(capture: _Capture, pcm: bytes) -> None:
    for start in range(0, len(pcm), 500):
        capture.put(pcm[start : start + 500])


def test_stereo_at_another_rate_becomes_16_khz_mono() -> None:
    async def check() -> None:
        capture = _Capture(max_frames=100)
        capture.convert_from(DeviceFormat(None, "card", 48_000, 2))
        capture.put(b"\x10\x00\xff\x7f" * 48_000)
        frames = []
        while frame := capture.take():
            frames.append(frame)
        assert 45 <= len(frames) <= 50
        assert set(frames[20]) <= {0x0F, 0x10, 0x11, 0x00}  # the left channel alone

    asyncio.run(check())
