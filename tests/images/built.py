"""The images that are tested: built once from this source, and kept for the next run of the tests.

Kept in `MYCOSWARM_IMAGES` (a folder; `~/.cache/mycoswarm/test-images` without it) under a hash of every file that an
image is made of. Debian's part, which takes longest, is cached by the build itself: a change of the source costs less.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from provisioning.image.checksums import bmap_path
from tests.hosts import ROOT

IMAGES = "MYCOSWARM_IMAGES"
"""Environment variable: the folder in which built images are kept."""
READY = "MYCOSWARM_IMAGE_{kind}"
"""Environment variable: a raw image to be tested instead of a built one, such as MYCOSWARM_IMAGE_WORKER_X86_64."""
MADE_OF = ("swarm", "hub", "edge", "gpu_node", "provisioning", "systemd", "pyproject.toml", "constraints.txt")
BUILD_S = 3600.0
"""Debian for arm64 takes 20 minutes where it runs emulated."""
KEPT = 2
"""How many of a kind: this one, and the one of the branch beside."""


def image(node: str, board: str) -> Path:
    """The raw image for a node on a board, not to be written to, with its block map beside it. Builds it if need be,
    which takes minutes."""
    kind = f"{node}-{board}"
    if ready := os.environ.get(READY.format(kind=kind.replace("-", "_").upper())):
        return Path(ready)
    folder = images_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}-{source_id()}.img"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = build(node, board, Path(scratch))
            shutil.move(bmap_path(made), bmap_path(path))
            unpacked(made, Path(scratch) / "raw").rename(path)
    path.touch()
    for old in sorted(folder.glob(f"{kind}-*.img"), key=lambda each: each.stat().st_mtime)[:-KEPT]:
        old.unlink()
        bmap_path(old).unlink(missing_ok=True)
    return path


def build(node: str, board: str, folder: Path) -> Path:
    """The compressed image that `mycoswarm image build` makes, with what it makes beside it, in `folder`."""
    argv = [sys.executable, "-m", "swarm", "image", "build", "--node", node, "--board", board]
    argv += ["--out", str(folder), "--keys", str(keys())]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    made = sorted(folder.glob("*.img.zst"))
    assert len(made) == 1, f"{argv} made {[each.name for each in folder.iterdir()]}"
    return made[0]


def keys() -> Path:
    """The tests' own signing keys, the same for all images that are kept."""
    return images_folder() / "keys"


def images_folder() -> Path:
    """Where images are kept."""
    return Path(os.environ.get(IMAGES) or Path.home() / ".cache" / "mycoswarm" / "test-images")


def unpacked(compressed: Path, target: Path) -> Path:
    """The raw image, with holes where nothing is."""
    subprocess.run(["zstd", "-q", "-d", "--sparse", "-o", target, compressed], check=True, timeout=BUILD_S)
    return target


def source_id() -> str:
    """Changes with every file that an image is made of."""
    whole = hashlib.sha256()
    for name in MADE_OF:
        top = ROOT / name
        for path in sorted([top, *top.rglob("*")] if top.is_dir() else [top]):
            if path.is_symlink() or (path.is_file() and "__pycache__" not in path.parts):
                whole.update(f"{path.relative_to(ROOT)} {path.lstat().st_mode:o}\n".encode())
                whole.update(str(path.readlink()).encode() if path.is_symlink() else path.read_bytes())
    return whole.hexdigest()[:16]


def room_for_images() -> str:
    """Why there is no room for them; empty when there is."""
    folder = next(each for each in (images_folder(), *images_folder().parents) if each.exists())
    free = shutil.disk_usage(folder).free
    return "" if free > 8e9 else f"images need 8 GB free at {folder}, and {free / 1e9:.1f} GB are"
