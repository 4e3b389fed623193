from __future__ import annotations

import pytest

from swarm.hardware import Battery, Gpu, Hardware
from swarm.tier import TIERS, tier_of

GIB = 2**30


def gpu(gib: float, name: str = "a card") -> Gpu:
    return Gpu(name=name, vendor="nvidia", memory_bytes=int(gib * GIB))


def machine(cores: int, gib: float, *gpus: Gpu, battery: Battery | None = None) -> Hardware:
    return Hardware(cores=cores, threads=2 * cores, ram_bytes=int(gib * GIB), gpus=gpus, battery=battery)


@pytest.mark.parametrize(
    ("what", "hardware", "tier"),
    [
        ("gaming PC, RTX 3090", machine(8, 31.3, gpu(24)), "executive"),
        ("gaming PC, RTX 3060", machine(6, 15.6, gpu(12)), "executive"),
        ("12 GB as a driver may count it", machine(6, 15.6, gpu(11.2)), "executive"),
        ("small PC with a big card", machine(2, 7.7, gpu(16)), "executive"),
        ("RTX 3070", machine(6, 15.6, gpu(8)), "standard"),
        ("GTX 1660", machine(6, 15.6, gpu(6)), "standard"),
        ("two cards of 8 GB are no card of 16", machine(6, 15.6, gpu(8), gpu(8)), "standard"),
        ("workstation without a card", machine(16, 62.7), "standard"),
        ("8 cores, 16 GB as the kernel counts them", machine(8, 15.4), "standard"),
        ("8 cores, 8 GB", machine(8, 7.6), "light"),
        ("retired office PC", machine(4, 7.7), "light"),
        ("office PC with a 2 GB card", machine(4, 15.5, gpu(2)), "light"),
        ("office PC, graphics in the processor", machine(4, 15.5, gpu(0)), "light"),
        ("Raspberry Pi 5, 8 GB", machine(4, 7.9), "light"),
        ("Raspberry Pi 4, 4 GB", machine(4, 3.7), "light"),
        ("Raspberry Pi 4, 2 GB", machine(4, 1.8), "edge"),
        ("Raspberry Pi Zero 2", machine(4, 0.4), "edge"),
        ("two cores", machine(2, 23.5), "edge"),
        ("laptop on the wall", machine(8, 31.0, battery=Battery(80, True)), "standard"),
        ("laptop on its battery", machine(8, 31.0, gpu(16), battery=Battery(80, False)), "edge"),
        ("nothing could be read", Hardware(), "edge"),
    ],
)
def test_tier(what: str, hardware: Hardware, tier: str) -> None:
    assert tier_of(hardware).tier == tier, what


@pytest.mark.parametrize(
    ("hardware", "because", "missing"),
    [
        (machine(8, 31, gpu(24, "RTX 3090")), "RTX 3090 with 25.8 GB", ""),
        (machine(4, 7.7), "4 cores, 8.3 GB of memory, no GPU", "a GPU with 6 GB, or 8 cores and 16 GB of memory"),
        (
            machine(4, 7.7, gpu(2)),
            "4 cores, 8.3 GB of memory, a GPU with 2.1 GB of its own",
            "a GPU with 6 GB, or 8 cores and 16 GB of memory",
        ),
        (machine(1, 0.4), "1 cores, 0.4 GB of memory, no GPU", "4 cores and 4 GB of memory"),
        (
            machine(8, 31, battery=Battery(50, False)),
            "runs on its battery; 8 cores, 33.3 GB of memory, no GPU",
            "power from the wall",
        ),
    ],
)
def test_tier_is_explained(hardware: Hardware, because: str, missing: str) -> None:
    verdict = tier_of(hardware)
    assert (verdict.because, verdict.missing) == (because, missing)


def test_more_hardware_is_never_a_lower_tier() -> None:
    def rank(cores: int, gib: float, card: float) -> int:
        return TIERS.index(tier_of(machine(cores, gib, gpu(card))).tier)

    steps = [(c, m, g) for c in (1, 4, 8, 32) for m in (1, 4, 16, 64) for g in (0, 4, 8, 24)]
    for small in steps:
        for big in steps:
            if all(one <= other for one, other in zip(small, big, strict=True)):
                assert rank(*small) <= rank(*big), (small, big)
