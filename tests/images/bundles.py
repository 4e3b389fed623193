"""Updates of a built image, good ones and those that must not stay: each by a small change of its own root."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from provisioning.bundle import build_bundle
from provisioning.signing import signer
from provisioning.slots.version import ImageVersion, version_in
from tests.images.built import keys
from tests.images.disk import Disk, tool

OS_RELEASE = "usr/lib/os-release"
INITRAMFS = "usr/lib/mycoswarm/boot-files/initrd.img"
RUNNING = "usr/lib/mycoswarm/lib/python3.13/site-packages/swarm/node/running.py"
PACK_S = 1200.0
FORM = "%Y%m%d%H%M%S"


class Root:
    """The root of an image, unpacked to be changed and packed again. Needs root."""

    def __init__(self, image: Path, number: int, folder: Path) -> None:
        self._folder = folder
        self.tree = folder / "tree"
        offset = Disk(image).partitions[number].offset
        tool("unsquashfs", "-q", "-n", "-o", str(offset), "-d", str(self.tree), str(image))
        self.version = version_in((self.tree / OS_RELEASE).read_text())

    def close(self) -> None:
        """Remove the tree."""
        shutil.rmtree(self.tree, ignore_errors=True)

    def later(self, days: int) -> ImageVersion:
        """The version of an image that is built so many days after this one; before it, when negative."""
        built = datetime.strptime(self.version.built, FORM) + timedelta(days=days)
        return ImageVersion(self.version.package, built.strftime(FORM))

    def bundle(
        self,
        name: str,
        version: ImageVersion,
        *,
        change: Callable[[Path], None] | None = None,
        signed_by: Path | None = None,
    ) -> Path:
        """A bundle of the root with this version, and with what `change` does to the tree, which is undone after."""
        touched = {OS_RELEASE, INITRAMFS, RUNNING}
        kept = {each: (self.tree / each).read_bytes() for each in touched if (self.tree / each).exists()}
        try:
            release = (self.tree / OS_RELEASE).read_text()
            (self.tree / OS_RELEASE).write_text(
                re.sub(r"(?m)^IMAGE_VERSION=.*$", f'IMAGE_VERSION="{version}"', release)
            )
            if change is not None:
                change(self.tree)
            packed = self._folder / f"{name}.squashfs"
            # As quickly as it goes: how small it becomes is not what is tested.
            argv = ["mksquashfs", str(self.tree), str(packed), "-noappend", "-quiet", "-no-progress"]
            argv += ["-comp", "zstd", "-Xcompression-level", "1"]
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, timeout=PACK_S)
        finally:
            for each, content in kept.items():
                (self.tree / each).write_bytes(content)
        out = self._folder / f"{name}.raucb"
        build_bundle(packed, out, signer(signed_by or keys()))
        packed.unlink()
        return out


def break_application(tree: Path) -> None:
    """The node ends as soon as it starts. Its bytecode goes: it is believed without a look at the source."""
    path = tree / RUNNING
    (compiled,) = (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")
    compiled.unlink()
    path.write_text(f'raise SystemExit("broken on purpose")\n{path.read_text()}')


def break_kernel(tree: Path) -> None:
    """The kernel panics: it has no initramfs that it could unpack, and so no root."""
    (tree / INITRAMFS).write_bytes(b"\0" * 4096)


def stick(bundles: list[Path], path: Path) -> Path:
    """A USB stick with the bundles: one FAT file system."""
    size = sum(bundle.stat().st_size for bundle in bundles)
    with path.open("wb") as file:
        file.truncate(size + 64 * 1024 * 1024)
    tool("mkfs.vfat", "-F", "32", "-n", "UPDATES", str(path))
    for bundle in bundles:
        tool("mcopy", "-i", str(path), str(bundle), f"::{bundle.name}")
    return path
