"""How a node is doing right now: published on the bus every few seconds, so it is small (about 300 bytes)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
import psutil

from swarm.errors import MalformedMessage
from swarm.hardware import MAX_GPUS, Hardware
from swarm.hardware_probe import battery, cpu_temperature

MAX_BYTES = 4096
"""Of one message; the longest honest one has 16 GPUs."""

Percent = Annotated[float, msgspec.Meta(ge=0.0, le=100.0)]
Megabytes = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Celsius = Annotated[float, msgspec.Meta(ge=-100.0, le=250.0)]


class GpuHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """One GPU, in the order of `Hardware.gpus`."""

    memory_mb: Megabytes = 0
    memory_used_mb: Megabytes = 0
    busy: Percent | None = None
    temperature: Celsius | None = None
    power_w: Annotated[float, msgspec.Meta(ge=0.0, le=10_000.0)] | None = None


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """One moment of a node. Sizes in megabytes (10^6), temperatures in °C."""

    uptime_s: Annotated[int, msgspec.Meta(ge=0)]
    """Since the daemon started."""
    cpu: Percent
    """Of all cores, since the look before."""
    memory_mb: Megabytes
    memory_used_mb: Megabytes
    own_memory_mb: Megabytes
    """Of the daemon itself."""
    running: Count = 0
    """Tasks at work."""
    waiting: Count = 0
    """Tasks in the queue."""
    temperature: Celsius | None = None
    battery: Percent | None = None
    plugged_in: bool = True
    throttled: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=32)], ...], msgspec.Meta(max_length=8)] = ()
    gpus: Annotated[tuple[GpuHealth, ...], msgspec.Meta(max_length=MAX_GPUS)] = ()


class HealthWatch:
    """Makes one `Health` after another. Costs under a millisecond: it may be called on the event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._process = psutil.Process()
        psutil.cpu_percent(interval=None)  # the first call only sets the mark to count from

    def look(self, hardware: Hardware, *, running: int = 0, waiting: int = 0) -> Health:
        """How the node is doing; `hardware` is the latest look at what takes longer to ask (GPUs, throttling)."""
        memory = psutil.virtual_memory()
        power = battery()
        throttled = hardware.throttling.now if hardware.throttling else ()
        return Health(
            uptime_s=int(self._clock() - self._started),
            cpu=min(100.0, psutil.cpu_percent(interval=None)),
            memory_mb=memory.total // 10**6,
            memory_used_mb=(memory.total - memory.available) // 10**6,
            own_memory_mb=self._process.memory_info().rss // 10**6,
            running=running,
            waiting=waiting,
            temperature=cpu_temperature(),
            battery=power.percent if power else None,
            plugged_in=power.plugged_in if power else True,
            throttled=throttled,
            gpus=tuple(
                GpuHealth(
                    memory_mb=gpu.memory_bytes // 10**6,
                    memory_used_mb=gpu.memory_used_bytes // 10**6,
                    busy=gpu.busy_percent,
                    temperature=gpu.temperature_c,
                    power_w=gpu.power_w,
                )
                for gpu in hardware.gpus
            ),
        )


def encode_health(health: Health) -> bytes:
    """The bus message."""
    return _encoder.encode(health)


def decode_health(data: bytes) -> Health:
    """Parse another node's; raises `MalformedMessage`."""
    if len(data) > MAX_BYTES:
        raise MalformedMessage(f"health of {len(data)} bytes exceeds the limit of {MAX_BYTES}")
    with contextlib.suppress(RecursionError):
        try:
            return _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedMessage(f"not a node's health: {error}") from error
    raise MalformedMessage("not a node's health: nested too deep")


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Health)
