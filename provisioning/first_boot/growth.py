"""The data partition, the last one on the disk, grows to the disk's end; then its file system does."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioning.first_boot.programs import run
from swarm.errors import MycoswarmError

WORTH_MB = 8
"""Less is left at the end of a disk by alignment and by the copy of a GPT."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Partition:
    """A partition, and the disk that it is on; both may be files in tests."""

    disk: Path
    number: int
    node: Path


@dataclass(frozen=True)
class Growth:
    """What to tell sfdisk."""

    numbers: tuple[int, ...]
    """Partitions that grow to the end, in this order: the extended one around it first."""
    moves_copy: bool
    """The copy of the GPT lies where the image ended, and must go to the disk's end first."""
    gains_mb: int


def growth(table: dict[str, Any], number: int, disk_bytes: int) -> Growth | None:
    """What to do so that partition `number` reaches the end; None when it does, or when something lies behind it.

    `table` is what `sfdisk --json` says below `partitiontable`. Pure.
    """
    sector = int(table.get("sectorsize", 512))
    parts = {_number(each["node"]): each for each in table["partitions"]}
    own = parts.get(number)
    if own is None:
        return None
    end = own["start"] + own["size"]
    if any(each["start"] >= end for other, each in parts.items() if other != number):
        return None
    gains_mb = (disk_bytes // sector - end) * sector // 1024**2
    if gains_mb < WORTH_MB:
        return None
    if table["label"] == "gpt":
        return Growth((number,), disk_bytes // sector > int(table["lastlba"]) + 34, gains_mb)
    around = [
        other
        for other, each in parts.items()
        if other <= 4 and each["type"].lower().removeprefix("0x") in ("5", "f", "85") and each["start"] <= own["start"]
    ]
    return Growth((*around, number) if number > 4 else (number,), False, gains_mb)


def partition_of(mount: Path, *, sys: Path = Path("/sys")) -> Partition | None:
    """The partition that is mounted there; None where it is none: data in memory, a whole disk."""
    device = mount.stat().st_dev
    place = sys / f"dev/block/{os.major(device)}:{os.minor(device)}"
    if not (place / "partition").is_file():
        return None
    here = place.resolve()
    number = int((here / "partition").read_text())
    return Partition(Path("/dev") / here.parent.name, number, Path("/dev") / here.name)


def room(partition: Partition) -> Growth | None:
    """What there is to grow. Raises `MycoswarmError`."""
    said = json.loads(run("sfdisk", "--json", str(partition.disk)))
    return growth(said["partitiontable"], partition.number, _size(partition.disk))


def grow_partition(partition: Partition, growth: Growth) -> None:
    """On the disk, and for the kernel, while it is mounted. Raises `MycoswarmError`."""
    disk = str(partition.disk)
    if growth.moves_copy:
        run("sfdisk", "--relocate", "gpt-bak-std", "--no-reread", "--no-tell-kernel", disk)
    for number in growth.numbers:
        run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "-N", str(number), disk, given=", +\n")
    os.sync()
    if partition.disk.is_block_device():
        # The extended one has a fixed size for the kernel; only the data partition must be known to have grown.
        run("partx", "--update", "--nr", str(partition.number), disk)
    _log.info("the data partition grew by %d MB to the end of %s", growth.gains_mb, disk)


def file_system_bytes(device: Path) -> int:
    """Of an ext4 file system (Linux, Documentation/filesystems/ext4/super.rst). Raises `MycoswarmError`."""
    with device.open("rb") as file:
        file.seek(1024)
        block = file.read(1024)
    if block[0x38:0x3A] != b"\x53\xef":
        raise MycoswarmError(f"{device} has no ext4 file system")
    low, high = int.from_bytes(block[0x4:0x8], "little"), int.from_bytes(block[0x150:0x154], "little")
    large = int.from_bytes(block[0x60:0x64], "little") & 0x80
    return (low + ((high << 32) if large else 0)) * (1024 << int.from_bytes(block[0x18:0x1C], "little"))


def file_system_can_grow(device: Path) -> bool:
    """Its partition has more than it uses. Raises `MycoswarmError`."""
    return _size(device) - file_system_bytes(device) >= WORTH_MB * 1024**2


def grow_file_system(device: Path) -> None:
    """While it is mounted. Raises `MycoswarmError`."""
    run("resize2fs", str(device))
    _log.info("the data file system has %d MB now", file_system_bytes(device) // 1024**2)


def _size(path: Path) -> int:
    with path.open("rb") as file:
        return file.seek(0, os.SEEK_END)


def _number(node: str) -> int:
    digits = node[len(node.rstrip("0123456789")) :]
    return int(digits) if digits else 0
