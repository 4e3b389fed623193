"""A GPU node's image on a machine whose GPU has not been put in yet, in the LAN of a home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.built import image
from tests.images.home_lan import home_lan
from tests.images.machines import Member

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def tower(can_boot: None, folder: Path) -> Iterator[Member]:
    with home_lan(folder) as home, Member("tower", image("gpu", "x86_64"), folder, home).powered() as member:
        yield member


def test_machine_joins_and_works_without_its_gpu(tower: Member) -> None:
    shown = tower.home.hub.did("nodes")
    assert any(line.startswith("tower") and "alive" in line for line in shown.splitlines()), shown
    state = tower.guest.run("systemctl is-system-running || true")
    assert state.strip() == "running", tower.reported()


def test_nvidias_modules_are_of_this_kernel_and_miss_nothing_but_the_gpu(tower: Member) -> None:
    tower.guest.run("modprobe -n nvidia-uvm")
    status, said = tower.guest.status_of("modprobe nvidia")
    assert (status, "No such device" in said) == (1, True), said


def test_nvidias_libraries_are_there(tower: Member) -> None:
    python = "import ctypes; ctypes.CDLL('libcuda.so.1'); ctypes.CDLL('libnvidia-ml.so.1')"
    tower.guest.run(f'/usr/lib/mycoswarm/bin/python3 -c "{python}"')
    assert "NVIDIA-SMI" in tower.guest.status_of("nvidia-smi")[1]
