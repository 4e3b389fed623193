"""Power is cut while the machine writes, again and again: what is on its disk is whole each time, and it is itself."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm.ledger.storage import open_storage
from swarm.roster import LEDGER, introduced
from tests.images.conftest import ASKED
from tests.images.disk import Disk
from tests.images.home_lan import HomeLan, home_lan
from tests.images.machines import STATE, Member
from tests.program import Program

DATA = 4
CUTS = 8 if os.environ.get(ASKED) == "nightly" else 1
"""While operations arrive; those of the first start come before. Ten together in the nightly run."""
FIRST_STARTS = 2 if os.environ.get(ASKED) == "nightly" else 1
SEED = 20261121


@pytest.fixture(scope="module")
def home(folder: Path) -> Iterator[HomeLan]:
    with home_lan(folder) as home:
        yield home


@pytest.fixture(scope="module")
def member(worker_image: Path, folder: Path, home: HomeLan) -> Iterator[Member]:
    member = Member("cellar", worker_image, folder, home)
    yield member
    member.guest.cut_power()


@pytest.fixture(scope="module")
def operations(home: HomeLan) -> Program:
    return home.hub.host.python("-m", "tests.images.operations", str(home.hub.state / "node.json"))


def test_power_cut_during_the_first_start_leaves_a_machine_that_joins_at_the_next(member: Member) -> None:
    luck = random.Random(SEED)
    for _ in range(FIRST_STARTS):
        member.guest.power_on()
        member.guest.wait_for_console(r"(?i)mycoswarm-first-boot|first start")
        time.sleep(luck.uniform(0.0, 6.0))  # the moment is what is tried; nothing is waited for
        member.guest.cut_power()
        with Disk(member.guest.disk).ext4(DATA) as data:
            assert data.is_whole, data.complaints
    member.guest.power_on()
    member.wait_joined()


def test_power_cuts_while_operations_arrive_leave_all_whole(
    member: Member, operations: Program, tmp_path: Path
) -> None:
    luck = random.Random(SEED + 1)
    before = member.identity()
    kept = 0
    for number in range(CUTS):
        operations.line(lambda line: line.isdigit(), seconds=120)
        _wait_for_an_operation(member)
        time.sleep(luck.uniform(0.5, 10.0))
        member.guest.cut_power()
        with Disk(member.guest.disk).ext4(DATA) as data:
            assert data.is_whole, data.complaints
            identity = data.copy_folder("/mycoswarm/identity", tmp_path / str(number))
        written = verified_operations(identity)
        assert written > kept, f"nothing of what arrived since the last start was kept: {kept}, {written}"
        kept = written
        member.wait_gone()
        member.guest.power_on()
        member.wait_joined()
        assert member.identity() == before
    state = member.guest.run("systemctl is-system-running --wait || true")
    assert state.strip() == "running", member.reported()


def _wait_for_an_operation(member: Member) -> None:
    def ledger() -> str:
        return member.guest.run(f"stat -c '%s %y' {STATE}/identity/{LEDGER}*")

    before = ledger()
    member.guest.wait_until(lambda: ledger() != before, "no operation arrived")


def verified_operations(identity: Path) -> int:
    """How many operations the ledger holds, each checked against its signature."""
    storage = open_storage(identity / LEDGER, introduced(identity)[0].swarm_id)
    try:
        return storage.check_all()
    finally:
        storage.close()
