"""What `provisioning.slots` says of this machine, as the swarm is told it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from provisioning.slots import rauc
from provisioning.slots.model import Slot
from provisioning.slots.rauc import NodeUpdates, SlotStatus
from provisioning.slots.record import Outcome, Update
from swarm.node import updating
from swarm.node.updating import ImageSlots, system_here
from swarm.updates.slots import SlotState, UpdateRefused


def machine(*, trial: bool = False, outcome: Outcome | None = None) -> NodeUpdates:
    last = None if outcome is None else Update(outcome, "1.0", "2.0", Slot.B, 0.0, "it hears nothing")
    slots = (
        SlotStatus("A", "good", "1.0", running=not trial, next=not trial),
        SlotStatus("B", "trial" if trial else "bad", "2.0", running=trial, next=trial),
    )
    return NodeUpdates("mycoswarm-edge-pi", "2.0" if trial else "1.0", slots, last)


def state(monkeypatch: pytest.MonkeyPatch, found: NodeUpdates) -> SlotState:
    monkeypatch.setattr(rauc, "status", lambda: found)
    return asyncio.run(ImageSlots().state())


def test_version_on_trial_is_not_good_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = state(monkeypatch, machine(trial=True, outcome="installed"))
    assert (seen.way, seen.version, seen.slot, seen.good, seen.reason) == ("slots", "2.0", "B", False, "")
    assert seen.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.mark.parametrize("outcome", ["rolled-back", "refused", "failed"])
def test_reason_of_an_update_that_ended_badly_is_told(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    seen = state(monkeypatch, machine(outcome=outcome))
    assert (seen.version, seen.slot, seen.good, seen.reason) == ("1.0", "A", True, "it hears nothing")


def test_update_that_ended_well_has_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert state(monkeypatch, machine(outcome="confirmed")).reason == ""


def test_machine_without_an_image_says_how_it_is_updated() -> None:
    system = system_here()
    assert isinstance(system, SlotState)
    assert (system.way, system.compatible) == ("checkout", "")


@pytest.mark.skipif(shutil.which("rauc") is None, reason="rauc is not installed (Debian: rauc)")
def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    path.write_bytes(b"no bundle")
    with pytest.raises(UpdateRefused):
        asyncio.run(ImageSlots().inspect(path))


def test_restart_is_asked_of_root_by_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating, "ASK_REBOOT", tmp_path / "reboot")
    asyncio.run(ImageSlots().restart())
    assert (tmp_path / "reboot").exists()
