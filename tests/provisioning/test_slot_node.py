"""What RAUC and the units call, on folders that stand for the boot partition and /data."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from provisioning.health import Works, missing, prove
from provisioning.slots import __main__ as program
from provisioning.slots import admission, node, rauc
from provisioning.slots.fresh import firmware_files
from provisioning.slots.layout import Layout
from provisioning.slots.model import Slot, SlotState, SlotView
from provisioning.slots.node import NodeSlots
from provisioning.slots.partition import MountedPartition
from provisioning.slots.record import FailureNotes, Update, after_start, read_update, write_update
from provisioning.slots.version import ImageVersion, parse_version, version_in
from swarm.errors import MycoswarmError
from tests.provisioning.test_slots import CMDLINE, PI, X86

OLD, NEW = parse_version("0.1.0+20251121200000"), parse_version("0.2.0+20251201080000")
ROOT_TEXT = 'ID=debian\nIMAGE_VERSION="{}"\n'


def a_node(tmp_path: Path, layout: Layout = X86, current: Slot = Slot.A) -> NodeSlots:
    """As the image leaves it."""
    for path, data in firmware_files(layout, OLD, CMDLINE).items():
        (tmp_path / "boot" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "boot" / path).write_bytes(data)
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True, exist_ok=True)
    (root / "usr/lib/os-release").write_text(ROOT_TEXT.format(OLD))
    (tmp_path / "update").mkdir()
    return NodeSlots(layout, current, MountedPartition(tmp_path / "boot"), tmp_path / "update", tmp_path / "run", root)


def installed(slots: NodeSlots, version: ImageVersion = NEW) -> None:
    """What an installation leaves, without the bytes."""
    write_update(slots.update_folder, Update("installing", str(OLD), str(version), slots.current.other, 0.0))
    partition = slots.boot.read(slots.way.patterns)
    slots.boot.do(slots.way.written(partition, slots.current.other, title="new", options="rauc.slot=B"))
    slots.make_primary(slots.current.other)


def on(slots: NodeSlots, current: Slot) -> NodeSlots:
    """The machine started from that slot."""
    return NodeSlots(slots.layout, current, slots.boot, slots.update_folder, slots.runtime, slots.root)


def started_new(slots: NodeSlots) -> NodeSlots:
    """The new version's first start, as the firmware does it."""
    if slots.layout is X86:
        entries = slots.boot.folder / "loader/entries"
        (entries / "slot-b+3.conf").rename(entries / "slot-b+2-1.conf")
    else:
        assert slots.attempt() == "0 tryboot"
    return on(slots, Slot.B)


both = pytest.mark.parametrize("layout", [X86, PI], ids=["systemd-boot", "raspberry-pi"])
WELL = Works(runs=True, member=True, network=True, peers=2, offers=("synthesize",), answers=True, hears=True)


@both
def test_a_version_that_works_is_confirmed(tmp_path: Path, layout: Layout) -> None:
    old = a_node(tmp_path, layout)
    installed(old)
    assert read_update(old.update_folder).outcome == "installed"  # type: ignore[union-attr]
    new = started_new(old)
    seen = iter([Works(), WELL])
    assert prove(new, look_now=lambda: next(seen), sleep=lambda s: None)
    assert new.view(Slot.B).state is SlotState.GOOD
    assert new.primary() is Slot.B
    assert read_update(new.update_folder).outcome == "confirmed"  # type: ignore[union-attr]


@both
def test_a_version_that_does_not_work_goes_back_and_the_old_one_tells_why(
    tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = a_node(tmp_path, layout)
    installed(old)
    new = started_new(old)
    reboots: list[int] = []
    monkeypatch.setattr(node, "reboot", lambda: reboots.append(1))
    now = iter(range(0, 10_000, 100))
    deaf = msgspec.structs.replace(WELL, hears=False)
    (old.update_folder / "works.json").write_bytes(msgspec.json.encode(WELL))
    assert not prove(new, look_now=lambda: deaf, clock=lambda: float(next(now)), sleep=lambda s: None)
    assert reboots == [1]
    back = on(new, Slot.A)
    assert prove(back, look_now=lambda: deaf)
    assert back.primary() is Slot.A
    update = read_update(back.update_folder)
    assert update is not None
    assert (update.outcome, update.reason) == ("rolled-back", "the microphone is not heard any more")
    assert back.view(Slot.B).state is SlotState.BAD


@both
def test_a_kernel_that_panics_leaves_no_word_and_is_reported_all_the_same(tmp_path: Path, layout: Layout) -> None:
    old = a_node(tmp_path, layout)
    installed(old)
    started_new(old)
    if layout is X86:
        entries = old.boot.folder / "loader/entries"
        (entries / "slot-b+2-1.conf").rename(entries / "slot-b+0-3.conf")
    old.settle()
    update = read_update(old.update_folder)
    assert update is not None
    assert update.outcome == "rolled-back"
    assert f"expected {NEW} in slot B, but slot A started" in update.reason


@both
def test_a_good_version_is_not_given_up_whatever_breaks(tmp_path: Path, layout: Layout) -> None:
    slots = a_node(tmp_path, layout)
    assert prove(slots, look_now=lambda: pytest.fail("nobody needs to look"))
    assert not node.give_up(slots, "broken")
    assert slots.view(Slot.A).state is SlotState.GOOD


@both
def test_a_person_can_go_back(tmp_path: Path, layout: Layout) -> None:
    old = a_node(tmp_path, layout)
    old.settle()
    installed(old)
    new = started_new(old)
    (new.root / "usr/lib/os-release").write_text(ROOT_TEXT.format(NEW))
    assert prove(new, look_now=lambda: WELL)
    new.make_primary(Slot.A)
    assert new.primary() is Slot.A
    update = read_update(new.update_folder)
    assert update is not None
    assert (update.version_from, update.version_to) == (str(NEW), str(OLD))
    back = on(new, Slot.A)
    assert prove(back, look_now=lambda: WELL)
    assert read_update(back.update_folder).outcome == "confirmed"  # type: ignore[union-attr]


def test_a_boot_partition_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    old = a_node(tmp_path)
    installed(old)
    new = started_new(old)
    new.boot.folder.rename(tmp_path / "not yet")
    new.boot.folder.mkdir()  # an automount that did not get its device

    def it_comes(_: float) -> None:
        new.boot.folder.rmdir()
        (tmp_path / "not yet").rename(new.boot.folder)

    assert prove(new, look_now=lambda: WELL, sleep=it_comes)
    assert new.view(Slot.B).state is SlotState.GOOD


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        (WELL, WELL, []),
        (Works(), msgspec.structs.replace(WELL, member=False, hears=False), []),
        (WELL, Works(why_not="nothing listens"), ["the node does not answer: nothing listens"]),
        (WELL, msgspec.structs.replace(WELL, peers=0), []),
        (WELL, msgspec.structs.replace(WELL, peers=0, knocked=True), ["other nodes are there"]),
        (WELL, msgspec.structs.replace(WELL, peers=0, network=False), ["there is no network"]),
        (WELL, msgspec.structs.replace(WELL, member=False), ["swarm"]),
        (WELL, msgspec.structs.replace(WELL, offers=()), ["synthesize"]),
        (WELL, msgspec.structs.replace(WELL, answers=False), ["no answer"]),
        (WELL, msgspec.structs.replace(WELL, answers=None), []),
        (WELL, msgspec.structs.replace(WELL, hears=False), ["microphone"]),
        (WELL, msgspec.structs.replace(WELL, failed_units=("mycoswarm-hub.service",)), ["mycoswarm-hub.service"]),
        (Works(), msgspec.structs.replace(WELL, no_data="no such partition"), ["no such partition"]),
        (msgspec.structs.replace(WELL, answers=False), msgspec.structs.replace(WELL, answers=False), []),
    ],
)
def test_what_is_held_against_a_new_version(before: Works, now: Works, found: list[str]) -> None:
    said = missing(before, now)
    assert len(said) == len(found)
    for expected, got in zip(found, said, strict=True):
        assert expected in got


def test_older_versions_come_in_only_when_root_says_so_and_only_once(tmp_path: Path) -> None:
    slots = a_node(tmp_path)
    for version in (OLD, NEW):
        admission.require_fitting(version, OLD, SlotState.GOOD)
    with pytest.raises(admission.UpdateRefused, match="is older than"):
        admission.require_fitting(OLD, NEW, SlotState.GOOD)
    admission.allow_downgrade(slots, OLD)
    allowed = admission.take_allowance(slots)
    admission.require_fitting(OLD, NEW, SlotState.GOOD, allowed=allowed)
    assert admission.take_allowance(slots) is None
    with pytest.raises(admission.UpdateRefused, match="not proved itself"):
        admission.require_fitting(NEW, OLD, SlotState.TRIAL)


def test_versions_are_ordered_by_package_then_by_time() -> None:
    texts = [
        "0.1.0rc1+20260101000000",
        "0.1.0+20250101000000",
        "0.1.0+20250101000001",
        "0.1.1+20240101000000",
        "0.10+20240101000000",
    ]
    versions = [parse_version(text) for text in texts]
    assert sorted(versions, reverse=True) == versions[::-1]
    assert version_in(ROOT_TEXT.format(NEW)) == NEW
    for wrong in ("", "0.1.0", "1+2", "0.1.0+2025112120000", "v1+20251121200000", "1.0+20251121200000; rm"):
        with pytest.raises(MycoswarmError):
            parse_version(wrong)


def test_raucs_requests_are_answered_as_it_expects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slots = a_node(tmp_path)
    monkeypatch.setattr(program, "this_node", lambda: slots)
    said = []
    for request in ("get-primary", "get-current", "get-state A", "get-state B"):
        assert program.main(request.split()) == 0
        said.append(capsys.readouterr().out)
    assert said == ["A\n", "A\n", "good\n", "bad\n"]
    assert program.main(["set-state", "A", "bad"]) == 1, "nothing would be left"
    assert program.main(["set-state", "B", "bad"]) == 0
    assert program.main(["set-primary", "B"]) == 1, "nothing is installed there"
    assert program.main(["format", "C"]) == 1
    assert "no such request" in capsys.readouterr().err
    monkeypatch.setattr(rauc, "is_slotted", lambda: True)
    monkeypatch.setattr(rauc, "this_node", lambda: slots)
    status = rauc.status()
    assert status is not None
    assert [(each.slot, each.state, each.running, each.next) for each in status.slots] == [
        ("A", "good", True, True),
        ("B", "empty", False, False),
    ]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    published = slots.runtime / "state.json"
    published.rename(tmp_path / "kept")
    early = rauc.status()
    assert early is not None
    assert early.on_trial, "nothing is proved as long as nobody has looked"
    (tmp_path / "kept").rename(published)
    assert rauc.status() == status, "the node's user reads what root published"


def test_an_interrupted_installation_is_noted() -> None:
    update = Update("installing", str(OLD), str(NEW), Slot.B, 0.0)
    noted = after_start(update, Slot.A, SlotView(SlotState.BAD), said="", now=1.0)
    assert noted is not None
    assert (noted.outcome, "interrupted" in noted.reason) == ("failed", True)


def test_a_damaged_note_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "last.json").write_bytes(b"\x00" * 100)
    assert read_update(tmp_path) is None
    FailureNotes(tmp_path).write("x" * 10_000, "log")
    assert len(FailureNotes(tmp_path).read()) == 2000
    FailureNotes(tmp_path).clear()
    assert FailureNotes(tmp_path).read() == ""


SCRIPT = Path(__file__).parents[2] / "systemd/image/usr/lib/mycoswarm/trial-failed"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_the_script_for_broken_systems_is_sound() -> None:
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)


def a_new_root(tmp_path: Path, *, link: bool = False) -> Path:
    """A squashfs with boot-files, as an update's is."""
    tree = tmp_path / "new"
    files = tree / "usr/lib/mycoswarm/boot-files"
    (files / "overlays").mkdir(parents=True)
    (files / "vmlinuz").write_bytes(b"new kernel")
    (files / "initrd.img").write_bytes(b"new initrd")
    (files / "overlays/hat.dtbo").write_bytes(b"hat")
    (files / "cmdline.in").write_text(CMDLINE)
    if link:
        (files / "vmlinuz.old").symlink_to("/etc/shadow")
    (tree / "usr/lib/os-release").write_text(ROOT_TEXT.format(NEW))
    root = tmp_path / "new.squashfs"
    subprocess.run(["mksquashfs", str(tree), str(root), "-quiet", "-no-progress"], check=True)
    return root


needs_mount = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mksquashfs") is None, reason="mounts a squashfs: needs root and squashfs-tools"
)


@needs_mount
def test_the_kernel_of_a_written_root_comes_to_the_boot_partition_and_starts_nothing_yet(tmp_path: Path) -> None:
    slots = a_node(tmp_path)
    (slots.boot.folder / "slot-a").mkdir()
    (slots.boot.folder / "slot-a/vmlinuz").write_bytes(b"old kernel")
    (slots.boot.folder / "slot-b/left-over").mkdir(parents=True)
    (slots.boot.folder / "slot-b/board.txt").write_text("dtoverlay=hat")
    assert slots.take(Slot.B, str(a_new_root(tmp_path))) == NEW
    found = sorted(path.relative_to(slots.boot.folder).as_posix() for path in slots.boot.folder.rglob("*"))
    assert [path for path in found if path.startswith("slot-")] == [
        *("slot-a", "slot-a/vmlinuz", "slot-b", "slot-b/board.txt", "slot-b/initrd.img"),
        *("slot-b/overlays", "slot-b/overlays/hat.dtbo", "slot-b/vmlinuz"),
    ]
    assert (slots.boot.folder / "slot-a/vmlinuz").read_bytes() == b"old kernel"
    assert (slots.primary(), slots.view(Slot.B).state) == (Slot.A, SlotState.BAD)
    slots.make_primary(Slot.B)
    entry = (slots.boot.folder / "loader/entries/slot-b+3.conf").read_text()
    assert f"options root=PARTUUID={X86.root.B} ro rauc.slot=B panic=10\n" in entry
    assert "linux /slot-b/vmlinuz\n" in entry
    assert not os.path.ismount(tmp_path / "run/root")


@needs_mount
def test_a_root_that_would_lead_out_of_itself_is_not_taken(tmp_path: Path) -> None:
    slots = a_node(tmp_path)
    with pytest.raises(MycoswarmError, match="neither a file nor a folder"):
        slots.take(Slot.B, str(a_new_root(tmp_path, link=True)))
    assert slots.view(Slot.B).state is SlotState.EMPTY
    with pytest.raises(MycoswarmError, match="slot A runs"):
        slots.take(Slot.A, str(tmp_path / "new.squashfs"))
