"""Updates of a machine that works: a good one stays; each of the others ends on the old version, working, and the
reason is told. One machine and one stick for all; the tests are one story, in order."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images.bundles import Root, break_application, break_kernel, stick
from tests.images.conftest import ASKED
from tests.images.home_lan import HomeLan, home_lan
from tests.images.machines import Member

ROOT_A = 2
UPDATE_S = 1800.0
"""Written, started, proved; and with a bad one three starts and the way back."""
ALL = os.environ.get(ASKED) == "nightly"


@pytest.fixture(scope="module")
def home(folder: Path) -> Iterator[HomeLan]:
    with home_lan(folder) as home:
        yield home


@pytest.fixture(scope="module")
def versions(worker_image: Path, folder: Path) -> dict[str, str]:
    """What the stick has, by file name without its end; and `running`."""
    scratch = folder / "bundles"
    scratch.mkdir()
    root = Root(worker_image, ROOT_A, scratch)
    try:
        made = {"good": root.bundle("good", root.later(1))}
        found = {"running": str(root.version), "good": str(root.later(1))}
        made["broken"] = root.bundle("broken", root.later(2), change=break_application)
        found["broken"] = str(root.later(2))
        if ALL:
            made["panic"] = root.bundle("panic", root.later(3), change=break_kernel)
            made["stranger"] = root.bundle("stranger", root.later(4), signed_by=scratch / "strangers-keys")
            made["old"] = root.bundle("old", root.later(-1))
        whole = made["good"].read_bytes()
        made["half"] = scratch / "half.raucb"
        made["half"].write_bytes(whole[: len(whole) // 2])
    finally:
        root.close()
    stick(list(made.values()), folder / "stick.img")
    for each in made.values():
        each.unlink()
    return found


@pytest.fixture(scope="module")
def member(worker_image: Path, versions: dict[str, str], folder: Path, home: HomeLan) -> Iterator[Member]:
    member = Member("attic", worker_image, folder, home, stick=folder / "stick.img")
    with member.powered():
        yield member


def test_bundle_cut_in_the_middle_is_refused(member: Member, versions: dict[str, str]) -> None:
    refused(member, "half", versions["running"])


@pytest.mark.nightly
def test_bundle_of_a_stranger_is_refused(member: Member, versions: dict[str, str]) -> None:
    assert "sign" in refused(member, "stranger", versions["running"]).lower()


@pytest.mark.nightly
def test_older_version_is_refused(member: Member, versions: dict[str, str]) -> None:
    assert "older" in refused(member, "old", versions["running"]).lower()


def test_broken_application_ends_on_the_old_version_with_the_reason(member: Member, versions: dict[str, str]) -> None:
    before = member.identity()
    status = tried(member, "broken")
    assert status["version"] == versions["running"], status
    assert status["step"] == "failed", status
    assert status["reason"], status
    works(member, before)


@pytest.mark.nightly
def test_kernel_that_panics_ends_on_the_old_version_with_the_reason(member: Member, versions: dict[str, str]) -> None:
    before = member.identity()
    status = tried(member, "panic")
    assert (status["version"], status["step"]) == (versions["running"], "failed"), status
    assert status["reason"], status
    works(member, before)


@pytest.mark.nightly
def test_power_cut_while_an_update_is_written_leaves_the_old_version_which_goes_on_with_it(
    member: Member, versions: dict[str, str]
) -> None:
    before = member.identity()
    begun(member, "good")
    member.guest.wait_until(
        lambda: "rootfs" in member.guest.status_of("journalctl -b -u rauc --no-pager | tail -5")[1],
        "RAUC did not begin to write",
    )
    member.guest.cut_power()
    member.wait_gone()
    member.guest.power_on()
    member.wait_joined()
    starts = member.guest.starts()
    assert running(member) == versions["running"]
    works(member, before)
    status = finished(member, "good", starts)
    assert (status["version"], status["step"]) == (versions["good"], "good"), status
    works(member, before)


def test_good_update_stays(member: Member, versions: dict[str, str]) -> None:
    before = member.identity()
    if running(member) != versions["good"]:
        status = tried(member, "good")
        assert (status["version"], status["step"]) == (versions["good"], "good"), status
    works(member, before)
    member.guest.power_off()
    member.wait_gone()
    member.guest.power_on()
    member.wait_joined()
    assert running(member) == versions["good"]


# ---- what a person does and sees


def begun(member: Member, name: str) -> tuple[int, str]:
    """`mycoswarm update apply` of a bundle on the stick."""
    member.guest.run("mkdir -p /run/stick; mountpoint -q /run/stick || mount -o ro /dev/vdb /run/stick")
    return member.guest.status_of(f"mycoswarm update apply /run/stick/{name}.raucb", seconds=600)


def refused(member: Member, name: str, version: str) -> str:
    """Why it was; and nothing changed."""
    starts = member.guest.starts()
    status, said = begun(member, name)
    assert status != 0, said
    assert running(member) == version
    assert member.guest.starts() == starts
    return said


def tried(member: Member, name: str) -> dict[str, Any]:
    """Apply it and wait until the machine is done with it; how it stands then."""
    starts = member.guest.starts()
    status, said = begun(member, name)
    assert status == 0, said
    return finished(member, name, starts)


def finished(member: Member, name: str, starts: int) -> dict[str, Any]:
    """Wait until it has started again, after so many `starts`, and is done with the update; how it stands then."""
    found: dict[str, Any] = {}

    def done() -> bool:
        if member.seen().get("state") != "alive":
            return False
        try:
            code, text = member.guest.status_of("mycoswarm update status --json", seconds=60)
        except AssertionError:
            return False  # it goes down while it is asked
        if code == 0:
            found.update(next(each for each in json.loads(text) if each.get("here")))
        return found.get("step") in ("good", "failed")

    member.guest.wait_for_start(starts + 1, seconds=UPDATE_S)
    member.guest.wait_until(done, f"the update {name} did not end: {found}", seconds=UPDATE_S)
    return found


def running(member: Member) -> str:
    """The version that runs."""
    return member.guest.run("sed -n 's/^IMAGE_VERSION=//p' /usr/lib/os-release").strip().strip('"')


def works(member: Member, before: object) -> None:
    """It is in the swarm, itself, and answers."""
    member.wait_joined()
    assert member.identity() == before
    assert re.search(r"It.*\d:\d\d", member.did("ask", "what time is it"))
