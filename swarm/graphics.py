"""Graphics processors as their drivers tell: NVIDIA through NVML, AMD and Intel through the kernel's files.

NVML is reached by `pynvml` (package nvidia-ml-py), pure Python over the driver's own library: no driver, no library,
and that is said. AMD's amdgpu driver (ROCm or not) tells memory, use, temperature and power in `/sys/class/drm`.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from swarm.hardware import MAX_GPUS, Gpu

MAX_TEXT = 120


def nvidia_gpus() -> tuple[tuple[Gpu, ...], str]:
    """Every NVIDIA GPU, and why there is none when that is a person's business (empty text otherwise).

    Takes as long as the driver takes: call it from a thread.
    """
    if "pynvml" not in sys.modules and not _nvidia_device() and not Path("/dev/dxg").exists():
        # Nothing is wrong (/dev/dxg: Windows' Linux, where a card of any maker looks like that); the package
        # alone would cost 3 MB of memory.
        return (), ""
    try:
        import pynvml
    except ImportError:
        return (), "an NVIDIA GPU is here, but not the package nvidia-ml-py"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if isinstance(error, pynvml.NVMLError_LibraryNotFound) and not _nvidia_device():
            return (), ""
        return (), f"no NVIDIA GPU can be used: {error}; check that the driver is installed and loaded"
    try:
        return _read_all(pynvml)
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def amd_and_intel_gpus(root: Path = Path("/")) -> tuple[Gpu, ...]:
    """Every AMD or Intel GPU that the kernel drives."""
    found = []
    for card in sorted((root / "sys/class/drm").glob("card*"))[: 4 * MAX_GPUS]:
        if not re.fullmatch(r"card\d+", card.name):
            continue  # `card0-HDMI-A-1` is a socket of it
        device = card / "device"
        vendor: Literal["amd", "intel"] | None = _VENDORS.get(_read(device / "vendor"))
        if vendor is not None:
            found.append(_kernel_gpu(device, vendor))
    return tuple(found[:MAX_GPUS])


_VENDORS: dict[str, Literal["amd", "intel"]] = {"0x1002": "amd", "0x8086": "intel"}


def _kernel_gpu(device: Path, vendor: Literal["amd", "intel"]) -> Gpu:
    sensors = next(iter(sorted((device / "hwmon").glob("hwmon*"))), device / "hwmon/none")
    temperature, power, limit = (_number(sensors / name) for name in ("temp1_input", "power1_average", "power1_cap"))
    name = _read(device / "product_name") or f"{vendor.upper() if vendor == 'amd' else 'Intel'} GPU"
    return Gpu(
        name=f"{name} {_read(device / 'device')}".strip()[:MAX_TEXT] if "GPU" in name else name[:MAX_TEXT],
        vendor=vendor,
        memory_bytes=int(_number(device / "mem_info_vram_total") or 0),
        memory_used_bytes=int(_number(device / "mem_info_vram_used") or 0),
        busy_percent=_number(device / "gpu_busy_percent"),
        temperature_c=None if temperature is None else temperature / 1000.0,  # hwmon: thousandths of a degree
        power_w=None if power is None else power / 1e6,  # hwmon: microwatts
        power_limit_w=None if limit is None else limit / 1e6,
        uuid=_read(device / "unique_id")[:MAX_TEXT],
    )


def _read_all(nvml: Any) -> tuple[tuple[Gpu, ...], str]:
    found, problems = [], []
    for index in range(min(nvml.nvmlDeviceGetCount(), MAX_GPUS)):
        try:
            found.append(_nvidia_gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(index)))
        except nvml.NVMLError as error:  # fell off the bus: the others still work
            problems.append(f"NVIDIA GPU {index} does not answer: {error}")
    return tuple(found), "; ".join(problems)


def _nvidia_gpu(nvml: Any, handle: Any) -> Gpu:
    def optional(read: Callable[[], float], scale: float = 1.0) -> float | None:
        try:
            return read() / scale
        except nvml.NVMLError:  # a laptop chip tells no power, a virtual one no temperature
            return None

    name = nvml.nvmlDeviceGetName(handle)
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        total, used = int(memory.total), int(memory.used)
    except nvml.NVMLError_NotSupported:  # shares the machine's memory (Jetson, DGX Spark)
        total, used = 0, 0
    uuid = ""
    with contextlib.suppress(nvml.NVMLError):
        uuid = _str(nvml.nvmlDeviceGetUUID(handle))
    return Gpu(
        name=_str(name)[:MAX_TEXT],
        vendor="nvidia",
        memory_bytes=total,
        memory_used_bytes=used,
        busy_percent=optional(lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
        temperature_c=optional(lambda: _nvidia_temperature(nvml, handle)),
        power_w=optional(lambda: float(nvml.nvmlDeviceGetPowerUsage(handle)), 1000.0),
        power_limit_w=optional(lambda: float(nvml.nvmlDeviceGetEnforcedPowerLimit(handle)), 1000.0),
        uuid=uuid[:MAX_TEXT],
    )


def _nvidia_temperature(nvml: Any, handle: Any) -> float:
    try:
        return float(nvml.nvmlDeviceGetTemperatureV(handle, nvml.NVML_TEMPERATURE_GPU))
    except nvml.NVMLError:  # a driver of before 2025 has only the call that newer ones will drop
        return float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))


def _nvidia_device() -> bool:
    """Whether the kernel sees hardware of NVIDIA, driver or not."""
    # The driver of a PC; a container that was given a card; a Jetson.
    places = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu")
    if any(Path(place).exists() for place in places):
        return True
    devices = Path("/sys/bus/pci/devices").glob("*/vendor")
    return any(_read(vendor) == "0x10de" and _read(vendor.parent / "class").startswith("0x03") for vendor in devices)


def _str(text: str | bytes) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else text


def _read(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(200).decode(errors="replace").strip()
    return ""


def _number(path: Path) -> float | None:
    text = _read(path)
    return float(text) if text.isdecimal() else None
