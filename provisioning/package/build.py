"""Builds the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from provisioning.package.control import MAINTAINER_SCRIPTS, checksums, control, installed_kib
from provisioning.package.source import Source
from provisioning.package.target import Target
from provisioning.package.tree import DEBIAN, lay_out, settle, site_packages, trim
from provisioning.package.wheels import install_dependencies
from swarm.errors import MycoswarmError

SOURCE_ROOT = Path(__file__).parents[2]
"""The checkout that this program runs from; on a node, no source tree."""


def build_package(target: Target, *, out: Path, source_root: Path = SOURCE_ROOT) -> Path:
    """The package for `target`, made of the source tree, in the folder `out`, which is made if it is missing.

    The same inputs give the same bytes, whoever builds and where; nothing of the target is run.

    Raises `MycoswarmError`.
    """
    source = Source(source_root)
    if shutil.which("dpkg-deb") is None:
        raise MycoswarmError("dpkg-deb is missing", hint="apt install dpkg, or build on Debian")
    out.mkdir(parents=True, exist_ok=True)
    version = target.version(source.version)
    with tempfile.TemporaryDirectory(prefix="mycoswarm-package-") as folder:
        root = Path(folder) / "root"
        site = site_packages(root, target)
        install_dependencies(target, source_root, site, scratch=Path(folder))
        trim(site)
        lay_out(source, target, root)
        settle(root, source.epoch())
        _describe(root, target, version)
        settle(root / "DEBIAN", source.epoch())
        package = out / f"mycoswarm_{version}_{target.arch}.deb"
        _pack(root, Path(folder) / "mycoswarm.deb", source.epoch())
        shutil.move(Path(folder) / "mycoswarm.deb", package)
    package.chmod(0o644)
    return package


def _describe(root: Path, target: Target, version: str) -> None:
    sums, size = checksums(root), installed_kib(root)
    folder = root / "DEBIAN"
    folder.mkdir()
    (folder / "control").write_text(control(target, version, size), encoding="utf-8")
    (folder / "md5sums").write_text(sums, encoding="utf-8")
    for name in MAINTAINER_SCRIPTS:
        shutil.copyfile(DEBIAN / name, folder / name)
        (folder / name).chmod(0o755)


def _pack(root: Path, package: Path, epoch: int) -> None:
    command = ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z10", "--build", str(root), str(package)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=1800)
    if done.returncode != 0:
        raise MycoswarmError("the package cannot be packed", hint=done.stderr.strip())
