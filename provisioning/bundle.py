"""Updates as files: a signed RAUC bundle, made of an image or of its root.

The bundle holds the root of a slot and nothing else that runs: its hook is three lines that call the program which the
node already has. Format `verity`: signed is the hash tree's root, and a node checks each block as it reads it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from provisioning.signing import Signer
from provisioning.slots.layout import HANDLER, parse_layout
from provisioning.slots.rauc import BundleInfo, bundle_info
from provisioning.slots.version import version_in
from swarm.errors import MycoswarmError

MAX_ROOT_BYTES = 4 * 1024**3
SQUASHFS = b"hsqs"

HOOK = f"""#!/bin/sh
# Called by RAUC on the node once the root is written: its kernel goes to where the firmware looks for it.
set -eu
[ "$1" = slot-post-install ]
exec {HANDLER} take "$RAUC_SLOT_BOOTNAME" "$RAUC_SLOT_DEVICE"
"""


def build_bundle(source: Path, out: Path, signing: Signer) -> BundleInfo:
    """Makes `out` of `source`: an image (`.img`, or `.img.zst` as `image build` leaves it) or the squashfs of a root.

    What it is and for which machines, the root itself says. `rauc info` must accept the bundle before it is left there.
    Raises `MycoswarmError`.
    """
    for tool in ("rauc", "unsquashfs", "mksquashfs"):
        if shutil.which(tool) is None:
            raise MycoswarmError(
                f"bundles are made with {tool}, which is not here", hint="apt install rauc squashfs-tools"
            )
    if out.suffix != ".raucb":
        raise MycoswarmError(f"{out.name}: bundles are called ….raucb")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=out.parent) as name:
        folder = Path(name)
        content = folder / "content"
        content.mkdir()
        root = content / "rootfs.img"
        _take_root(source, root, folder)
        layout = parse_layout(_text_of(root, "usr/lib/mycoswarm/slots.toml"))
        version = version_in(_text_of(root, "usr/lib/os-release"))
        (content / "hook").write_text(HOOK)
        (content / "hook").chmod(0o755)
        (content / "manifest.raucm").write_text(manifest(layout.compatible, str(version)))
        made = folder / "bundle.raucb"
        # The root is compressed already: mksquashfs would only lose time on it.
        squash = "--mksquashfs-args=-noI -noD -noF -noX -no-progress"
        _run(
            "rauc",
            "bundle",
            "--cert",
            str(signing.certificate),
            "--key",
            str(signing.key),
            squash,
            str(content),
            str(made),
        )
        info = bundle_info(made, keyring=signing.certificate)
        made.replace(out)
    return info


def manifest(compatible: str, version: str) -> str:
    """`manifest.raucm`."""
    return f"""[update]
compatible={compatible}
version={version}

[bundle]
format=verity

[hooks]
filename=hook

[image.rootfs]
filename=rootfs.img
hooks=post-install
"""


def _take_root(source: Path, root: Path, folder: Path) -> None:
    try:
        if source.suffix == ".zst":
            image = folder / "image.img"
            _run("zstd", "--decompress", "--sparse", "--quiet", str(source), "-o", str(image))
        else:
            image = source
        with image.open("rb") as file:
            offset = 0 if file.read(4) == SQUASHFS else _root_offset(image)
            _copy_squashfs(image, offset, root)
    except OSError as error:
        raise MycoswarmError(f"cannot read {source}: {error.strerror or error}") from error


def _root_offset(image: Path) -> int:
    """Where slot A's root begins in the image of a disk: the first partition that is a squashfs."""
    table = json.loads(_run("sfdisk", "--json", str(image)))["partitiontable"]
    sector = int(table.get("sectorsize", 512))
    with image.open("rb") as file:
        for partition in table.get("partitions", []):
            offset = int(partition["start"]) * sector
            file.seek(offset)
            if file.read(4) == SQUASHFS:
                return offset
    raise MycoswarmError(f"{image.name} has no slot with a system in it", hint="name an image of mycoswarm image build")


def _copy_squashfs(image: Path, offset: int, root: Path) -> None:
    """The file system, without the empty rest of its partition."""
    with image.open("rb") as file, root.open("wb") as out:
        file.seek(offset)
        head = file.read(96)
        # Squashfs 4.0 superblock: bytes_used at 40, little-endian; padded to 4 KiB as mksquashfs does.
        size = -(-int.from_bytes(head[40:48], "little") // 4096) * 4096
        if head[:4] != SQUASHFS or not 4096 <= size <= MAX_ROOT_BYTES:
            raise MycoswarmError(f"{image.name}: not a squashfs, or none of a believable size")
        file.seek(offset)
        left = size
        while left:
            piece = file.read(min(left, 4 * 1024 * 1024))
            if not piece:
                out.write(bytes(left))  # the padding of a bare squashfs file may be missing
                break
            out.write(piece)
            left -= len(piece)


def _text_of(root: Path, path: str) -> str:
    try:
        return _run("unsquashfs", "-cat", str(root), path)
    except MycoswarmError as error:
        raise MycoswarmError(f"the root has no {path}: {error}", hint="it is no image of mycoswarm") from error


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=1800, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise MycoswarmError(f"{command[0]} failed: {said[-1][:500]}")
    return done.stdout
