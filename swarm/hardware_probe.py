"""Looks at this machine: processor, memory, disks, graphics processors, power supply.

A driver or a disk that hangs costs `timeout_s` and its part of the answer, never the node: each part is read in a
thread of its own, and while one hangs no second one is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import psutil

from swarm.graphics import amd_and_intel_gpus, nvidia_gpus
from swarm.hardware import MAX_DISKS, Battery, Disk, Gpu, Hardware, Throttling

TIMEOUT_S = 3.0
MAX_TEXT = 120

T = TypeVar("T")


class HardwareProbe:
    """Looks at the machine. `root` is where `/proc`, `/sys` and `/etc` are, for tests."""

    def __init__(
        self,
        *,
        state_dir: Path = Path("/"),
        root: Path = Path("/"),
        nvidia: Callable[[], tuple[tuple[Gpu, ...], str]] = nvidia_gpus,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._timeout_s = timeout_s
        self._base = _Bounded("processor and memory", lambda: _base(root))
        self._disks = _Bounded("disks", lambda: _disks(state_dir))
        self._nvidia = _Bounded("the NVIDIA driver", nvidia)
        self._others = _Bounded("graphics processors", lambda: amd_and_intel_gpus(root))

    async def look(self) -> Hardware:
        """One look, all parts side by side, at most `timeout_s` long."""
        base, disks, nvidia, others = await asyncio.gather(
            self._base.result(self._timeout_s),
            self._disks.result(self._timeout_s),
            self._nvidia.result(self._timeout_s),
            self._others.result(self._timeout_s),
        )
        problems = [part.problem for part in (self._base, self._disks, self._nvidia, self._others) if part.problem]
        gpus, why = nvidia or ((), "")
        if why:
            problems.append(why)
        return msgspec.structs.replace(
            base or Hardware(), disks=disks or (), gpus=(*gpus, *(others or ())), problems=tuple(problems)
        )


def cpu_temperature() -> float | None:
    """The hottest sensor of the processor in °C; None without one."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # not on every system; a sensor may vanish
        found = psutil.sensors_temperatures()
        for chip in ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "acpitz"):
            if readings := [reading.current for reading in found.get(chip, ()) if -40 < reading.current < 150]:
                return round(float(max(readings)), 1)
    return None


def battery() -> Battery | None:
    """The first battery; None without one."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        found = psutil.sensors_battery()
        if found is not None:
            return Battery(round(min(max(found.percent, 0.0), 100.0), 1), bool(found.power_plugged))
    return None


def throttling(root: Path = Path("/")) -> Throttling | None:
    """What a Pi's firmware says; None on other machines."""
    for path in sorted((root / "sys/devices/platform").glob("soc*/soc*firmware/get_throttled")):
        with contextlib.suppress(OSError, ValueError):
            return parse_throttled(path.read_text())
    if root == Path("/") and Path("/dev/vcio").exists() and (program := shutil.which("vcgencmd")):
        with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
            done = subprocess.run([program, "get_throttled"], capture_output=True, timeout=1.0, check=True)
            return parse_throttled(done.stdout.decode(errors="replace"))
    return None


def parse_throttled(text: str) -> Throttling:
    """The bits in `throttled=0x50005` or `50005` (always hexadecimal). Raises `ValueError`."""
    bits = int(text.strip().rpartition("=")[2], 16)
    names = ("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit")
    return Throttling(
        now=tuple(name for number, name in enumerate(names) if bits >> number & 1),
        since_boot=tuple(name for number, name in enumerate(names) if bits >> (16 + number) & 1),
    )


def _base(root: Path) -> Hardware:
    memory = psutil.virtual_memory()
    try:
        threads = len(psutil.Process().cpu_affinity())
    except (AttributeError, psutil.Error):
        threads = psutil.cpu_count() or 1
    return Hardware(
        machine=_machine(root),
        cpu_model=_cpu_model(root),
        architecture=platform.machine(),
        cores=min(psutil.cpu_count(logical=False) or threads, threads),
        threads=threads,
        ram_bytes=memory.total,
        ram_available_bytes=memory.available,
        cpu_temperature_c=cpu_temperature(),
        battery=battery(),
        throttling=throttling(root),
    )


def _cpu_model(root: Path) -> str:
    """From `/proc/cpuinfo`; an ARM kernel gives the model no name there, only numbers."""
    text = _text(root / "proc/cpuinfo", limit=64 * 1024)
    said: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        said.setdefault(key.strip().lower(), value.strip())
    if model := said.get("model name") or said.get("cpu model") or said.get("hardware"):
        return " ".join(model.split())[:MAX_TEXT]
    if said.get("cpu implementer") == "0x41":
        return f"Arm {_ARM_PARTS.get(said.get('cpu part', ''), said.get('cpu part', ''))}".strip()
    return platform.processor()[:MAX_TEXT]


_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd41": "Cortex-A78",
}


def _machine(root: Path) -> str:
    board = _text(root / "sys/firmware/devicetree/base/model").rstrip("\0")
    if board:
        return board[:MAX_TEXT]
    dmi = root / "sys/class/dmi/id"
    words = [_text(dmi / name).strip() for name in ("sys_vendor", "product_name")]
    return " ".join(word for word in words if word and "O.E.M." not in word)[:MAX_TEXT]


def _disks(state_dir: Path) -> tuple[Disk, ...]:
    """Local disks, and the one that holds `state_dir`; each file system once."""
    paths = [str(state_dir), *(part.mountpoint for part in psutil.disk_partitions(all=False))]
    found: dict[int, Disk] = {}
    for path in paths:
        with contextlib.suppress(OSError):  # unmounted, or not for this user
            device = Path(path).stat().st_dev
            usage = psutil.disk_usage(path)
            if device not in found and len(found) < MAX_DISKS:
                found[device] = Disk(path[:MAX_TEXT], usage.total, usage.free)
    return tuple(found.values())


def _text(path: Path, *, limit: int = 1024) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(limit).decode(errors="replace")
    return ""


class _Bounded(Generic[T]):
    """A read that may hang: at most one thread of it at a time, and nobody waits longer than told."""

    def __init__(self, what: str, read: Callable[[], T]) -> None:
        self.problem = ""
        """Why the last result is missing; empty when it is there."""
        self._what = what
        self._read = read
        self._running: asyncio.Future[T] | None = None

    async def result(self, timeout_s: float) -> T | None:
        """What was read; None when it failed or took too long, `problem` says which."""
        loop = asyncio.get_running_loop()
        if self._running is None or self._running.done() or self._running.get_loop() is not loop:
            self._running = loop.create_future()
            # Not from a pool: a pool waits for its threads when the node ends, and one that hangs never comes back.
            threading.Thread(
                target=self._work, args=(loop, self._running), name=f"look at {self._what}", daemon=True
            ).start()
        self.problem = ""
        done, _ = await asyncio.wait([self._running], timeout=timeout_s)
        if not done:
            self.problem = f"{self._what} did not answer within {timeout_s:g} s"
            return None
        error = self._running.exception()
        if error is not None:
            self.problem = f"{self._what} cannot be read: {error}"
            return None
        return self._running.result()

    def _work(self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[T]) -> None:
        def settle(result: T | None, error: Exception | None) -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)  # type: ignore[arg-type] # T may be None itself

        result, failure = None, None
        try:
            result = self._read()
        except Exception as error:  # noqa: BLE001 whatever a driver's library raises, the rest of the look goes on
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop ended while we read
            loop.call_soon_threadsafe(settle, result, failure)
