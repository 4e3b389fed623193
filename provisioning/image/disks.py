"""The disks of this machine, and which of them may be overwritten.

Deciding is pure: `refusals` looks at a `Disk`. The disks come from lsblk(8), or, for tests, from the same text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from provisioning.image.running import run
from swarm.errors import MycoswarmError

LARGE = 2 * 10**12
"""Bytes. Cards, sticks and system disks are smaller; what is larger is somebody's archive."""
SECTOR = 512
"""The unit of partition tables in images; a disk of another one would find none."""
_COLUMNS = "PATH,SIZE,MODEL,RM,HOTPLUG,RO,TRAN,TYPE,LOG-SEC,MOUNTPOINTS"
_SYSTEM = re.compile(r"/|/boot(/.*)?|/usr|/var|/home|/efi|\[SWAP\]")


@dataclass(frozen=True)
class Disk:
    """A whole disk."""

    path: Path
    size: int
    """Bytes."""
    model: str
    """As its maker calls it; the kernel's name where it has none."""
    removable: bool
    """A card, a stick, or plugged in by USB."""
    read_only: bool = False
    sector: int = 512
    """Bytes; what the disk counts in."""
    mounts: tuple[str, ...] = ()
    """Of all its partitions, and of what lies on them; `[SWAP]` too."""
    users: tuple[str, ...] = ()
    """What else is made of it: RAID, LVM, an opened encrypted volume."""


@dataclass(frozen=True)
class Refusal:
    """Why a disk is not written."""

    because: str
    do: str = ""
    """What a person can do about it; empty: nothing, choose another disk."""


class DiskList(Protocol):
    """Where the disks come from."""

    def lsblk(self) -> str:
        """What `lsblk --json --bytes` says. Raises `MycoswarmError`."""

    def card_name(self, path: Path) -> str:
        """What an SD card calls itself; empty for everything else."""


class ThisMachine:
    """The real one."""

    def lsblk(self) -> str:
        """For `DiskList`."""
        return run(["lsblk", "--json", "--bytes", "-o", _COLUMNS], doing="listing the disks", timeout_s=30)

    def card_name(self, path: Path) -> str:
        """For `DiskList`."""
        device = Path("/sys/block") / path.name / "device"
        try:
            if (device / "type").read_text().strip() != "SD":  # MMC: soldered on
                return ""
            return (device / "name").read_text().strip()
        except OSError:
            return ""


def disks(source: DiskList) -> tuple[Disk, ...]:
    """All whole disks that hold anything. Raises `MycoswarmError`."""
    try:
        listed = json.loads(source.lsblk())["blockdevices"]
        return tuple(
            _disk(each, source)
            for each in listed
            if each["type"] in ("disk", "loop") and int(each["size"]) and not each["path"].startswith("/dev/zram")
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MycoswarmError(f"lsblk says something else than expected: {error!r}") from error


def find_disk(path: Path, known: tuple[Disk, ...]) -> Disk:
    """The disk at `path`; links such as /dev/disk/by-id/… are followed. Raises `MycoswarmError`."""
    wanted = path.resolve()
    for each in known:
        if each.path == wanted:
            return each
    whole = [each for each in known if re.fullmatch(rf"{re.escape(str(each.path))}p?\d+", str(wanted))]
    if whole:
        raise MycoswarmError(f"{path} is a partition", hint=f"name the whole disk: {whole[0].path}")
    raise MycoswarmError(f"{path} is no disk of this machine", hint="without a disk, the command lists those there are")


def refusals(disk: Disk, needed: int, *, internal: bool = False, large: bool = False) -> list[Refusal]:
    """Why the disk may not be overwritten with `needed` bytes; empty when it may.

    `internal` and `large` are a person's word that a built-in or a huge disk is meant.
    """
    found = []
    system = [each for each in disk.mounts if _SYSTEM.fullmatch(each)]
    if system:
        found.append(Refusal(f"this machine runs from it ({', '.join(system)})"))
    elif disk.mounts:
        found.append(Refusal(f"it is mounted at {', '.join(disk.mounts)}", f"umount {' '.join(disk.mounts)}"))
    if disk.users:
        found.append(Refusal(f"it is a part of {', '.join(disk.users)}"))
    if disk.read_only:
        found.append(Refusal("it is read-only", "cards have a slider for that"))
    if disk.sector != SECTOR:
        found.append(Refusal(f"it counts in sectors of {disk.sector} bytes, and images in {SECTOR}"))
    if disk.size < needed:
        found.append(Refusal(f"it has {gigabytes(disk.size)}, and the image needs {gigabytes(needed)}"))
    if disk.size > LARGE and not large:
        found.append(Refusal(f"it is larger than {gigabytes(LARGE)}", "add --large if it is the right one"))
    if not disk.removable and not internal:
        found.append(Refusal("it is built in", "add --internal if it is the right one"))
    return found


def gigabytes(size: int) -> str:
    """As it stands on the package: powers of ten."""
    for limit, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if size >= limit:
            return f"{size / limit:.3g} {unit}"
    return f"{size} bytes"


def _disk(said: dict[str, Any], source: DiskList) -> Disk:
    path = Path(said["path"])
    card = source.card_name(path)
    model = " ".join(str(said.get("model") or card or path.name).split())
    below = list(_below(said))
    return Disk(
        path,
        int(said["size"]),
        "".join(each if each.isprintable() else "?" for each in model),
        bool(said["rm"] or said["hotplug"] or said.get("tran") == "usb" or card),
        bool(said["ro"]),
        int(said.get("log-sec") or SECTOR),
        tuple(dict.fromkeys(mount for each in (said, *below) for mount in each.get("mountpoints") or () if mount)),
        tuple(dict.fromkeys(Path(each["path"]).name for each in below if each["type"] != "part")),
    )


def _below(said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for each in said.get("children", ()):
        yield each
        yield from _below(each)
