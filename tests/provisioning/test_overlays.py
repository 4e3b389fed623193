"""The device trees of sound boards, as the image's build compiles them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from edge.board import BOARDS
from provisioning.settings import AudioBoard

OVERLAYS = Path(__file__).parents[2] / "provisioning/data/overlays"
MIXER_RULE = Path(__file__).parents[2] / "systemd/image/usr/lib/udev/rules.d/60-mycoswarm.rules"
WITHOUT = {"none", "usb"}


def test_every_board_on_the_pins_has_its_overlay() -> None:
    assert {path.stem for path in OVERLAYS.glob("*.dts")} == {*get_args(AudioBoard)} - WITHOUT
    assert {*BOARDS} < {*get_args(AudioBoard)}


def test_every_codec_that_is_deaf_after_power_on_is_switched_on_by_the_name_of_its_card() -> None:
    (ids,) = re.findall(r'ATTRS\{id\}=="([^"]*)"', MIXER_RULE.read_text())
    with_codec = [path.read_text() for path in OVERLAYS.glob("*.dts") if "wlf,wm8960" in path.read_text()]
    names = [re.search(r'simple-audio-card,name = "([^"]+)"', text) for text in with_codec]
    # ALSA makes a card's id of the letters and digits of its name, 15 at most.
    assert {re.sub(r"[^A-Za-z0-9]", "", name[1])[:15] for name in names if name} == {*ids.split("|")}


@pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc (device-tree-compiler) is not installed here")
@pytest.mark.parametrize("overlay", sorted(OVERLAYS.glob("*.dts")), ids=lambda path: path.stem)
def test_overlay_compiles_without_a_warning(overlay: Path, tmp_path: Path) -> None:
    compiled = tmp_path / "overlay.dtbo"
    said = subprocess.run(
        ["dtc", "-@", "-I", "dts", "-O", "dtb", "-o", compiled, overlay], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0 and not said.stderr, said.stderr
    assert b"brcm,bcm2837" in compiled.read_bytes()
