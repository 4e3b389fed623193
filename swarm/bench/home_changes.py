"""A house in which everything changes all the time: how late the hub is then, and whether its memory grows."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from hub.home.virtual_devices import Light, Reading
from swarm.bench.home_commands import Command, ask
from swarm.bench.home_devices import HomeOnBroker
from swarm.bench.node import BenchNode
from swarm.bench.report import Measurement, Section, percentile
from swarm.errors import MycoswarmError

PER_SECOND = 200
BURST_S = 0.05
PROBE_S = 1.0
ARRIVED_S = 5.0
WARM_UP_S = 10.0
"""At most; no longer than what is measured."""


async def measure_changes(
    node: BenchNode, house: HomeOnBroker, pid: int, *, minutes: float, tell: Callable[[str], None]
) -> Section:
    """Have sensors change and switch a light every second; `pid` is the node's process. Raises `MycoswarmError`."""
    import psutil

    readings = [device for device in house.devices.values() if isinstance(device, Reading)]
    light = next(device for device in house.devices.values() if type(device) is Light)
    chance, told = random.Random(2), 0
    process = psutil.Process(pid)
    late: list[float] = []
    warm_up_s = min(WARM_UP_S, 60 * minutes)

    async def change() -> None:
        nonlocal told
        began = time.monotonic()
        while True:
            due = int((time.monotonic() - began) * PER_SECOND)
            while told < due:
                device = chance.choice(readings)
                device.reading = str(told)
                told += 1
                await house.tell(device)
            await asyncio.sleep(BURST_S)

    changing = asyncio.create_task(change())
    try:
        await asyncio.sleep(warm_up_s)
        before, began = process.memory_info().rss, time.monotonic()
        used = process.cpu_times()
        highest = before
        number = 0
        while time.monotonic() - began < 60 * minutes:
            number += 1
            asked = await ask(node, house, Command(f"turn {'on' if number % 2 else 'off'} the {light.name}", light))
            if asked.confirmed_ms is None:
                raise MycoswarmError(f"while states changed, the {light.name} was not switched: {asked.outcome}")
            late.append(asked.confirmed_ms)
            highest = max(highest, process.memory_info().rss)
            if number % 60 == 0:
                tell(f"{number} s: at most {max(late):.0f} ms late, {process.memory_info().rss / 1e6:.1f} MB")
            await asyncio.sleep(PROBE_S)
        after, took_s = process.memory_info().rss, time.monotonic() - began
        spent = process.cpu_times()
    except psutil.Error as error:
        raise MycoswarmError(f"the node cannot be measured while states change: {error}") from error
    finally:
        changing.cancel()
        await asyncio.wait({changing})
    wrong = await _wrong(node, readings)
    used_s = spent.user + spent.system - used.user - used.system
    return Section(
        f"{PER_SECOND} state changes a second",
        (
            Measurement("a device's answer heard after its command, p50", percentile(late, 50), "ms", of=len(late)),
            Measurement("a device's answer heard after its command, most", max(late), "ms", most=100, of=len(late)),
            Measurement("memory, end against beginning", (after - before) / 1e6, "MB", most=2),
            Measurement("processor of the hub, of one core", 100 * used_s / took_s, "%"),
            Measurement("states that the hub has wrong afterwards", wrong, most=0, of=len(readings)),
        ),
        (
            f"{told} changes in {took_s / 60:.1f} minutes after {warm_up_s:g} s of the same, of {len(readings)} "
            "sensors in the large home. Every second a light is switched; its answer stands in the same queue as all "
            f"changes. Memory was {before / 1e6:.1f} MB and at most {highest / 1e6:.1f} MB.",
        ),
    )


async def _wrong(node: BenchNode, readings: list[Reading]) -> int:
    """How many sensors the hub knows wrongly, once everything had the time to arrive."""
    sensors = [device for device in readings if device.component == "sensor"]
    deadline = time.monotonic() + ARRIVED_S
    while True:
        heard = await asyncio.to_thread(node.client.entities)
        known = {each["entity"]["name"]: each["state"]["value"] for each in heard}
        wrong = len([device for device in sensors if known.get(device.name) != device.reading])
        if not wrong or time.monotonic() > deadline:
            return wrong
        await asyncio.sleep(0.2)
