"""What an image is made of and with which commands; the builds themselves are in tests/images/."""

import json
import struct
import subprocess
import tarfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from provisioning.image.imager import FILES as IMAGER_FILES
from provisioning.image.initrd import scripts
from provisioning.image.layout import DATA
from provisioning.image.recipe import NODES, recipe
from provisioning.image.rootfs import root_command
from provisioning.image.sbom import Part, bill_of_materials, installed, manifest
from provisioning.image.system import (
    BOOT_FILES,
    command_line,
    device_tree_overlays,
    own_files,
    slot_layout,
    take_out,
)
from provisioning.image.trees import pack
from provisioning.settings import FILE_NAME
from provisioning.slots.layout import parse_layout
from provisioning.slots.version import version_of
from swarm.cli import main
from swarm.errors import MycoswarmError

EPOCH = 1_767_225_600
STATUS = """Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.37-2+b10

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
METADATA = "Metadata-Version: 2.4\nName: aiohttp\nVersion: 3.14.5\nLicense-Expression: Apache-2.0 AND MIT\n\nText\n"


def test_all_raspberry_pis_have_the_same_image() -> None:
    boards = [recipe("edge", board) for board in ("rpi3", "rpi4", "rpi5", "zero2w")]
    assert len({each.name for each in boards}) == len({each.root_id for each in boards}) == 1


def test_root_is_another_when_what_it_is_made_of_changes() -> None:
    ids = {
        recipe("worker", "x86_64").root_id,
        recipe("edge", "rpi4").root_id,
        recipe("worker", "x86_64", snapshot="20261101T000000Z").root_id,
    }
    assert len(ids) == 3


@pytest.mark.parametrize(("node", "board"), [("edge", "mac"), ("toaster", "rpi4"), ("gpu", "rpi5")])
def test_what_there_is_no_image_for_is_told_what_there_is(node: str, board: str) -> None:
    with pytest.raises(MycoswarmError) as refused:
        recipe(node, board)
    assert refused.value.hint


@pytest.mark.parametrize("node", NODES)
def test_every_list_has_each_package_once(node: str) -> None:
    packages = recipe(node, "x86_64").packages
    assert len(packages) == len(set(packages)) > 20
    assert not any(set(name) & set(" ,#") for name in packages)


def test_command_names_no_mirror_and_brings_the_initramfs_settings_before_the_kernel(tmp_path: Path) -> None:
    command = root_command(recipe("edge", "rpi5"), early=tmp_path / "early.tar", out=tmp_path / "root.tar")
    assert not any("://" in word for word in command)
    assert "--arch=arm64" in command
    assert f"--essential-hook=tar-in {tmp_path}/early.tar /" in command
    assert command[-2:] == ["trixie", str(tmp_path / "root.tar")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "deb http://a.example/debian trixie main",
            "deb [snapshot=20261101T000000Z] http://a.example/debian trixie main",
        ),
        (
            "deb [signed-by=/k] http://a.example/debian trixie main",
            "deb [snapshot=20261101T000000Z signed-by=/k] http://a.example/debian trixie main",
        ),
    ],
)
def test_snapshot_is_asked_of_every_source(line: str, expected: str, tmp_path: Path) -> None:
    command = root_command(
        recipe("edge", "rpi5", snapshot="20261101T000000Z"), early=tmp_path / "early", out=tmp_path / "out"
    )
    lists = tmp_path / "etc/apt/sources.list.d"
    lists.mkdir(parents=True)
    (lists.parent / "sources.list").write_text(f"{line}\n")
    for word in command:
        if word.startswith("--setup-hook="):
            subprocess.run(["sh", "-ec", word.removeprefix("--setup-hook="), "hook", tmp_path], check=True)
    assert (lists.parent / "sources.list").read_text() == f"{expected}\n"
    backports = (lists / "backports.list").read_text()
    assert backports == f"{expected}\n".replace(" trixie ", " trixie-backports ")


def test_slots_of_the_image_are_those_of_its_disk() -> None:
    for node, board in (("worker", "x86_64"), ("edge", "rpi4")):
        made = recipe(node, board)
        files = own_files(made, version_of("0.1.0", EPOCH), b"certificate")
        layout = parse_layout(files["usr/lib/mycoswarm/slots.toml"].decode())
        assert layout == slot_layout(made)
        assert made.layout.partuuid("root-a") == layout.root.A
        assert layout.root.B in files["etc/rauc/system.conf"].decode()


def test_kernel_command_line_has_what_the_slots_fill_in() -> None:
    for kind in ("x86_64", "pi"):
        assert {"root=PARTUUID={root}", "rauc.slot={slot}", "ro", "panic=10"} <= set(command_line(kind).split())
    assert set(command_line("pi").split()) - set(command_line("x86_64").split()) == {"kpti=0"}


def test_trees_are_packed_as_root_has_them_and_the_later_wins(tmp_path: Path) -> None:
    for name, text in (("one", "first"), ("two", "second")):
        folder = tmp_path / name / "etc"
        folder.mkdir(parents=True)
        (folder / "file").write_text(text)
    (tmp_path / "one/etc/run").write_text("#!/bin/sh\n")
    (tmp_path / "one/etc/run").chmod(0o700)
    (tmp_path / "one/etc/link").symlink_to("/data/etc/link")
    for out in ("a.tar", "b.tar"):
        pack(tmp_path / out, trees=[tmp_path / "one", tmp_path / "two"], files={"/tmp/own": b"own"}, epoch=EPOCH)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        entries = {entry.name: entry for entry in tar}
        file = tar.extractfile("./etc/file")
        assert file is not None
        assert file.read() == b"second"
    assert all((entry.uid, entry.gid, entry.mtime) == (0, 0, EPOCH) for entry in entries.values())
    assert (entries["./etc/run"].mode, entries["./etc/file"].mode) == (0o755, 0o644)
    assert entries["./etc/link"].linkname == "/data/etc/link"
    assert entries["./tmp/own"].size == 3


def test_boot_files_are_taken_out_under_either_of_their_names(tmp_path: Path) -> None:
    pack(tmp_path / "root.tar", files={"usr/lib/modules/7/vmlinuz": b"kernel", f"{BOOT_FILES}/initrd.img": b"initrd"})
    with tarfile.open(tmp_path / "root.tar", "a") as tar:
        link = tarfile.TarInfo(f"./{BOOT_FILES}/vmlinuz")
        link.type, link.linkname = tarfile.LNKTYPE, "./usr/lib/modules/7/vmlinuz"
        tar.addfile(link)
    take_out(tmp_path / "root.tar", {BOOT_FILES: tmp_path / "slot-a"})
    assert (tmp_path / "slot-a/vmlinuz").read_bytes() == b"kernel"
    assert (tmp_path / "slot-a/initrd.img").read_bytes() == b"initrd"
    with pytest.raises(MycoswarmError, match="bootcode"):
        take_out(tmp_path / "root.tar", {f"{BOOT_FILES}/bootcode.bin": tmp_path / "bootcode.bin"})


def test_initramfs_gets_the_scripts_that_mount_the_data_and_none_of_udevs() -> None:
    archive, found, at = scripts(), {}, 0
    while archive[at : at + 6] == b"070701":
        fields = struct.unpack("8s" * 13, archive[at + 6 : at + 110])
        size, length = int(fields[6], 16), int(fields[11], 16)
        name = archive[at + 110 : at + 110 + length - 1].decode()
        data = (at + 110 + length + 3) & ~3
        found[name] = (int(fields[1], 16), archive[data : data + size])
        at = (data + size + 3) & ~3
    assert list(found)[-1] == "TRAILER!!!"
    assert found["scripts/local-bottom/mycoswarm-data"][0] == 0o100755
    assert b"/scripts/local-bottom/mycoswarm-data" in found["scripts/local-bottom/ORDER"][1]
    # What first boot would read, the script looks for; meta-data comes beside the others, and alone says nothing.
    for name in {FILE_NAME, *IMAGER_FILES} - {"meta-data"}:
        assert name.encode() in found["scripts/local-bottom/mycoswarm-data"][1]
    assert found["scripts/init-bottom/mycoswarm-dev"][0] == 0o100755
    for stage in ("init-top", "init-bottom"):
        assert b"udev" not in found[f"scripts/{stage}/ORDER"][1]


def test_materials_are_what_is_installed(tmp_path: Path) -> None:
    files = {
        "var/lib/dpkg/status": STATUS.encode(),
        "usr/lib/mycoswarm/lib/python3.13/site-packages/aiohttp-3.14.5.dist-info/METADATA": METADATA.encode(),
    }
    pack(tmp_path / "root.tar", files=files)
    parts = installed(tmp_path / "root.tar")
    assert parts == [
        Part("deb", "bash", "5.2.37-2+b10", "amd64"),
        Part("pypi", "aiohttp", "3.14.5", licence="Apache-2.0 AND MIT"),
    ]
    assert manifest(parts).splitlines()[0] == "deb\tbash\t5.2.37-2+b10\tamd64"
    bill = json.loads(bill_of_materials(parts, name="mycoswarm-worker", version="1", epoch=EPOCH))
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["timestamp"] == "2026-01-01T00:00:00Z"
    assert [each["purl"] for each in bill["components"]] == [
        "pkg:deb/debian/bash@5.2.37-2%2Bb10?arch=amd64",
        "pkg:pypi/aiohttp@3.14.5",
    ]


def test_every_device_tree_overlay_compiles() -> None:
    made = device_tree_overlays()
    assert sorted(made) == sorted(f"{path.stem}.dtbo" for path in (DATA / "overlays").glob("*.dts"))
    assert all(overlay.startswith(b"\xd0\x0d\xfe\xed") for overlay in made.values())


def test_scripts_that_run_in_the_root_are_clean() -> None:
    found = [DATA / "finish-root", *(DATA / "initrd").rglob("mycoswarm*"), *(DATA / "initramfs").rglob("hooks/*")]
    assert len(found) >= 3
    subprocess.run(["shellcheck", "--exclude=SC1091", *found], check=True)


def test_a_board_that_no_image_is_for_is_named() -> None:
    done = CliRunner().invoke(main, ["image", "build", "--node", "edge", "--board", "rpi9"])
    assert done.exit_code != 0
    assert "rpi9" in done.stderr and "rpi4" in done.stderr


def test_the_commands_options_do_not_share_a_name() -> None:
    image = main.commands["image"]
    assert isinstance(image, click.Group)
    context = click.Context(image)
    for command in filter(None, (image.get_command(context, name) for name in image.list_commands(context))):
        names = [parameter.name for parameter in command.params]
        assert len(names) == len(set(names)), command.name
