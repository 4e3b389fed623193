"""A used card, written by `mycoswarm image flash` with a person's settings and customised again by Raspberry Pi Imager,
starts a machine that is theirs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioning.image.boot_partition import boot_partition
from provisioning.image.checksums import bmap_path
from provisioning.image.cli_flash import write_to
from provisioning.settings import Settings, WifiNetwork
from tests.images.guest import Guest
from tests.provisioning.test_disks import ListedDisks, device
from tests.provisioning.test_imager import NETWORK_CONFIG, USER_DATA

MIB = 1024**2


@pytest.fixture(scope="module")
def key(folder: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "id"], check=True)
    return (folder / "id.pub").read_text().strip()


@pytest.fixture(scope="module")
def kitchen(worker_image: Path, folder: Path, key: str) -> Iterator[Guest]:
    card = folder / "card.img"
    size = worker_image.stat().st_size + 256 * MIB
    with card.open("wb") as file:
        for _ in range(size // MIB):
            file.write(b"\xa5" * MIB)  # what was on it before, also where zeros are expected
    write_to(
        ListedDisks(device(str(card), size, rm=True)),
        worker_image,
        card,
        settings=Settings(hostname="kitchen", time_zone="Asia/Tokyo", wifi=(WifiNetwork("Away", "a secret word"),)),
        internal=False,
        large=False,
        model="Ultra Fit",
        signer=None,
    )
    boot = boot_partition(card)
    boot.write("user-data", USER_DATA.replace("KEY", key))
    boot.write("network-config", NETWORK_CONFIG)
    boot.write("meta-data", "instance-id: rpi-imager-1\n")
    guest = Guest("kitchen", card, folder / "kitchen", None)
    with guest.powered():
        yield guest


def test_only_a_part_had_to_be_written(worker_image: Path) -> None:
    assert bmap_path(worker_image).exists()


def test_settings_count_and_what_they_leave_open_is_imagers(kitchen: Guest, key: str) -> None:
    assert kitchen.run("hostname") == "kitchen"
    assert "JST" in kitchen.run("date")
    assert kitchen.run("cat /data/ssh/authorized_keys").strip().endswith(key)
    wifi = kitchen.run("cat /data/network/wpa_supplicant/wpa_supplicant-wlan0.conf")
    assert "a secret word" in wifi or "psk=" in wifi
    assert "country=NO" in wifi
    kitchen.wait_until(lambda: kitchen.run("systemctl is-active ssh.service || true") == "active", "ssh is off")


def test_nobody_was_made_who_has_a_password(kitchen: Guest) -> None:
    assert "anna" not in kitchen.run("cut -d: -f1 /etc/passwd")
    assert kitchen.run("awk -F: '$2 !~ /^[!*]/' /etc/shadow") == ""


def test_secrets_are_gone_from_where_everybody_can_read(kitchen: Guest) -> None:
    left = kitchen.run("cat /boot/mycoswarm/* 2>/dev/null || true")
    assert "a secret word" not in left and "$5$abc$def" not in left
    assert "user-data" not in kitchen.run("ls /boot/mycoswarm").split()


def test_nothing_of_the_cards_past_disturbs(kitchen: Guest) -> None:
    assert "CLEAN" in kitchen.run("dumpe2fs -h $(findmnt -no SOURCE /data) 2>/dev/null | grep state").upper()
    assert int(kitchen.run("findmnt -bno SIZE /data")) > 200 * MIB
    assert kitchen.run("systemctl --failed --plain --no-legend | cut -d' ' -f1") == ""
