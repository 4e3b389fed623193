from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from swarm.graphics import amd_and_intel_gpus, nvidia_gpus
from swarm.hardware import MAX_GPUS, Gpu
from tests.swarm.fake_nvidia import Card, FakeDriver, driver


def real_driver() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    pynvml.nvmlShutdown()
    return True


@pytest.fixture(params=["real", "fake"])
def some_driver(request: pytest.FixtureRequest) -> Iterator[None]:
    """A driver with at least one GPU."""
    if request.param == "fake":
        with driver(FakeDriver(Card(), Card(name="Tesla T4", busy=None))):
            yield
    elif real_driver():
        yield
    else:
        pytest.skip("no NVIDIA driver on this machine")


def test_every_gpu_is_told_with_sane_numbers(some_driver: None) -> None:
    gpus, why = nvidia_gpus()
    assert why == ""
    assert 0 < len(gpus) <= MAX_GPUS
    for gpu in gpus:
        assert gpu.name
        assert gpu.uuid
        assert 0 <= gpu.memory_used_bytes <= gpu.memory_bytes
        assert gpu.memory_free_bytes == gpu.memory_bytes - gpu.memory_used_bytes
        assert gpu.busy_percent is None or 0 <= gpu.busy_percent <= 100
        assert gpu.temperature_c is None or 0 < gpu.temperature_c < 120
        assert gpu.power_w is None or 0 < gpu.power_w < 2000
    assert len({gpu.uuid for gpu in gpus}) == len(gpus)


def test_looking_again_and_again_tells_the_same_devices(some_driver: None) -> None:
    looks = [[(gpu.name, gpu.memory_bytes, gpu.uuid) for gpu in nvidia_gpus()[0]] for _ in range(3)]
    assert looks[0] == looks[1] == looks[2]


@pytest.mark.skipif(real_driver(), reason="this machine has an NVIDIA driver")
def test_machine_without_nvidia_has_no_gpu_and_nothing_to_complain_about() -> None:
    assert nvidia_gpus() == ((), "")


def test_units_are_bytes_degrees_and_watts() -> None:
    with driver(FakeDriver(Card())) as fake:
        assert nvidia_gpus() == (
            (
                Gpu(
                    name="NVIDIA GeForce RTX 3060",
                    vendor="nvidia",
                    memory_bytes=12_884_901_888,
                    memory_used_bytes=1_073_741_824,
                    busy_percent=37.0,
                    temperature_c=61.0,
                    power_w=95.5,
                    power_limit_w=170.0,
                    uuid="GPU-0",
                ),
            ),
            "",
        )
        assert fake.users == 0


@pytest.mark.parametrize(
    "card",
    [
        Card(memory=None),
        Card(busy=None, temperature=None, milliwatts=None),
    ],
)
def test_what_a_card_does_not_tell_is_left_out(card: Card) -> None:
    with driver(FakeDriver(card)):
        (gpu,), why = nvidia_gpus()
    assert why == ""
    assert gpu.memory_bytes == (card.memory or (0, 0))[0]
    assert (gpu.busy_percent, gpu.temperature_c) == (card.busy, card.temperature)
    assert (gpu.power_w is None) == (card.milliwatts is None)


def test_temperature_is_read_from_a_driver_of_before_2025_too() -> None:
    with driver(FakeDriver(Card(temperature=44), old=True)):
        assert nvidia_gpus()[0][0].temperature_c == 44.0


def test_lost_card_is_named_and_the_others_stay() -> None:
    with driver(FakeDriver(Card(lost=True), Card(name="Tesla T4"))):
        gpus, why = nvidia_gpus()
    assert [gpu.name for gpu in gpus] == ["Tesla T4"]
    assert "NVIDIA GPU 0 does not answer" in why


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH])
def test_driver_that_does_not_work_is_said(error: int) -> None:
    with driver(FakeDriver(Card(), init=error)):
        gpus, why = nvidia_gpus()
    assert gpus == ()
    assert why.startswith("no NVIDIA GPU can be used: ")


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_amd_gpu_is_read_from_the_kernels_files(tmp_path: Path) -> None:
    device = "sys/class/drm/card1/device"
    write(
        tmp_path,
        {
            f"{device}/vendor": "0x1002\n",
            f"{device}/device": "0x744c\n",
            f"{device}/mem_info_vram_total": "25753026560\n",
            f"{device}/mem_info_vram_used": "1024000000\n",
            f"{device}/gpu_busy_percent": "12\n",
            f"{device}/hwmon/hwmon3/temp1_input": "47000\n",
            f"{device}/hwmon/hwmon3/power1_average": "33000000\n",
            "sys/class/drm/card1-DP-1/status": "connected\n",
        },
    )
    assert amd_and_intel_gpus(tmp_path) == (
        Gpu(
            name="AMD GPU 0x744c",
            vendor="amd",
            memory_bytes=25_753_026_560,
            memory_used_bytes=1_024_000_000,
            busy_percent=12.0,
            temperature_c=47.0,
            power_w=33.0,
        ),
    )


def test_other_display_devices_are_no_gpus_and_broken_files_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "sys/class/drm/card0/device/vendor": "0x1af4\n",  # virtio
            "sys/class/drm/card1/device/vendor": "0x8086\n",
            "sys/class/drm/card1/device/device": "0x46a6\n",
            "sys/class/drm/card1/device/gpu_busy_percent": "x\n",
            "sys/class/drm/card2/nothing": "",
        },
    )
    assert amd_and_intel_gpus(tmp_path) == (Gpu(name="Intel GPU 0x46a6", vendor="intel"),)
    assert amd_and_intel_gpus(tmp_path / "none") == ()
