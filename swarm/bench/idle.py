"""What a satellite costs that only waits for its wake word: `mycoswarm listen` on a pipe, in a process of its own."""

from __future__ import annotations

import asyncio
import time
from asyncio.subprocess import PIPE, Process

from edge.service import IDLE_BURST_FRAMES
from edge.sources import FRAME_BYTES, FRAME_S
from swarm.bench.node import BenchNode
from swarm.bench.report import Measurement, Section
from swarm.errors import MycoswarmError

CONNECT_S = 20.0
SETTLE_S = 3.0
NAME = "idle"
CHUNK_S = IDLE_BURST_FRAMES * FRAME_S
"""As a satellite takes audio from a microphone while idle; `arecord` hands over no less at a time."""
CHUNK_BYTES = IDLE_BURST_FRAMES * FRAME_BYTES


async def measure_idle(node: BenchNode, pcm: bytes, *, seconds: float) -> Section:
    """Play `pcm` (someone talking in the room, no wake word) to a satellite for `seconds`. Raises `MycoswarmError`."""
    import psutil

    async with node.program("listen", "--name", NAME, stdin=PIPE) as process:
        feeding = asyncio.create_task(_feed(process, pcm))
        try:
            await _connected(node, process)
            await asyncio.sleep(SETTLE_S)
            satellite = psutil.Process(process.pid)
            before, began = satellite.cpu_times(), time.monotonic()
            await asyncio.sleep(seconds)
            after, took_s = satellite.cpu_times(), time.monotonic() - began
            resident = satellite.memory_info().rss
        except psutil.Error as error:
            raise MycoswarmError(f"the idle satellite cannot be measured: {error}") from error
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
    used_s = after.user + after.system - before.user - before.system
    return Section(
        "Always on",
        (
            Measurement("processor while idle, of one core", 100 * used_s / took_s, "%", most=1.5),
            Measurement("resident memory of the satellite", resident / 1e6, "MB", most=90),
        ),
        (
            f"`mycoswarm listen`, fed {CHUNK_S * 1000:.0f} ms at a time for {took_s:.0f} s with people talking who say "
            "no wake word. While idle only the wake model works; the voice activity detector starts with it.",
        ),
    )


async def _feed(process: Process, pcm: bytes) -> None:
    """Write in real time, again and again."""
    assert process.stdin is not None
    began, number = time.monotonic(), 0
    while True:
        number += 1
        await asyncio.sleep(max(0.0, began + number * CHUNK_S - time.monotonic()))
        start = (number - 1) % (len(pcm) // CHUNK_BYTES) * CHUNK_BYTES
        try:
            process.stdin.write(pcm[start : start + CHUNK_BYTES])
            await process.stdin.drain()
        except ConnectionError:
            return


async def _connected(node: BenchNode, process: Process) -> None:
    try:
        async with asyncio.timeout(CONNECT_S):
            while NAME not in (await node.status()).satellites:
                if process.returncode is not None:
                    raise MycoswarmError(f"the satellite to be measured ended with status {process.returncode}")
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise MycoswarmError(f"the satellite to be measured did not connect within {CONNECT_S:g} s") from None
