"""This node's slots: the pure decisions of a `BootWay`, applied to the boot partition that is mounted here."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from provisioning.slots import layout as places
from provisioning.slots.layout import Layout, parse_layout
from provisioning.slots.model import BootWay, Partition, Slot, SlotState, SlotView, Steps
from provisioning.slots.partition import MountedPartition, copy_tree, mounted, replace_file, writable
from provisioning.slots.record import (
    FailureNotes,
    Update,
    after_start,
    note_version,
    read_update,
    read_versions,
    write_update,
)
from provisioning.slots.version import ImageVersion, version_in
from swarm.errors import MycoswarmError, StorageError

BOOT_FILES = "usr/lib/mycoswarm/boot-files"
CMDLINE = "cmdline.in"
BOARD = "board.txt"
"""On a Pi's boot-a and boot-b: which sound board is on it, included by config.txt. The machine's own."""
FIRMWARE = "/dev/disk/by-label/MYCOBOOT"
RUNTIME = Path("/run/mycoswarm-slots")
"""Root's own: permissions that a person gave, mount points."""


class Seen(msgspec.Struct, frozen=True):
    """How the slots stood at a moment."""

    current: Slot
    primary: Slot
    states: dict[Slot, SlotState]


@dataclass(frozen=True)
class NodeSlots:
    """The slots of the machine that this runs on. Everything that changes something needs root."""

    layout: Layout
    current: Slot
    boot: MountedPartition
    update_folder: Path
    runtime: Path = RUNTIME
    root: Path = Path("/")
    """Of the version that runs."""

    @property
    def way(self) -> BootWay:
        """Who decides."""
        return self.layout.boot_way()

    def view(self, slot: Slot) -> SlotView:
        """What is known of a slot. Raises `MycoswarmError`."""
        return self.way.view(self._partition(), slot, self.current)

    def primary(self) -> Slot:
        """The slot that the next reboot starts. Raises `MycoswarmError`."""
        return self.way.primary(self._partition(), self.current)

    def on_trial(self) -> bool:
        """What runs here has not proved itself yet. Raises `MycoswarmError`."""
        return self.view(self.current).state is SlotState.TRIAL

    def mark_good(self, slot: Slot) -> None:
        """Raises `MycoswarmError`."""
        self._do(self.way.good(self._partition(), slot, self.current))

    def mark_bad(self, slot: Slot) -> None:
        """Raises `MycoswarmError`, also where nothing would be left that works."""
        self._do(self.way.bad(self._partition(), slot, self.current))

    def make_primary(self, slot: Slot) -> None:
        """Raises `MycoswarmError`."""
        FailureNotes(self.update_folder).clear()
        goes_back = slot is not self.current and self.view(slot).state is SlotState.GOOD
        self._do(self.way.first(self._partition(), slot, self.current))
        update = read_update(self.update_folder)
        if goes_back:
            versions = read_versions(self.update_folder)
            update = Update(
                "installed",
                versions.get(self.current, ""),
                versions.get(slot, ""),
                slot,
                time.time(),
                "a person asked for the version before",
            )
            write_update(self.update_folder, update)
        elif update is not None and update.outcome == "installing" and update.slot is slot:
            write_update(self.update_folder, msgspec.structs.replace(update, outcome="installed", at=time.time()))

    def settle(self) -> None:
        """At each start: put in order what was interrupted, and write down how the last update ended. Raises
        `MycoswarmError`."""
        self._do(self.way.settle(self._partition(), self.current))
        note_version(self.update_folder, self.current, str(image_version(self.root)))
        update = read_update(self.update_folder)
        if update is None:
            return
        notes = FailureNotes(self.update_folder)
        now = after_start(update, self.current, self.view(update.slot), said=notes.read(), now=time.time())
        if now is not None:
            write_update(self.update_folder, now)

    def attempt(self) -> str:
        """Just before a reboot: what the reboot must be told (`0 tryboot`), or nothing. Raises `MycoswarmError`."""
        if self.layout.way != "raspberry-pi":
            return ""
        with self._boot_while_going_down() as boot:
            steps = self.way.attempt(boot.read(self.way.patterns))
            if steps is None:
                return ""
            boot.do(steps)
        return "0 tryboot"

    def take(self, slot: Slot, device: str) -> ImageVersion:
        """The root on `device` now belongs to `slot`: bring its kernel where the firmware finds it. Raises
        `MycoswarmError`. Whatever happens in between, the slot that runs stays as it is."""
        if slot is self.current:
            raise MycoswarmError(f"slot {slot} runs: it cannot be replaced")
        with mounted(device, self.runtime / "root", read_only=True) as root:
            version = image_version(root)
            files = root / BOOT_FILES
            options = command_line(files / CMDLINE, self.layout.root.of(slot), slot)
            if self.layout.boot is None:
                self._copy(files, self.boot.folder / slot.folder)
            else:
                boot = f"{places.PARTUUIDS}/{self.layout.boot.of(slot)}"
                with mounted(boot, self.runtime / "boot", read_only=False) as folder:
                    self._copy(files, folder)
                    replace_file(folder / "cmdline.txt", f"{options}\n".encode())
        title = f"mycoswarm {version} ({slot})"
        self._do(self.way.written(self._partition(), slot, title=title, options=options))
        note_version(self.update_folder, slot, str(version))
        return version

    def publish(self) -> None:
        """Let those know how it stands who may not read the boot partition: the node. Raises `MycoswarmError`."""
        seen = Seen(self.current, self.primary(), {slot: self.view(slot).state for slot in Slot})
        try:
            replace_file(self.runtime / "state.json", msgspec.json.encode(seen))
        except OSError as error:
            raise StorageError(f"cannot write into {self.runtime}: {error.strerror or error}") from error

    def seen(self) -> Seen:
        """How it stands: as published, unless this is root, who looks. Raises `MycoswarmError`."""
        if os.geteuid() == 0:
            return Seen(self.current, self.primary(), {slot: self.view(slot).state for slot in Slot})
        try:
            return msgspec.json.decode((self.runtime / "state.json").read_bytes(), type=Seen)
        except FileNotFoundError:
            # mycoswarm-health.service says so only when the node has started: until then nothing is proved.
            return Seen(
                self.current, self.current, {self.current: SlotState.TRIAL, self.current.other: SlotState.EMPTY}
            )
        except (OSError, msgspec.DecodeError) as error:
            raise MycoswarmError(f"cannot read how the slots are: {error}", hint="see docs/updates.md") from error

    @contextlib.contextmanager
    def _boot_while_going_down(self) -> Iterator[MountedPartition]:
        """An automount that is not mounted stays so once systemd goes down."""
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        if any(line.split()[1:3] == [str(self.boot.folder), "autofs"] for line in mounts) and not any(
            line.split()[1:3] == [str(self.boot.folder), "vfat"] for line in mounts
        ):
            with mounted(FIRMWARE, self.runtime / "firmware", read_only=False) as folder:
                yield MountedPartition(folder)
        else:
            yield self.boot

    def _copy(self, files: Path, target: Path) -> None:
        try:
            with writable(self.boot.folder):
                copy_tree(files, target, leave_out=frozenset({CMDLINE, BOARD}))
        except OSError as error:
            raise StorageError(
                f"cannot copy the new kernel to {target}: {error}", hint="the boot partition is too small or broken"
            ) from error

    def _partition(self) -> Partition:
        return self.boot.read(self.way.patterns)

    def _do(self, steps: Steps) -> None:
        self.boot.do(steps)


def this_node() -> NodeSlots:
    """Raises `MycoswarmError` where no image of ours runs."""
    try:
        layout = parse_layout(places.LAYOUT.read_text())
    except FileNotFoundError:
        raise MycoswarmError(
            "this machine does not run an image of mycoswarm: it has no slots",
            hint="update it as it was installed: with apt, or with install.sh",
        ) from None
    command_line = Path("/proc/cmdline").read_text()
    found = re.search(r"(?:^|\s)rauc\.slot=([AB])(?:\s|$)", command_line)
    if found is None:
        raise MycoswarmError("the kernel was not told its slot (rauc.slot=A or B)", hint="see docs/updates.md")
    return NodeSlots(layout, Slot(found[1]), MountedPartition(places.BOOT), places.UPDATE_FOLDER)


def command_line(template: Path, root: str, slot: Slot) -> str:
    """The kernel command line of a slot, from `boot-files/cmdline.in`. Raises `MycoswarmError`."""
    try:
        text = template.read_text().strip()
    except OSError as error:
        raise StorageError(f"the new root has no {CMDLINE}: {error}", hint="it is no image of mycoswarm") from error
    if "\n" in text or "{root}" not in text or "{slot}" not in text or len(text) > 2000:
        raise MycoswarmError(f"{CMDLINE} of the new root is not one line with {{root}} and {{slot}}")
    return text.replace("{root}", root).replace("{slot}", slot)


def image_version(root: Path) -> ImageVersion:
    """Of the image whose root is there. Raises `MycoswarmError`."""
    for name in ("etc/os-release", "usr/lib/os-release"):
        path = root / name
        if path.is_symlink():
            continue  # would lead into the running root
        try:
            return version_in(path.read_text())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    raise MycoswarmError(f"{root} has no os-release: it is no image of mycoswarm")


def give_up(slots: NodeSlots, reason: str) -> bool:
    """Back to the other slot, with the reason on record; False, and nothing done, where this start is no trial. Raises
    `MycoswarmError`."""
    if not slots.on_trial():
        return False
    journal = subprocess.run(
        ["journalctl", "-b", "-p", "notice", "-n", "400", "--no-pager", "-q"],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    FailureNotes(slots.update_folder).write(reason, journal.stdout)
    slots.mark_bad(slots.current)
    reboot()
    return True


def reboot() -> None:
    """Ask systemd for it. Raises `MycoswarmError`."""
    done = subprocess.run(["systemctl", "reboot"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise MycoswarmError(f"cannot reboot: {done.stderr.strip()}", hint="switch it off and on")
