"""A stand-in for NVIDIA's driver library, below the real `pynvml`: the same functions, filling the same structures."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
from collections.abc import Iterator
from typing import Any

import pynvml


@dataclasses.dataclass
class Card:
    """What one card says; None: it does not tell (NVML_ERROR_NOT_SUPPORTED)."""

    name: str = "NVIDIA GeForce RTX 3060"
    memory: tuple[int, int] | None = (12_884_901_888, 1_073_741_824)
    busy: int | None = 37
    temperature: int | None = 61
    milliwatts: int | None = 95_500
    lost: bool = False


class FakeDriver:
    """`libnvidia-ml.so.1` with these cards; `old` is a driver from before nvmlDeviceGetTemperatureV."""

    def __init__(self, *cards: Card, init: int = 0, old: bool = False) -> None:
        self.users = 0
        self._cards = cards
        self._init = init
        self._handles: dict[int, Card] = {}
        self._old = old

    def __getattribute__(self, name: str) -> Any:
        if name == "nvmlDeviceGetTemperatureV" and self._old:
            raise AttributeError(name)
        return super().__getattribute__(name)

    def nvmlInitWithFlags(self, flags: Any) -> int:
        if not self._init:
            self.users += 1
        return self._init

    def nvmlShutdown(self) -> int:
        self.users -= 1
        return 0

    def nvmlErrorString(self, code: int) -> bytes:
        return f"code {code}".encode()

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self._cards)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        if self._cards[index.value].lost:
            return int(pynvml.NVML_ERROR_GPU_IS_LOST)
        handle._obj.contents = pynvml.struct_c_nvmlDevice_t()
        self._handles[_address(handle._obj)] = self._cards[index.value]
        return 0

    def nvmlDeviceGetName(self, handle: Any, name: Any, size: Any) -> int:
        name.value = self._card(handle).name.encode()
        return 0

    def nvmlDeviceGetUUID(self, handle: Any, uuid: Any, size: Any) -> int:
        uuid.value = f"GPU-{self._cards.index(self._card(handle))}".encode()
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        told = self._card(handle).memory
        if told is None:
            return int(pynvml.NVML_ERROR_NOT_SUPPORTED)
        memory._obj.total, memory._obj.used = told
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle: Any, rates: Any) -> int:
        return _fill(rates, "gpu", self._card(handle).busy)

    def nvmlDeviceGetTemperatureV(self, handle: Any, temperature: Any) -> int:
        return _fill(temperature, "temperature", self._card(handle).temperature)

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: Any, temperature: Any) -> int:
        return _fill(temperature, "value", self._card(handle).temperature)

    def nvmlDeviceGetPowerUsage(self, handle: Any, milliwatts: Any) -> int:
        return _fill(milliwatts, "value", self._card(handle).milliwatts)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any, milliwatts: Any) -> int:
        return _fill(milliwatts, "value", 170_000)

    def _card(self, handle: Any) -> Card:
        card: Card = self._handles[_address(handle)]
        return card


@contextlib.contextmanager
def driver(fake: FakeDriver) -> Iterator[FakeDriver]:
    """Let `pynvml` load this library instead of the machine's."""
    former = pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache)
    pynvml._nvmlGetFunctionPointer_cache.clear()
    pynvml.nvmlLib = fake
    try:
        yield fake
    finally:
        pynvml.nvmlLib = former[0]
        pynvml._nvmlGetFunctionPointer_cache.clear()
        pynvml._nvmlGetFunctionPointer_cache.update(former[1])


def _address(handle: Any) -> int:
    return ctypes.addressof(handle.contents)


def _fill(target: Any, field: str, value: int | None) -> int:
    if value is None:
        return int(pynvml.NVML_ERROR_NOT_SUPPORTED)
    setattr(target._obj, field, value)
    return 0
