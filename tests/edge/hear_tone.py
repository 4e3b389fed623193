"""Plays tones to PortAudio's default device and listens for them. Ends with 75 (EX_TEMPFAIL) when nothing moves.

A program of its own, so that PortAudio, which can hang for ever when a sound server stalls, is never waited for.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np

from edge.sinks import Speaker
from edge.sources import FRAME_BYTES, Microphone
from swarm.audio import level_dbfs


def tone(hz: float, seconds: float, rate: int) -> bytes:
    wave = 12_000 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return wave.astype("<i2").tobytes()


def strength_db(pcm: bytes, hz: float) -> float:
    """Level of one frequency in 16 kHz pcm."""
    samples = np.frombuffer(pcm, dtype="<i2") / 32768
    return float(
        20 * np.log10(abs(np.mean(samples * np.exp(-2j * np.pi * hz * np.arange(len(samples)) / 16_000))) + 1e-9)
    )


async def until_heard(frames: AsyncIterator[bytes], hz: float) -> None:
    async for frame in frames:
        assert len(frame) == FRAME_BYTES
        if strength_db(frame, hz) > -20:
            return


async def hear() -> None:
    speaker, started = Speaker(), asyncio.Event()
    async with asyncio.timeout(15), aclosing(Microphone().frames()) as frames:
        await anext(frames)
        await speaker.start(22_050, lambda at: started.set())
        playing = asyncio.create_task(speaker.write(tone(600, 60, 22_050)))
        await started.wait()
        await until_heard(frames, 600)
        print("heard 600 Hz")
        playing.cancel()
        speaker.stop()
        async for frame in frames:
            if level_dbfs(frame) < -80:
                print("heard silence")
                break
        # The same device again, in another rate, to its end.
        await speaker.start(16_000, lambda at: None)
        playing = asyncio.create_task(speaker.write(tone(900, 1.0, 16_000)))
        await until_heard(frames, 900)
        print("heard 900 Hz")
        await playing
        await speaker.drain()
    await speaker.close()
    print("closed")


if __name__ == "__main__":
    try:
        asyncio.run(hear())
    except TimeoutError:
        os._exit(os.EX_TEMPFAIL)
    sys.stdout.flush()
    os._exit(0)  # PortAudio's own clean-up is not what is tested
