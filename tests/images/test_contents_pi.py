"""The image of a Raspberry Pi, read without booting it: what its firmware reads is looked at file by file."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.images.contents import hosts_own, passwords, secrets_in, secrets_in_etc
from tests.images.disk import Disk, Fat

pytestmark = pytest.mark.nightly
FIRST, BOOT_A, BOOT_B, EXTENDED, ROOT_A, ROOT_B, DATA = 1, 2, 3, 4, 5, 6, 7
FAT_LBA, EXTENDED_TYPE, LINUX = "c", "5", "83"
DEVICE_TREES = {
    "Raspberry Pi 3 B": "bcm2710-rpi-3-b.dtb",
    "Raspberry Pi 3 B+": "bcm2710-rpi-3-b-plus.dtb",
    "Raspberry Pi Zero 2 W": "bcm2710-rpi-zero-2-w.dtb",
    "Raspberry Pi 4": "bcm2711-rpi-4-b.dtb",
    "Raspberry Pi 5": "bcm2712-rpi-5-b.dtb",
}
FIRMWARE = {"start.elf": "3, Zero 2 W", "fixup.dat": "3, Zero 2 W", "start4.elf": "4", "fixup4.dat": "4"}
DEVICE_TREE_MAGIC, ARM64_MAGIC = b"\xd0\x0d\xfe\xed", b"ARM\x64"


@pytest.fixture(scope="module")
def disk(pi_image: Path) -> Disk:
    return Disk(pi_image)


@pytest.fixture(scope="module")
def boot(disk: Disk) -> Fat:
    return disk.fat(BOOT_A)


@pytest.fixture(scope="module")
def config(boot: Fat) -> list[str]:
    lines = [line.split("#")[0].strip() for line in boot.text("/config.txt").splitlines()]
    return [line for line in lines if line]


def test_disk_has_a_place_for_the_firmware_two_slots_and_the_data(disk: Disk) -> None:
    assert disk.kind == "dos"
    assert {number: part.type for number, part in disk.partitions.items()} == {
        FIRST: FAT_LBA, BOOT_A: FAT_LBA, BOOT_B: FAT_LBA, EXTENDED: EXTENDED_TYPE,
        ROOT_A: LINUX, ROOT_B: LINUX, DATA: LINUX,
    }  # fmt: skip
    parts = disk.partitions
    assert parts[ROOT_A].size == parts[ROOT_B].size
    assert parts[BOOT_A].size == parts[BOOT_B].size
    assert max(part.offset + part.size for part in parts.values()) == parts[DATA].offset + parts[DATA].size
    outer = range(parts[EXTENDED].offset, parts[EXTENDED].offset + parts[EXTENDED].size + 1)
    for inner in (ROOT_A, ROOT_B, DATA):
        assert parts[inner].offset in outer
        assert parts[inner].offset + parts[inner].size in outer


def test_file_systems_are_what_they_should_be(disk: Disk) -> None:
    kinds = {number: disk.kind_of(number) for number in (FIRST, BOOT_A, BOOT_B, ROOT_A, ROOT_B, DATA)}
    assert (kinds[FIRST]["TYPE"], kinds[FIRST]["LABEL"]) == ("vfat", "MYCOBOOT")
    assert kinds[BOOT_A]["TYPE"] == kinds[BOOT_B]["TYPE"] == "vfat"
    assert kinds[ROOT_A]["TYPE"] == "squashfs"
    assert "TYPE" not in kinds[ROOT_B]
    assert (kinds[DATA]["TYPE"], kinds[DATA]["LABEL"]) == ("ext4", "mycodata")
    with disk.ext4(DATA) as data:
        assert data.is_whole, data.complaints


def test_firmware_is_told_of_both_slots_and_starts_the_first(disk: Disk) -> None:
    first = disk.fat(FIRST)
    assert "/bootcode.bin" in first.names(), "Pi 3 and Zero 2 W read it before anything else"
    section, said = "", {}
    for line in first.text("/autoboot.txt").split():
        if line.startswith("["):
            section = line
        else:
            said[section, line.partition("=")[0]] = line.partition("=")[2]
    assert said == {
        ("[all]", "tryboot_a_b"): "1", ("[all]", "boot_partition"): str(BOOT_A),
        ("[tryboot]", "boot_partition"): str(BOOT_B),
    }  # fmt: skip
    assert len(first.text("/autoboot.txt")) <= 512, "the firmware reads no more"


def test_each_board_finds_its_firmware_and_its_device_tree(boot: Fat) -> None:
    there = boot.names()
    for name, boards in FIRMWARE.items():
        assert f"/{name}" in there, f"Pi {boards}"
    for board, name in DEVICE_TREES.items():
        own = [each for each in (name, name.replace("bcm2710", "bcm2837")) if f"/{each}" in there]
        assert own, f"{board}: no {name}"
        assert boot.read(f"/{own[0]}").startswith(DEVICE_TREE_MAGIC), own


def test_configuration_names_files_that_are_there(boot: Fat, config: list[str]) -> None:
    there = boot.names()
    values = dict(
        line.split("=", 1) for line in config if "=" in line and not line.startswith(("dtoverlay", "dtparam"))
    )
    assert values.get("arm_64bit", "1") == "1"
    kernel = boot.read(f"/{values['kernel']}")
    kernel = gzip.decompress(kernel) if kernel.startswith(b"\x1f\x8b") else kernel
    assert kernel[56:60] == ARM64_MAGIC
    initramfs = [line.split()[1] for line in config if line.startswith("initramfs ")]
    assert initramfs or values.get("auto_initramfs") == "1"
    for name in initramfs:
        assert f"/{name}" in there
    for line in config:
        if line.startswith("dtoverlay=") and line != "dtoverlay=":
            name = line.partition("=")[2].split(",")[0]
            assert f"/overlays/{name}.dtbo" in there, line


def test_every_overlay_is_a_device_tree(boot: Fat) -> None:
    overlays = [name for name in boot.names() if name.endswith(".dtbo")]
    assert overlays
    for name in overlays:
        assert boot.read(name).startswith(DEVICE_TREE_MAGIC), name


def test_command_line_starts_the_first_slot_with_a_read_only_root(boot: Fat) -> None:
    lines = boot.text("/cmdline.txt").splitlines()
    assert len(lines) == 1, "the firmware reads one line"
    words = lines[0].split()
    assert {"root=PARTUUID=6d79636f-05", "ro", "rauc.slot=A"} <= set(words)
    assert any(word.startswith("panic=") for word in words)


def test_nothing_of_one_machine_and_no_secret_is_in_the_image(disk: Disk) -> None:
    names = disk.squashfs_names(ROOT_A)
    with disk.ext4(DATA) as data:
        everywhere = [*names, *data.names(), *disk.fat(FIRST).names(), *disk.fat(BOOT_A).names()]
    assert list(hosts_own(everywhere)) == []
    assert passwords(disk.squashfs_file(ROOT_A, "/etc/shadow")) == []
    assert secrets_in_etc(disk, ROOT_A, (name for name, line in names.items() if line.startswith("-"))) == {}
    for fat in (disk.fat(FIRST), disk.fat(BOOT_A)):
        for name in fat.names():
            if name.endswith((".toml", ".txt", "user-data", "network-config")):
                assert secrets_in(fat.read(name)) == [], name


def test_kernel_can_have_the_firmware_try_the_other_slot(disk: Disk) -> None:
    """Debian's own kernel cannot (`provisioning.image.tryboot`); the module is found by the firmware's device."""
    names = disk.squashfs_names(ROOT_A)
    (folder,) = [name for name in names if name.startswith("/usr/lib/modules/") and name.count("/") == 4]
    assert f"{folder}/updates/mycoswarm-tryboot.ko" in names
    aliases = disk.squashfs_file(ROOT_A, f"{folder}/modules.alias").splitlines()
    assert "alias of:N*T*Craspberrypi,bcm2835-firmware mycoswarm_tryboot" in aliases
    assert "/usr/lib/systemd/system/mycoswarm-tryboot.service" in names
