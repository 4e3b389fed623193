"""The real RAUC with our configuration, our handler and our hook: what it installs, what it refuses, what is left when
it is killed. Two files stand for the slots, a folder for the boot partition; no kernel starts (tests/images does)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from provisioning import bundle as bundles
from provisioning.bundle import build_bundle
from provisioning.signing import Signer, signer
from provisioning.slots.fresh import firmware_files
from provisioning.slots.layout import Layout, Partitions, layout_text, system_conf
from provisioning.slots.record import read_update
from provisioning.slots.version import ImageVersion, parse_version

HERE = Path(__file__).parents[2]
CMDLINE = "root=PARTUUID={root} ro rauc.slot={slot} panic=10\n"
A, B = "6d79636f-0000-4000-8000-00000000000a", "6d79636f-0000-4000-8000-00000000000b"
LAYOUT = Layout("systemd-boot", "mycoswarm-worker-amd64", Partitions(A, B))
OLDER, RUNS, NEWER = (parse_version(f"0.1.0+2025112{day}200000") for day in (1, 2, 3))
SLOT_BYTES = 8 * 1024**2
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path=/run/dbus/bus</listen><auth>EXTERNAL</auth><policy context="default">
<allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
</policy></busconfig>
"""

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, ("rauc", "dbus-daemon", "mksquashfs", "losetup"))),
        reason="needs root, rauc, dbus and squashfs-tools",
    ),
    # RAUC's library keeps one set of loop devices and mounts; and pytest-xdist would start many.
    pytest.mark.xdist_group("rauc"),
]


@dataclass
class Machine:
    """What `rauc_host.sh` runs in."""

    folder: Path
    signing: Signer

    def bundle(self, name: str, version: ImageVersion, *, by: Signer | None = None) -> Path:
        """A bundle of a root that says it is `version`."""
        tree = self.folder / f"{name}-tree"
        files = tree / "usr/lib/mycoswarm/boot-files"
        files.mkdir(parents=True)
        (files / "vmlinuz").write_text(f"kernel of {version}")
        (files / "initrd.img").write_bytes(os.urandom(2_000_000))
        (files / "cmdline.in").write_text(CMDLINE)
        (tree / "usr/lib/mycoswarm/slots.toml").write_text(layout_text(LAYOUT))
        (tree / "usr/lib/os-release").write_text(f'ID=debian\nIMAGE_VERSION="{version}"\n')
        root = self.folder / f"{name}.squashfs"
        subprocess.run(["mksquashfs", str(tree), str(root), "-quiet", "-no-progress"], check=True)
        out = self.folder / f"{name}.raucb"
        build_bundle(root, out, by or self.signing)
        return out

    def run(self, *command: str) -> tuple[int, str]:
        """The exit status of a command on the machine, and what it said."""
        done = subprocess.run(
            ["sh", str(Path(__file__).parent / "rauc_host.sh"), str(self.folder), *command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr + (self.folder / "service.log").read_text()

    def install(self, bundle: Path) -> tuple[int, str]:
        """`rauc install`."""
        return self.run("rauc", "install", f"/mnt/{bundle.name}")

    @property
    def boot(self) -> Path:
        return self.folder / "tree/boot/mycoswarm"

    @property
    def entries(self) -> list[str]:
        return sorted(path.name for path in (self.boot / "loader/entries").iterdir())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    # This machine's kernel need not have dm-verity; RAUC then takes the format that it checks as a whole.
    plain = bundles.manifest("COMPATIBLE", "VERSION").replace("format=verity", "format=plain")
    monkeypatch.setattr(
        bundles,
        "manifest",
        lambda compatible, version: plain.replace("COMPATIBLE", compatible).replace("VERSION", version),
    )
    signing = signer(tmp_path / "keys")
    tree = tmp_path / "tree"
    for path, data in firmware_files(LAYOUT, RUNS, CMDLINE).items():
        (tree / "boot/mycoswarm" / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / "boot/mycoswarm" / path).write_bytes(data)
    (tree / "boot/mycoswarm/slot-a").mkdir()
    (tree / "boot/mycoswarm/slot-a/vmlinuz").write_text("kernel that runs")
    program = tree / "usr/lib/mycoswarm/boot-slots"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\ncd {HERE}\nexec {sys.executable} -m provisioning.slots "$@"\n')
    program.chmod(0o755)
    (program.parent / "slots.toml").write_text(layout_text(LAYOUT))
    (tree / "usr/lib/os-release").write_text(f'ID=debian\nIMAGE_VERSION="{RUNS}"\n')
    (tree / "etc/rauc").mkdir(parents=True)
    (tree / "etc/rauc/system.conf").write_text(system_conf(LAYOUT).replace("=verity", "=plain"))
    (tree / "etc/rauc/keyring.pem").write_bytes(signing.certificate.read_bytes())
    (tree / "etc/bus.conf").write_text(BUS)
    for folder in ("data/update", "data/rauc"):
        (tree / folder).mkdir(parents=True)
    for slot in "ab":
        with (tmp_path / f"{slot}.img").open("wb") as file:
            file.truncate(SLOT_BYTES)
    (tmp_path / "cmdline").write_text("root=x ro rauc.slot=A\n")
    return Machine(tmp_path, signing)


def test_a_newer_bundle_is_written_and_starts_next(machine: Machine) -> None:
    bundle = machine.bundle("newer", NEWER)
    code, said = machine.install(bundle)
    assert code == 0, said
    root = (machine.folder / "newer.squashfs").read_bytes()
    assert (machine.folder / "b.img").read_bytes()[: len(root)] == root
    assert machine.entries == ["slot-a.conf", "slot-b+3.conf"]
    assert (machine.boot / "slot-b/vmlinuz").read_text() == f"kernel of {NEWER}"
    assert (machine.boot / "slot-a/vmlinuz").read_text() == "kernel that runs"
    update = read_update(machine.folder / "tree/data/update")
    assert update is not None
    assert (update.outcome, update.version_from, update.version_to) == ("installed", str(RUNS), str(NEWER))


def test_an_older_bundle_is_refused_before_anything_is_written(machine: Machine) -> None:
    code, said = machine.install(machine.bundle("older", OLDER))
    assert code != 0, said
    assert machine.entries == ["slot-a.conf"]
    assert not any((machine.folder / "b.img").read_bytes())
    update = read_update(machine.folder / "tree/data/update")
    assert update is not None
    assert update.outcome == "refused"
    assert f"{OLDER} is older than {RUNS}" in update.reason


def test_strange_and_damaged_bundles_are_refused(machine: Machine) -> None:
    strange = machine.bundle("strange", NEWER, by=signer(machine.folder / "others"))
    code, said = machine.install(strange)
    assert code != 0
    assert "signature" in said or "certificate" in said
    whole = machine.bundle("cut", NEWER)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    code, said = machine.install(whole)
    assert code != 0, said
    assert machine.entries == ["slot-a.conf"]
    assert read_update(machine.folder / "tree/data/update") is None


def test_killed_in_the_middle_it_leaves_the_slot_that_runs(machine: Machine) -> None:
    """Killed when the root is written and its kernel is not: the worst moment, a new root without its kernel."""
    bundle = machine.bundle("newer", NEWER)
    program = machine.folder / "tree/usr/lib/mycoswarm/boot-slots"
    kept = program.read_text()
    program.write_text(kept.replace("exec", '[ "${1:-}" = take ] && kill -9 "$(cat /mnt/service.pid)" && exit 1\nexec'))
    code, said = machine.install(bundle)
    assert code != 0, said
    assert any((machine.folder / "b.img").read_bytes()), "it was written"
    assert machine.entries == ["slot-a.conf"], "and does not start"
    program.write_text(kept)
    code, said = machine.install(bundle)
    assert code == 0, said
    assert machine.entries == ["slot-a.conf", "slot-b+3.conf"]
