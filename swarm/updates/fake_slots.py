"""Two slots in a folder, held to the same cases as the real ones. A bundle is a JSON line and whatever follows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from swarm.errors import MycoswarmError
from swarm.updates.slots import Bundle, SlotState, UpdateRefused

MAX_HEADER_BYTES = 4096


class _Header(msgspec.Struct, frozen=True):
    compatible: str
    version: str
    signer: str
    breaks: str = ""
    """Its system proves to be no good, for this reason."""


class _Disk(msgspec.Struct):
    compatible: str
    boot: int = 1
    running: str = "A"
    next: str = "A"
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    breaks: dict[str, str] = msgspec.field(default_factory=dict)
    good: bool = True
    reason: str = ""


def fake_bundle(
    path: Path, *, compatible: str, version: str, signer: str = "builder", breaks: str = "", size: int = 0
) -> Path:
    """Make one; `size` bytes follow what it says."""
    header = msgspec.json.encode(_Header(compatible, version, signer, breaks))
    path.write_bytes(header + b"\n" + b"\x5a" * size)
    return path


class FakeSlots:
    """Its state is in one file, so that it outlives the process as a disk does."""

    def __init__(
        self, path: Path, *, compatible: str, version: str, trusts: str = "builder", restarted: Callable[[], None]
    ) -> None:
        """`trusts` is whose signature counts; `restarted` is what takes the place of a machine that starts anew."""
        self.path = path
        self.proves_itself = True
        """A new system is good at once; else somebody calls `set(good=True)`."""
        self._trusts = trusts
        self._restarted = restarted
        if not path.exists():
            self._keep(_Disk(compatible, versions={"A": version}))

    async def state(self) -> SlotState:
        """See `Slots`."""
        disk = self._disk()
        return SlotState(
            "slots",
            disk.versions[disk.running],
            disk.compatible,
            slot=disk.running,
            boot=str(disk.boot),
            good=disk.good,
            reason=disk.reason,
        )

    async def inspect(self, path: Path) -> Bundle:
        """See `Slots`."""
        header = self._header(path)
        if header.signer != self._trusts:
            raise UpdateRefused(f"{path.name:.12}: the signature is not of {self._trusts}")
        return Bundle(header.compatible, header.version)

    async def check(self, path: Path) -> Bundle:
        """See `Slots`."""
        bundle, disk = await self.inspect(path), self._disk()
        runs = disk.versions[disk.running]
        if bundle.compatible != disk.compatible:
            raise UpdateRefused(f"{path.name:.12} is for {bundle.compatible}, and this is {disk.compatible}")
        if bundle.version < runs:
            raise UpdateRefused(f"{bundle.version} is older than {runs}, which runs here")
        return bundle

    async def install(self, path: Path, progress: Callable[[int], None]) -> None:
        """See `Slots`."""
        bundle, disk = await self.check(path), self._disk()
        for percent in (0, 50, 100):
            progress(percent)
        disk.next = _other(disk.running)
        disk.versions[disk.next] = bundle.version
        disk.breaks[disk.next] = self._header(path).breaks
        disk.reason = ""
        self._keep(disk)

    async def restart(self) -> None:
        """See `Slots`."""
        disk = self._disk()
        if disk.next != disk.running and (broken := disk.breaks.get(disk.next)):
            disk.next, disk.reason = disk.running, broken
        if disk.next != disk.running:
            disk.good = self.proves_itself
        disk.running, disk.boot = disk.next, disk.boot + 1
        self._keep(disk)
        self._restarted()

    async def rollback(self) -> None:
        """See `Slots`."""
        disk = self._disk()
        other = _other(disk.running)
        if other not in disk.versions or disk.breaks.get(other):
            raise MycoswarmError("there is no other system that ever worked here")
        disk.next, disk.reason = other, "a person wanted the version before"
        self._keep(disk)

    def set(self, **what: Any) -> None:
        """What the machine does by itself."""
        disk = self._disk()
        self._keep(msgspec.structs.replace(disk, **what))

    def _header(self, path: Path) -> _Header:
        with path.open("rb") as file:
            line = file.readline(MAX_HEADER_BYTES)
        try:
            return msgspec.json.decode(line, type=_Header)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpdateRefused(f"{path.name:.12} is no bundle") from error

    def _disk(self) -> _Disk:
        return msgspec.json.decode(self.path.read_bytes(), type=_Disk)

    def _keep(self, disk: _Disk) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(disk))
        part.replace(self.path)


def _other(slot: str) -> str:
    return "B" if slot == "A" else "A"
