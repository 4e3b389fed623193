"""Which partitions an image has: read from `provisioning/data/layouts/`, placed on the disk, said to sfdisk.

Pure but for reading those files. Offsets and sizes are bytes unless their name says otherwise.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from swarm.errors import MycoswarmError

DATA = Path(__file__).resolve().parent.parent / "data"
MIB = 1024 * 1024
GPT_TAIL = MIB
"""Behind the last partition: the second copy of a GPT needs 33 sectors."""

ROOT_LIMITS_MIB = (64, 16 * 1024)


class Partition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One partition, as a layout file has it."""

    name: str
    number: int
    """As the kernel counts them."""
    size: int
    """MiB."""
    type: str
    """As sfdisk takes it."""
    holds: Literal["fat", "root", "ext4", "nothing"]
    id: str = ""
    """PARTUUID of a GPT partition."""
    label: str = ""
    """Of its file system."""


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The disk of a kind of board."""

    architecture: str
    """Debian's name of it."""
    boards: list[str]
    table: Literal["gpt", "dos"]
    disk_id: str
    partitions: list[Partition]

    def partition(self, name: str) -> Partition:
        """The one with this name. Raises `KeyError`."""
        for each in self.partitions:
            if each.name == name:
                return each
        raise KeyError(name)

    def partuuid(self, name: str) -> str:
        """What `root=PARTUUID=` calls it."""
        found = self.partition(name)
        if self.table == "gpt":
            return found.id
        return f"{self.disk_id.removeprefix('0x')}-{found.number:02d}"


class Place(NamedTuple):
    """Where a partition lies."""

    partition: Partition
    start: int
    size: int


@dataclass(frozen=True)
class Placed:
    """A layout on a disk of its own size."""

    layout: Layout
    places: tuple[Place, ...]
    disk_size: int

    def place(self, name: str) -> Place:
        """Where the partition with this name lies. Raises `KeyError`."""
        for each in self.places:
            if each.partition.name == name:
                return each
        raise KeyError(name)


def kinds() -> dict[str, Layout]:
    """The layouts by name: `x86_64`, `pi`."""
    return {
        path.stem: msgspec.convert(tomllib.loads(path.read_text()), Layout)
        for path in sorted((DATA / "layouts").glob("*.toml"))
    }


def kind_of(board: str) -> tuple[str, Layout]:
    """The layout for a board, with its name. Raises `MycoswarmError` for a board that nobody knows."""
    known = kinds()
    for name, layout in known.items():
        if board in layout.boards:
            return name, layout
    boards = sorted(board for layout in known.values() for board in layout.boards)
    raise MycoswarmError(f"no image is known for the board {board!r}", hint=f"boards: {', '.join(boards)}")


def with_root_size(layout: Layout, size_mib: int) -> Layout:
    """The same with other slots: both roots have `size_mib`. Raises `MycoswarmError` for a size that is none."""
    low, high = ROOT_LIMITS_MIB
    if not low <= size_mib <= high:
        raise MycoswarmError(f"a root of {size_mib} MiB is none", hint=f"between {low} and {high} MiB")
    sized = [
        msgspec.structs.replace(each, size=size_mib) if each.name.startswith("root-") else each
        for each in layout.partitions
    ]
    return msgspec.structs.replace(layout, partitions=sized)


def placed(layout: Layout) -> Placed:
    """Puts the partitions one behind the other, at whole MiB; logical ones (from 5) each behind a MiB for a table."""
    at = MIB
    places = []
    for each in layout.partitions:
        if layout.table == "dos" and each.number >= 5:
            at += MIB
        places.append(Place(each, at, each.size * MIB))
        at += each.size * MIB
    return Placed(layout, tuple(places), at + (GPT_TAIL if layout.table == "gpt" else 0))


def sfdisk_script(disk: Placed) -> str:
    """The partition table, as sfdisk(8) reads it from its input."""
    lines = [f"label: {disk.layout.table}", f"label-id: {disk.layout.disk_id}", "unit: sectors", "grain: 512", ""]
    extended = False
    for partition, start, size in disk.places:
        if disk.layout.table == "dos" and partition.number >= 5 and not extended:
            extended = True
            begin = start - MIB
            lines.append(f"4 : start={begin // 512}, size={(disk.disk_size - begin) // 512}, type=5")
        words = [f"start={start // 512}", f"size={size // 512}", f"type={partition.type}"]
        if partition.id:
            words += [f"uuid={partition.id}", f'name="{partition.name}"']
        lines.append(f"{partition.number} : {', '.join(words)}")
    return "\n".join(lines) + "\n"
