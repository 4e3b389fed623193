"""What a node costs that has nothing to do: one of a hub and four workers."""

from __future__ import annotations

import asyncio
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable

from swarm.bench.report import Measurement, Section
from swarm.bench.swarm_hop import resident_mb
from swarm.bench.swarm_nodes import SwarmNode, folder, swarm_of
from swarm.errors import MycoswarmError

WORKERS = 4
SETTLE_S = 10.0


async def measure_idle(*, seconds: float, tell: Callable[[str], None]) -> Section:
    """For `seconds`. Raises `MycoswarmError`."""
    import psutil

    tell("nodes that have nothing to do")
    async with folder() as home:
        hub = SwarmNode(home / "hub", role="hub")
        workers = [SwarmNode(home / f"worker{number}") for number in range(1, WORKERS + 1)]
        async with swarm_of(hub, *workers):
            await asyncio.sleep(SETTLE_S)
            try:
                processes = [psutil.Process(each.pid) for each in workers]
                used = [_used_s(each) for each in processes]
                bytes_before, began = await _bus_bytes(hub.bus_port), time.perf_counter()
                await asyncio.sleep(seconds)
                took_s = time.perf_counter() - began
                bytes_after = await _bus_bytes(hub.bus_port)
                shares = [100 * (_used_s(each) - before) / took_s for each, before in zip(processes, used, strict=True)]
                resident = [resident_mb(each.pid) or 0.0 for each in workers]
                hub_mb = resident_mb(hub.pid)
            except psutil.Error as error:
                raise MycoswarmError(f"the idle nodes cannot be measured: {error}") from error
    bus = None
    if bytes_before is not None and bytes_after is not None:
        per_port = {port: bytes_after[port] - bytes_before[port] for port in bytes_after if port in bytes_before}
        bus = max(per_port.values()) / took_s / 1000 if per_port else None
    return Section(
        "A node that has nothing to do",
        (
            Measurement("resident memory, largest", max(resident), "MB", most=70, of=WORKERS),
            Measurement("processor, of one core, largest", max(shares), "%", most=1, of=WORKERS),
            Measurement("processor, of one core, median", statistics.median(shares), "%", of=WORKERS),
            Measurement("on the bus, both ways, largest", bus, "KB/s", most=1, of=WORKERS),
            Measurement("memory of the hub beside them, with its voice and broker", hub_mb, "MB"),
        ),
        (
            f"Workers, for {took_s:.0f} s, in a swarm of {WORKERS + 1} nodes. On the bus: what the kernel counts on "
            "the connection to the hub's bus port (ss), TLS included."
            + ("" if bytes_before is not None else " Not measured here: the program ss (iproute2) is missing."),
        ),
    )


def _used_s(process: object) -> float:
    import psutil

    assert isinstance(process, psutil.Process)
    times = process.cpu_times()
    return float(times.user + times.system)


async def _bus_bytes(port: int) -> dict[str, int] | None:
    """Bytes sent and received so far on each connection to the port, by the connecting end; None without `ss`."""
    if shutil.which("ss") is None:
        return None
    done = await asyncio.to_thread(
        subprocess.run, ["ss", "-tinHO", "dport", "=", f":{port}"], capture_output=True, check=False
    )
    found = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        counted = [int(number) for number in re.findall(r"\bbytes_(?:sent|received):(\d+)", line)]
        found[line.split()[3]] = sum(counted)
    return found
