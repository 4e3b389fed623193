"""What decides on the boot partition of an image that nobody has started yet; used where images are built."""

from __future__ import annotations

from provisioning.slots import raspberry_pi, systemd_boot
from provisioning.slots.layout import Layout
from provisioning.slots.model import Slot
from provisioning.slots.version import ImageVersion


def firmware_files(layout: Layout, version: ImageVersion, cmdline_in: str) -> dict[str, bytes]:
    """The files of the first FAT partition by their paths: slot A is good, slot B is empty.

    `cmdline_in`: the content of `boot-files/cmdline.in`. Beside these the builder puts the boot-files of the root: into
    `slot-a/` of the ESP, or with `slot_a_cmdline` as `cmdline.txt` into the Pi's boot-a.
    """
    if layout.way == "raspberry-pi":
        notes = {Slot.A: "good", Slot.B: "empty"}
        return {
            raspberry_pi.AUTOBOOT: raspberry_pi.autoboot_text(Slot.A),
            raspberry_pi.NOTES: raspberry_pi.notes_text(notes),
        }
    options = slot_a_cmdline(layout, cmdline_in)
    entry = systemd_boot.entry_text(Slot.A, title=f"mycoswarm {version} (A)", options=options)
    return {
        systemd_boot.entry_path(Slot.A): entry,
        "loader/loader.conf": b"timeout 0\nconsole-mode keep\n",  # the menu comes while a key is held
    }


def slot_a_cmdline(layout: Layout, cmdline_in: str) -> str:
    """The kernel command line of slot A, without a line end."""
    return cmdline_in.strip().replace("{root}", layout.root.of(Slot.A)).replace("{slot}", Slot.A)
