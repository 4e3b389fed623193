"""What goes into an image: packages, overlay trees and the layout, all data in `provisioning/data/`.

Pure but for reading those files.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from provisioning.image.layout import DATA, Layout, kind_of, with_root_size
from swarm.errors import MycoswarmError

SUITE = "trixie"
PYTHON = "3.13"
"""The suite's."""
ROOT_EPOCH = 1_754_697_600
"""2025-08-09, when the suite was released: nothing in a root says that it is younger. It is kept for images of other
days, and has to be the same as one that is made for them."""

SYSTEMD_IMAGE = DATA.parents[1] / "systemd" / "image"
"""Unit files that only an image has: beside the package's own, which the package brings."""

NODES = ("edge", "worker", "gpu")
GPU_ROOT_MIB = 3072
COMPONENTS_GPU = "main,contrib,non-free,non-free-firmware"
"""NVIDIA's driver is not free."""


@dataclass(frozen=True)
class Recipe:
    """One kind of image: what a node does, on which board."""

    node: str
    board: str
    kind: str
    """Of the board: `x86_64` or `pi`; one image serves all boards of a kind."""
    layout: Layout
    snapshot: str = ""
    """The archive as it was then, `20251121T000000Z`; empty: as it is now."""

    @property
    def name(self) -> str:
        """How its files are called."""
        return f"mycoswarm-{self.node}-{self.kind.replace('_', '-')}"

    @cached_property
    def packages(self) -> list[str]:
        """Debian's packages, each once."""
        named = [
            name
            for part in ("base", self.node, self.kind, f"{self.node}-{self.kind}")
            for name in data_list("packages", part)
        ]
        return list(dict.fromkeys(named))

    @property
    def more_options(self) -> list[str]:
        """For mmdebstrap, beside `ROOT_OPTIONS`."""
        return [f"--components={COMPONENTS_GPU}"] if self.node == "gpu" else []

    @property
    def unused(self) -> list[str]:
        """Patterns of paths in the root that no node of this kind has a use for."""
        return [line for part in ("all", self.kind, f"{self.node}-{self.kind}") for line in data_list("prune", part)]

    @property
    def early(self) -> list[Path]:
        """Trees that must be there before the kernel is installed: they configure its initramfs."""
        return [path for part in ("all", self.kind) if (path := DATA / "initramfs" / part).is_dir()]

    @property
    def overlays(self) -> list[Path]:
        """Trees laid over the finished root, the later over the earlier."""
        trees = [DATA / "overlay" / part for part in ("base", self.node, self.kind)]
        return [path for path in (SYSTEMD_IMAGE, *trees) if path.is_dir()]

    @cached_property
    def root_id(self) -> str:
        """Changes with anything that Debian's part of the root is made of."""
        early = {
            str(path.relative_to(tree)): [path.stat().st_mode & 0o111, path.read_text()]
            for tree in self.early
            for path in sorted(tree.rglob("*"))
            if path.is_file()
        }
        made_of = [SUITE, self.layout.architecture, self.snapshot, self.packages, early, ROOT_OPTIONS, BACKPORTS]
        made_of += self.more_options
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


def recipe(node: str, board: str, *, snapshot: str = "") -> Recipe:
    """The recipe for a node on a board. Raises `MycoswarmError` for one that nobody knows."""
    if node not in NODES:
        raise MycoswarmError(f"no image is known for the node {node!r}", hint=f"nodes: {', '.join(NODES)}")
    kind, layout = kind_of(board)
    if node == "gpu":
        if kind != "x86_64":
            raise MycoswarmError(f"there is no GPU node for the board {board}", hint="it needs --board x86_64")
        layout = with_root_size(layout, GPU_ROOT_MIB)
    return Recipe(node, board, kind, layout, snapshot)


def data_list(folder: str, name: str) -> list[str]:
    """The lines of `data/FOLDER/NAME.list` that are no comments; none if there is no such list."""
    path = DATA / folder / f"{name}.list"
    if not path.exists():
        return []
    return [line.strip() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


ROOT_OPTIONS = [
    "--variant=apt",
    "--components=main non-free-firmware",
    '--aptopt=APT::Install-Recommends "false"',
    "--dpkgopt=force-confold",  # ours are there before the packages that bring them
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    # Instead of these there is one that does nothing, in data/initramfs/pi.
    "--dpkgopt=path-exclude=/etc/kernel/*/z50-raspi-firmware",
    "--dpkgopt=path-exclude=/etc/initramfs/*/z50-raspi-firmware",
]
"""For mmdebstrap; manuals and translations stay out, licences stay in."""

BACKPORTS = f"""sed -n 's/ {SUITE} / {SUITE}-backports /p' "$1"/etc/apt/sources.list | head -n 1 \
>"$1"/etc/apt/sources.list.d/backports.list"""
"""Adds backports on the mirror that mmdebstrap chose. What is not asked for from there stays with the suite's."""
