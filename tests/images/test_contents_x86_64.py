"""The image of an x86_64 worker, read without booting it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.images.contents import hosts_own, passwords, secrets_in, secrets_in_etc
from tests.images.disk import Disk, tool

BOOT, ROOT_A, ROOT_B, DATA = 1, 2, 3, 4
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"


@pytest.fixture(scope="module")
def disk(worker_image: Path) -> Disk:
    return Disk(worker_image)


@pytest.fixture(scope="module")
def names(disk: Disk) -> dict[str, str]:
    return disk.squashfs_names(ROOT_A)


def test_disk_has_a_place_for_the_boot_loader_two_slots_and_the_data(disk: Disk) -> None:
    assert disk.kind == "gpt"
    assert {number: part.type for number, part in disk.partitions.items()} == {
        BOOT: ESP, ROOT_A: LINUX, ROOT_B: LINUX, DATA: LINUX,
    }  # fmt: skip
    assert disk.partitions[ROOT_A].size == disk.partitions[ROOT_B].size
    ends = [part.offset + part.size for part in disk.partitions.values()]
    assert ends == sorted(ends), "data is last, so that it can grow"
    assert "no errors detected" in tool("sfdisk", "--verify", str(disk.path)).lower()


def test_file_systems_are_what_they_should_be(disk: Disk) -> None:
    kinds = {number: disk.kind_of(number) for number in disk.partitions}
    assert (kinds[BOOT]["TYPE"], kinds[BOOT]["LABEL"]) == ("vfat", "MYCOBOOT")
    assert kinds[ROOT_A]["TYPE"] == "squashfs"
    assert "TYPE" not in kinds[ROOT_B], "the second slot is empty until the first update"
    assert (kinds[DATA]["TYPE"], kinds[DATA]["LABEL"]) == ("ext4", "mycodata")
    with disk.ext4(DATA) as data:
        assert data.is_whole, data.complaints


def test_boot_loader_starts_the_first_slot_with_a_read_only_root(disk: Disk) -> None:
    boot = disk.fat(BOOT)
    there = boot.names()
    assert "/EFI/BOOT/BOOTX64.EFI" in there
    entries = [name for name in there if name.startswith("/loader/entries/") and name.endswith(".conf")]
    assert entries == ["/loader/entries/slot-a.conf"], entries
    entry = boot.text(entries[0])
    options = next(line for line in entry.splitlines() if line.startswith("options")).split()
    assert f"root=PARTUUID={disk.partitions[ROOT_A].uuid}" in options
    assert {"ro", "rauc.slot=A"} <= set(options)
    assert any(word.startswith("panic=") for word in options), "a kernel that panics starts again"
    for line in entry.splitlines():
        if line.startswith(("linux", "initrd")):
            assert line.split()[1] in there, line


def test_nobody_can_log_in_by_a_password(disk: Disk) -> None:
    assert passwords(disk.squashfs_file(ROOT_A, "/etc/shadow")) == []


def test_nothing_of_one_machine_is_in_the_image(disk: Disk, names: dict[str, str]) -> None:
    with disk.ext4(DATA) as data:
        everywhere = [*names, *data.names(), *disk.fat(BOOT).names()]
    assert list(hosts_own(everywhere)) == []
    if "/etc/machine-id" in names:
        assert disk.squashfs_file(ROOT_A, "/etc/machine-id").strip() in ("", "uninitialized")


def test_no_secret_is_in_the_configuration(disk: Disk, names: dict[str, str]) -> None:
    assert secrets_in_etc(disk, ROOT_A, (name for name, line in names.items() if line.startswith("-"))) == {}
    boot = disk.fat(BOOT)
    for name in boot.names():
        if name.endswith((".toml", ".conf", ".txt", "user-data", "network-config")):
            assert secrets_in(boot.read(name)) == [], name


def test_everything_in_the_root_belongs_to_a_known_user_and_few_run_as_root(names: dict[str, str]) -> None:
    suid = sorted(name for name, line in names.items() if line[:10].count("s") and line[0] == "-")
    programs = (
        *("su", "mount", "umount", "passwd", "chfn", "chsh", "gpasswd", "newgrp", "expiry", "chage"),
        "ssh-agent",
    )
    others = ("sbin/unix_chkpwd", "lib/dbus-1.0/dbus-daemon-launch-helper", "lib/openssh/ssh-keysign")
    allowed = {*(f"/usr/bin/{each}" for each in programs), *(f"/usr/{each}" for each in others)}
    assert set(suid) <= allowed
    anyone = [name for name, line in names.items() if line[0] in "-d" and line[8] == "w" and "t" not in line[:10]]
    assert anyone == []
