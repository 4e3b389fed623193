"""What class of machine this is, and why: executive, standard, light or edge. Pure.

A tier is for people ("which machine should get the better card?") and for defaults; placement goes by measured speed.

========= ======================================================= ==================================================
tier      has                                                     which is enough for
========= ======================================================= ==================================================
executive one GPU with 12 GB of memory or more                    a language model of 13 billion parameters at 4 bits
                                                                  (about 8 GB) with a long conversation
standard  one GPU with 6 GB, or 8 cores and 16 GB of memory       one of 7 to 8 billion (about 5 GB); speech at ease
light     4 cores and 4 GB of memory                              one of 1 to 3 billion; speech recognition and voices
edge      anything else, and what runs on its battery             wake word, commands, the plain voice
========= ======================================================= ==================================================

Memory that is sold as 8 GB is seen as 7.6 to 8: a tenth less than the table says is enough.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from swarm.hardware import Hardware

Tier = Literal["edge", "light", "standard", "executive"]
TIERS: tuple[Tier, ...] = ("edge", "light", "standard", "executive")
"""Weakest first."""

GB = 1e9
SHORTFALL = 0.9
EXECUTIVE_GPU_GB = 12.0
STANDARD_GPU_GB = 6.0
STANDARD_CORES, STANDARD_RAM_GB = 8, 16.0
LIGHT_CORES, LIGHT_RAM_GB = 4, 4.0


class TierVerdict(msgspec.Struct, frozen=True):
    """A tier with its explanation."""

    tier: Tier
    because: str
    """What of the machine decided it."""
    missing: str
    """What the next tier asks for; empty at the top."""


def tier_of(hardware: Hardware) -> TierVerdict:
    """The tier of a machine. `cores` counts threads where a core has two: they share what a model needs most."""
    gpu = max(hardware.gpus, key=lambda one: one.memory_bytes, default=None)
    gpu_gb = gpu.memory_bytes / GB if gpu else 0.0
    ram_gb = hardware.ram_bytes / GB
    has = f"{hardware.cores} cores, {ram_gb:.1f} GB of memory"
    if gpu and _enough(gpu_gb, STANDARD_GPU_GB):
        has = f"{gpu.name} with {gpu_gb:.1f} GB"
    elif hardware.gpus:
        has += f", a GPU with {gpu_gb:.1f} GB of its own" if gpu_gb else ", a GPU without memory of its own"
    else:
        has += ", no GPU"
    if hardware.battery and not hardware.battery.plugged_in:
        return TierVerdict("edge", f"runs on its battery; {has}", "power from the wall")
    if _enough(gpu_gb, EXECUTIVE_GPU_GB):
        return TierVerdict("executive", has, "")
    if _enough(gpu_gb, STANDARD_GPU_GB) or (hardware.cores >= STANDARD_CORES and _enough(ram_gb, STANDARD_RAM_GB)):
        return TierVerdict("standard", has, f"a GPU with {EXECUTIVE_GPU_GB:g} GB")
    standard = f"a GPU with {STANDARD_GPU_GB:g} GB, or {STANDARD_CORES} cores and {STANDARD_RAM_GB:g} GB of memory"
    if hardware.cores >= LIGHT_CORES and _enough(ram_gb, LIGHT_RAM_GB):
        return TierVerdict("light", has, standard)
    return TierVerdict("edge", has, f"{LIGHT_CORES} cores and {LIGHT_RAM_GB:g} GB of memory")


def _enough(gb: float, wanted: float) -> bool:
    return gb >= wanted * SHORTFALL
