"""The first FAT partition of an image or a disk: where a person's settings lie. Changed by mtools, so without root and
without mounting anything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from provisioning.image.running import require_programs, run
from swarm.errors import MycoswarmError

LABEL = "MYCOBOOT"
SLOT_LABELS = ("MYCOBOOT-A", "MYCOBOOT-B")
_MAX_FILE = 256 * 1024
_TIMEOUT_S = 120.0


class NoImage(MycoswarmError):
    """The file or disk holds no image of mycoswarm."""


@dataclass(frozen=True)
class BootPartition:
    """The partition, within the file or device `path`."""

    path: Path
    offset: int
    """Bytes from the start, as `length`."""
    length: int

    def read(self, name: str) -> str | None:
        """The file's content, None when there is none. Raises `MycoswarmError`."""
        if name.casefold() not in (each.casefold() for each in self.names()):
            return None
        return self._mtools(["mtype"], [f"::{name}"], doing=f"reading {name} from {self.path}")[:_MAX_FILE]

    def names(self) -> tuple[str, ...]:
        """What is in its top folder."""
        listed = self._mtools(["mdir", "-b"], ["::"], doing=f"listing the boot partition of {self.path}")
        return tuple(line.removeprefix("::/").rstrip("/") for line in listed.splitlines())

    def write(self, name: str, text: str) -> None:
        """Put the file into its top folder, over an older one. Raises `MycoswarmError`."""
        doing = f"writing {name} to the boot partition of {self.path}"
        self._mtools(["mcopy", "-o"], ["-", f"::{name}"], doing=doing, text=text)

    def _mtools(self, command: list[str], files: list[str], *, doing: str, text: str = "") -> str:
        return run(
            [*command, "-i", f"{self.path}@@{self.offset}", *files],
            doing=doing,
            timeout_s=_TIMEOUT_S,
            text=text,
            environment={"MTOOLS_SKIP_CHECK": "1"},
        )


def boot_partition(path: Path, *, called: Path | None = None) -> BootPartition:
    """That of an image file or a device, which errors name `called`. Raises `NoImage`, or `MycoswarmError` when it
    cannot be read."""
    for label, partition in _labelled(path, called or path):
        if label == LABEL:
            return partition
    raise NoImage(
        f"{called or path} has no boot partition of mycoswarm ({LABEL})", hint="mycoswarm image build makes images"
    )


def slot_partitions(path: Path) -> tuple[BootPartition, ...]:
    """Where a Raspberry Pi has kernel and config.txt of each slot; none on other machines. Raises `MycoswarmError`."""
    return tuple(partition for label, partition in _labelled(path, path) if label in SLOT_LABELS)


def _labelled(path: Path, called: Path) -> list[tuple[str, BootPartition]]:
    if "@@" in str(path):
        raise MycoswarmError(f"{called} has @@ in its name, which mtools takes for an offset", hint="rename it")
    try:
        with path.open("rb") as file:
            if file.read(4) == b"\x28\xb5\x2f\xfd":
                raise NoImage(f"{called} is compressed", hint="decompress it: zstd -d")
    except OSError as error:
        raise MycoswarmError(f"cannot read {called}: {error.strerror or error}") from error
    require_programs(["sfdisk", "mcopy"])
    try:
        said = run(["sfdisk", "--json", path], doing=f"reading {called}", timeout_s=_TIMEOUT_S)
        table = json.loads(said)["partitiontable"]
    except MycoswarmError as error:
        raise NoImage(f"{called} has no partition table", hint="mycoswarm image build makes images") from error
    size = int(table.get("sectorsize", 512))
    partitions = sorted((int(each["start"]) * size, int(each["size"]) * size) for each in table.get("partitions", []))
    found = [BootPartition(path, offset, length) for offset, length in partitions]
    return [(_label(each), each) for each in found]


def _label(partition: BootPartition) -> str:
    """Of the boot sector: FAT32 has it at byte 71, FAT16 and FAT12 at 43 (Microsoft's FAT specification, 3.3)."""
    with partition.path.open("rb") as file:
        file.seek(partition.offset)
        sector = file.read(512)
    if sector[510:] != b"\x55\xaa":
        return ""
    kind, label = (sector[82:90], sector[71:82]) if sector[82:85] == b"FAT" else (sector[54:62], sector[43:54])
    return label.decode("ascii", errors="replace").rstrip() if kind.startswith(b"FAT") else ""
