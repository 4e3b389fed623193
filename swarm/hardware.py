"""What a machine is made of: processor, memory, disks, graphics processors, power supply. Pure values.

Everything is optional: what cannot be read is left out, and `Hardware.problems` says why in words for a person.
"""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_GPUS = 16
MAX_DISKS = 16


class Gpu(msgspec.Struct, frozen=True):
    """One graphics processor; None stands for what its driver does not tell."""

    name: str
    vendor: Literal["nvidia", "amd", "intel"]
    memory_bytes: int = 0
    """Of its own; 0 when it shares the machine's."""
    memory_used_bytes: int = 0
    busy_percent: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    uuid: str = ""
    """Names the same device after a restart; empty when the driver does not tell."""

    @property
    def memory_free_bytes(self) -> int:
        """What a model may still take."""
        return max(0, self.memory_bytes - self.memory_used_bytes)


class Disk(msgspec.Struct, frozen=True):
    """One mounted disk."""

    path: str
    total_bytes: int
    free_bytes: int


class Battery(msgspec.Struct, frozen=True):
    """A battery, where there is one."""

    percent: float
    plugged_in: bool


class Throttling(msgspec.Struct, frozen=True):
    """What a Raspberry Pi's firmware says about its power and heat (`vcgencmd get_throttled`)."""

    now: tuple[str, ...] = ()
    """Any of `under_voltage`, `frequency_capped`, `throttled`, `soft_temperature_limit`."""
    since_boot: tuple[str, ...] = ()


class Hardware(msgspec.Struct, frozen=True):
    """One look at the machine."""

    machine: str = ""
    """Board or product name, such as `Raspberry Pi 5 Model B Rev 1.0`; empty when nobody says."""
    cpu_model: str = ""
    architecture: str = ""
    """`x86_64`, `aarch64`, …"""
    cores: int = 1
    """Physical cores."""
    threads: int = 1
    """Threads that this process may use."""
    ram_bytes: int = 0
    ram_available_bytes: int = 0
    cpu_temperature_c: float | None = None
    disks: tuple[Disk, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    battery: Battery | None = None
    throttling: Throttling | None = None
    """None on a machine that is no Pi."""
    problems: tuple[str, ...] = ()
    """What could not be read, and why."""
