"""The Raspberry Pi's image on QEMU's `virt` machine: its own kernel, initramfs and command line, loaded by QEMU.

`virt` has no Pi firmware, so what that would do, taking kernel and command line from the boot partition, is done here.
"""

from __future__ import annotations

from pathlib import Path

from tests.images.disk import Disk, Fat
from tests.images.guest import Direct

BOOT_A = 2
KERNELS = ("/kernel8.img", "/vmlinuz")
INITRAMFS = ("/initramfs8", "/initrd.img")
DEVICE_TREE = "/bcm2710-rpi-3-b.dtb"
"""Of the board that QEMU's `raspi3b` is."""


def direct_boot(image: Path, folder: Path, *, device_tree: str = "") -> Direct:
    """What the Pi's firmware would load from slot A; QEMU makes a device tree of its own unless one is named."""
    boot = Disk(image).fat(BOOT_A)
    return Direct(
        kernel=_taken(boot, KERNELS, folder / "kernel"),
        initrd=_taken(boot, INITRAMFS, folder / "initramfs"),
        command_line=" ".join(word for word in boot.text("/cmdline.txt").split() if not word.startswith("console=")),
        device_tree=_taken(boot, (device_tree,), folder / "device-tree") if device_tree else None,
    )


def _taken(boot: Fat, names: tuple[str, ...], target: Path) -> Path:
    there = boot.names()
    name = next((each for each in names if each in there), None)
    assert name is not None, f"none of {names} is on the boot partition: {there[:40]}"
    target.write_bytes(boot.read(name))
    return target
