"""What starts a machine, as far as our boot partition decides it: systemd-boot and the Raspberry Pi's firmware.

Written after their documentation, not after our code: the real ones are tried in QEMU (tests/images).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Protocol

from provisioning.slots.model import Remove, Rename, Slot, Steps, Write


class PowerCut(Exception):
    """The machine is off."""


@dataclass
class FakeDisk:
    """The boot partition: a `MountedPartition` whose power may fail between two steps."""

    files: dict[str, bytes]
    steps_until_cut: int | None = None

    def do(self, steps: Steps) -> None:
        """Raises `PowerCut`. A rename on FAT is two writes: cut between them, both names are there."""
        for step in steps:
            self._maybe_cut()
            match step:
                case Write(path, data):
                    self.files[path] = data
                case Rename(old, new):
                    assert new not in self.files, f"{new} was not free"
                    self.files[new] = self.files[old]
                    self._maybe_cut()
                    del self.files[old]
                case Remove(path):
                    self.files.pop(path, None)

    def _maybe_cut(self) -> None:
        if self.steps_until_cut is not None:
            if self.steps_until_cut == 0:
                self.steps_until_cut = None
                raise PowerCut
            self.steps_until_cut -= 1


class Firmware(Protocol):
    """Starts one of the slots."""

    def start(self, disk: FakeDisk, argument: str) -> Slot | None:
        """The slot whose kernel is loaded now; None: nothing to load. `argument`: of the reboot before, empty after a
        crash or a power cut."""
        ...


class SystemdBootFirmware:
    """Sorts the entries, takes the first, and counts before it starts it.

    systemd-boot 257, src/boot/boot.c: entries without tries left come last, then `sort-key`, then `version` (newest
    first), then the file's name without its counter (largest first), then more tries left, then fewer done.
    """

    def start(self, disk: FakeDisk, argument: str) -> Slot | None:
        """See `Firmware`."""
        found = []
        for path, data in disk.files.items():
            name = re.fullmatch(r"loader/entries/(.+?)(?:\+(\d+)(?:-(\d+))?)?\.conf", path)
            if name is None:
                continue
            keys = dict(line.split(" ", 1) for line in data.decode().splitlines())
            left = None if name[2] is None else int(name[2])
            found.append((left == 0, keys["sort-key"], -int(keys["version"]), -(left or 0), path, left, keys, name))
        if not found:
            return None
        *_, path, left, keys, name = min(found, key=lambda each: each[:5])
        if left:
            counted = f"loader/entries/{name[1]}+{left - 1}-{int(name[3] or 0) + 1}.conf"
            disk.files[counted] = disk.files.pop(path)
        slot = re.search(r"rauc\.slot=([AB])", keys["options"])
        assert slot is not None
        assert keys["linux"] == f"/slot-{slot[1].lower()}/vmlinuz"
        return Slot(slot[1])


@dataclass
class PiFirmware:
    """Reads autoboot.txt; `tryboot` holds for one start."""

    loaded: list[int] = field(default_factory=list)

    def start(self, disk: FakeDisk, argument: str) -> Slot | None:
        """See `Firmware`."""
        text = disk.files.get("autoboot.txt", b"")
        assert len(text) <= 512, "the firmware reads no more"
        tryboot, applies, partition, partition_level = argument == "0 tryboot", True, None, False
        for line in text.decode().splitlines():
            if line.startswith("["):
                applies = line == "[all]" or (line == "[tryboot]" and tryboot)
            elif applies and line.startswith("boot_partition="):
                partition = int(line.partition("=")[2])
            elif applies and line == "tryboot_a_b=1":
                partition_level = True
        assert partition_level, "else the firmware would look for tryboot.txt"
        if partition is None:
            return None
        self.loaded.append(partition)
        return {2: Slot.A, 3: Slot.B}[partition]


def notes_of(disk: FakeDisk) -> dict[str, str]:
    """slots.json of the Pi."""
    notes: dict[str, str] = json.loads(disk.files["slots.json"])
    return notes
