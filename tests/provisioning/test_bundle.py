"""Bundles made by real tools, judged by the real RAUC."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from provisioning.bundle import build_bundle
from provisioning.signing import Signer, signer
from provisioning.slots.layout import Layout, Partitions, layout_text, parse_layout, system_conf
from provisioning.slots.rauc import UpdateFailed, bundle_info
from swarm.errors import MycoswarmError

needs_rauc = pytest.mark.skipif(
    not (shutil.which("rauc") and shutil.which("mksquashfs")), reason="needs rauc and squashfs-tools"
)
LAYOUT = Layout(
    "systemd-boot",
    "mycoswarm-worker-amd64",
    Partitions(f"{0:08x}-0000-4000-8000-{0:012x}", f"{1:08x}-0000-4000-8000-{1:012x}"),
)


def a_root(folder: Path, version: str = "0.1.0+20251121200000") -> Path:
    """A squashfs with what a bundle is told by."""
    tree = folder / "tree"
    (tree / "usr/lib/mycoswarm").mkdir(parents=True)
    (tree / "usr/lib/mycoswarm/slots.toml").write_text(layout_text(LAYOUT))
    (tree / "usr/lib/os-release").write_text(f'ID=debian\nIMAGE_VERSION="{version}"\n')
    root = folder / "root.squashfs"
    subprocess.run(["mksquashfs", str(tree), str(root), "-quiet", "-no-progress", "-all-root"], check=True)
    return root


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return signer(tmp_path_factory.mktemp("keys") / "mine")


def test_the_key_is_made_once_and_private(signing: Signer) -> None:
    before = signing.key.read_bytes()
    assert signer(signing.folder).key.read_bytes() == before
    assert signing.key.stat().st_mode & 0o777 == 0o600


@needs_rauc
def test_a_bundle_of_a_disk_image_says_what_its_root_is(tmp_path: Path, signing: Signer) -> None:
    root, image = a_root(tmp_path), tmp_path / "worker.img"
    with image.open("wb") as disk:
        disk.truncate(8 * 1024**2)
        disk.seek(2 * 1024**2)
        disk.write(root.read_bytes())
    table = "label: gpt\nstart=1MiB,size=1MiB\nstart=2MiB,size=2MiB\nstart=4MiB,size=2MiB\n"
    subprocess.run(["sfdisk", "--quiet", str(image)], input=table, text=True, check=True)
    info = build_bundle(image, tmp_path / "worker.raucb", signing)
    assert (info.compatible, str(info.version)) == ("mycoswarm-worker-amd64", "0.1.0+20251121200000")
    inside = tmp_path / "inside"
    subprocess.run(
        ["rauc", "--keyring", str(signing.certificate), "extract", str(tmp_path / "worker.raucb"), str(inside)],
        check=True,
        capture_output=True,
    )
    assert (inside / "rootfs.img").read_bytes()[: root.stat().st_size] == root.read_bytes()


@needs_rauc
def test_rauc_refuses_strange_and_damaged_bundles(tmp_path: Path, signing: Signer) -> None:
    strange = signer(tmp_path / "others")
    bundle = tmp_path / "update.raucb"
    build_bundle(a_root(tmp_path), bundle, strange)
    assert bundle_info(bundle, keyring=strange.certificate).compatible == "mycoswarm-worker-amd64"
    with pytest.raises(UpdateFailed, match=r"signature|certificate|verif"):
        bundle_info(bundle, keyring=signing.certificate)
    cut = tmp_path / "cut.raucb"
    cut.write_bytes(bundle.read_bytes()[:-1000])
    with pytest.raises(UpdateFailed, match=r"cut\.raucb: .*"):
        bundle_info(cut, keyring=strange.certificate)


@needs_rauc
def test_what_is_no_image_makes_no_bundle(tmp_path: Path, signing: Signer) -> None:
    (tmp_path / "notes.img").write_bytes(bytes(2_000_000))
    with pytest.raises(MycoswarmError):
        build_bundle(tmp_path / "notes.img", tmp_path / "notes.raucb", signing)
    assert not (tmp_path / "notes.raucb").exists()


@needs_rauc
def test_rauc_reads_our_configuration(tmp_path: Path, signing: Signer) -> None:
    conf = tmp_path / "system.conf"
    conf.write_text(system_conf(LAYOUT).replace("/etc/rauc/keyring.pem", str(signing.certificate)))
    bundle = tmp_path / "update.raucb"
    build_bundle(a_root(tmp_path), bundle, signing)
    seen = subprocess.run(
        ["rauc", "--conf", str(conf), "info", str(bundle)], capture_output=True, text=True, check=False
    )
    assert seen.returncode == 0, seen.stderr
    assert "Verified" in seen.stderr


def test_the_layout_is_read_as_it_was_written() -> None:
    pi = Layout(
        "raspberry-pi",
        "mycoswarm-edge-rpi4",
        Partitions("4d59434f-05", "4d59434f-06"),
        Partitions("4d59434f-02", "4d59434f-03"),
    )
    assert parse_layout(layout_text(pi)) == pi
    assert parse_layout(layout_text(LAYOUT)) == LAYOUT
    for wrong in (
        "",
        'way = "grub"',
        layout_text(LAYOUT).replace("00000000-0000", "../../sda"),
        layout_text(pi).split("[boot]")[0],
    ):
        with pytest.raises(MycoswarmError):
            parse_layout(wrong)
