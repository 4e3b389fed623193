"""The Raspberry Pi's image on an emulated arm64 machine, in the LAN of a home. The tests are one story, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.arm64 import direct_boot
from tests.images.disk import Disk
from tests.images.guest import ARM64
from tests.images.home_lan import HomeLan, home_lan
from tests.images.machines import Member

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def home(folder: Path) -> Iterator[HomeLan]:
    with home_lan(folder) as home:
        yield home


@pytest.fixture(scope="module")
def satellite(pi_image: Path, folder: Path, home: HomeLan) -> Iterator[Member]:
    member = Member("kitchen", pi_image, folder, home, hardware=ARM64, direct=direct_boot(pi_image, folder))
    with member.powered():
        yield member


def test_machine_joins_by_its_token_and_shows_in_nodes(satellite: Member) -> None:
    shown = satellite.home.hub.did("nodes")
    line = next(line for line in shown.splitlines() if line.startswith("kitchen"))
    assert "edge" in line, shown
    assert "alive" in line, shown


def test_question_at_the_machine_is_answered(satellite: Member) -> None:
    assert re.search(r"It.*\d:\d\d", satellite.did("ask", "what time is it"))


def test_every_unit_started(satellite: Member) -> None:
    state = satellite.guest.run("systemctl is-system-running || true")
    assert state.strip() == "running", satellite.reported()


def test_nothing_outside_the_house_was_asked(satellite: Member) -> None:
    assert satellite.home.sent_outside() == []
    assert satellite.home.asked_names() == []


def test_second_start_is_the_same_machine(satellite: Member) -> None:
    before = satellite.identity()
    satellite.guest.power_off()
    satellite.wait_gone()
    satellite.guest.power_on()
    satellite.wait_joined()
    assert satellite.identity() == before
    satellite.guest.power_off()
    with Disk(satellite.guest.disk).ext4(7) as data:
        assert data.is_whole, data.complaints
