"""The Raspberry Pi's image on what QEMU knows of a Raspberry Pi 3: its processor, its card reader, its serial port."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.images.arm64 import DEVICE_TREE, direct_boot
from tests.images.disk import Disk
from tests.images.guest import RASPI3B, Guest
from tests.images.machines import made_ones_own, toml

pytestmark = pytest.mark.nightly
BOOT_S = 2400.0
"""Its four processors are emulated by one thread each; the card reader is slow."""
NO_WATCHDOG = "module_blacklist=bcm2835_wdt"
"""Whoever starts this board's watchdog restarts QEMU's at once."""


def test_machine_starts_from_its_card_and_says_on_its_console_that_it_is_ready(pi_image: Path, folder: Path) -> None:
    disk = made_ones_own(pi_image, folder / "card.img", toml(hostname="pi", first=True))
    size = disk.stat().st_size
    with disk.open("r+b") as card:
        card.truncate(1 << (size - 1).bit_length())  # QEMU takes cards of these sizes only
    direct = direct_boot(pi_image, folder, device_tree=DEVICE_TREE)
    direct = replace(direct, command_line=f"{direct.command_line} {NO_WATCHDOG}")
    guest = Guest("pi", disk, folder / "pi", None, hardware=RASPI3B, direct=direct)
    guest.power_on()
    try:
        guest.wait_for_console(r"the node pi is up", seconds=BOOT_S)
    finally:
        guest.cut_power()
    with Disk(disk).ext4(7) as data:
        assert data.is_whole, data.complaints
        assert data.read("/mycoswarm/identity/node.key")
