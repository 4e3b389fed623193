from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import psutil
import pytest

from swarm.hardware import Gpu, Hardware, Throttling
from swarm.hardware_probe import HardwareProbe, parse_throttled, throttling

GPU = Gpu(name="a card", vendor="nvidia", memory_bytes=10**9)


def test_this_machine_is_described(tmp_path: Path) -> None:
    found = asyncio.run(HardwareProbe(state_dir=tmp_path).look())
    assert found.problems == ()
    assert found.cpu_model
    assert 1 <= found.cores <= found.threads
    assert found.ram_bytes == psutil.virtual_memory().total
    assert 0 < found.ram_available_bytes < found.ram_bytes
    assert found.disks[0].path == str(tmp_path)[:120]
    assert 0 < found.disks[0].free_bytes <= found.disks[0].total_bytes


def test_driver_that_hangs_costs_its_own_part_only_and_one_thread() -> None:
    release = threading.Event()
    calls = []

    def hangs() -> tuple[tuple[Gpu, ...], str]:
        calls.append(1)
        release.wait(20)
        return (GPU,), ""

    async def look_often() -> tuple[list[Hardware], Hardware]:
        probe = HardwareProbe(nvidia=hangs, timeout_s=0.05)
        hung = [await probe.look() for _ in range(3)]
        release.set()
        patient = probe
        patient._timeout_s = 20.0
        return hung, await patient.look()

    hung, then = asyncio.run(look_often())
    for one in hung:
        assert one.cpu_model
        assert one.gpus == ()
        assert one.problems == ("the NVIDIA driver did not answer within 0.05 s",)
    assert len(calls) == 1
    assert (then.gpus, then.problems) == ((GPU,), ())


def test_part_that_fails_is_named_and_the_rest_is_told() -> None:
    def fails() -> tuple[tuple[Gpu, ...], str]:
        raise RuntimeError("no such device")

    found = asyncio.run(HardwareProbe(nvidia=fails).look())
    assert found.problems == ("the NVIDIA driver cannot be read: no such device",)
    assert found.cpu_model


def test_reason_for_a_missing_gpu_is_passed_on() -> None:
    found = asyncio.run(HardwareProbe(nvidia=lambda: ((), "no driver")).look())
    assert found.problems == ("no driver",)


@pytest.mark.parametrize(
    ("text", "now", "since_boot"),
    [
        ("throttled=0x0\n", (), ()),
        ("0", (), ()),
        ("50005\n", ("under_voltage", "throttled"), ("under_voltage", "throttled")),
        ("throttled=0x80008", ("soft_temperature_limit",), ("soft_temperature_limit",)),
        ("throttled=0x20000", (), ("frequency_capped",)),
    ],
)
def test_throttling_of_a_pi_is_read(
    tmp_path: Path, text: str, now: tuple[str, ...], since_boot: tuple[str, ...]
) -> None:
    assert parse_throttled(text) == Throttling(now, since_boot)
    path = tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert throttling(tmp_path) == Throttling(now, since_boot)


def test_machine_that_is_no_pi_has_no_throttling(tmp_path: Path) -> None:
    assert throttling(tmp_path) is None


def test_pi_is_named_by_its_board_and_core(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n")
    model = tmp_path / "sys/firmware/devicetree/base/model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    found = asyncio.run(HardwareProbe(root=tmp_path).look())
    assert (found.machine, found.cpu_model) == ("Raspberry Pi 5 Model B Rev 1.0", "Arm Cortex-A76")
