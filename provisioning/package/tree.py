"""The files of the package, laid out as on the node."""

from __future__ import annotations

import gzip
import os
import shutil
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path, PurePosixPath

from provisioning.package.source import DOCUMENTS, Source
from provisioning.package.target import Target

PREFIX = "usr/lib/mycoswarm"
DEBIAN = Path(__file__).with_name("debian")

_FOR_BUILDING = frozenset({".c", ".h", ".hpp", ".pxd", ".pyx", ".pyi", ".pyf", ".f", ".f90", ".pdb", ".a", ".cmake"})
_BESIDE_PACKAGES = frozenset({"bin", "include", "lib", "lib64", "share"})
_UNUSED = ("pocketsphinx/model/en-us/en-us.lm.bin",)
"""27 MB for free dictation; the grammar of the home and the phones are what is listened by."""
_OF_INSTALLERS = frozenset({"RECORD", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"})


def is_needed(file: PurePosixPath) -> bool:
    """Whether a node has a use for this file of a site-packages folder.

    Not for tests, C and Cython sources, type stubs, and what wheels place beside the packages: programs, stray
    libraries.
    """
    if file.parts[0] in _BESIDE_PACKAGES or "__pycache__" in file.parts or str(file) in _UNUSED:
        return False
    if file.parts[0].endswith(".dist-info"):
        return file.name not in _OF_INSTALLERS
    return "tests" not in file.parts[:-1] and file.suffix not in _FOR_BUILDING


def trim(folder: Path) -> None:
    """Remove from a site-packages folder what no node needs."""
    for path in sorted(folder.rglob("*"), reverse=True):  # a folder after what is in it
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif not is_needed(PurePosixPath(path.relative_to(folder).as_posix())):
            path.unlink()


def site_packages(root: Path, target: Target) -> Path:
    """Where the Python packages are, below `root`."""
    return root / PREFIX / "lib" / f"python{target.python}" / "site-packages"


def lay_out(source: Source, target: Target, root: Path) -> None:
    """Put the project's own files below `root`, which has its dependencies already."""
    site = site_packages(root, target)
    for each in source.python_files():
        _copy(source.root / each, site / each)
    for place, path in source.system_files().items():
        _copy(path, root / place)
    _interpreter(root / PREFIX, target)
    _write(root / PREFIX / "build-id", source.build_id(target) + "\n")
    _write(root / PREFIX / "boot-slots", _launcher("provisioning.slots"), 0o755)
    _write(root / "usr/bin/mycoswarm", _launcher("swarm"), 0o755)
    _copy(DEBIAN / "config.toml", root / "usr/share/mycoswarm/config.toml")
    _copy(DEBIAN / "lintian-overrides", root / "usr/share/lintian/overrides/mycoswarm")
    documents = root / "usr/share/doc/mycoswarm"
    for name in DOCUMENTS:
        if name != "LICENSE":  # Debian calls it otherwise
            _copy(source.root / name, documents / name)
    _write(documents / "copyright", _copyright(source))
    _compress(documents / "changelog.gz", _changelog(source, target))


def settle(root: Path, epoch: int) -> None:
    """Give everything below `root` the same owner's rights and the same time, whoever built it and when."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or (path.stat().st_mode & 0o100 and _starts_programs(path)) else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def _starts_programs(path: Path) -> bool:
    return path.suffix != ".so" and path.open("rb").read(2) == b"#!"


def _interpreter(prefix: Path, target: Target) -> None:
    """A virtual environment (PEP 405) around the distribution's Python."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python3").symlink_to(f"../../../bin/python{target.python}")
    _write(prefix / "pyvenv.cfg", f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {target.python}\n")


def _launcher(module: str) -> str:
    return f'#!/bin/sh\nexec /{PREFIX}/bin/python3 -I -m {module} "$@"\n'


def _changelog(source: Source, target: Target) -> str:
    date = format_datetime(datetime.fromtimestamp(source.epoch(), UTC))
    maintainer = "mycoswarm <mycoswarm@localhost>"
    return (
        f"mycoswarm ({target.version(source.version)}) stable; urgency=medium\n\n"
        f"  * As in /usr/share/doc/mycoswarm/CHANGELOG.md.\n\n -- {maintainer}  {date}\n"
    )


def _copyright(source: Source) -> str:
    licence = (source.root / "LICENSE").read_text(encoding="utf-8")
    return (
        "mycoswarm, except for what others made:\n\n"
        f"{licence}\nThe Python packages in /{PREFIX}/lib are of many authors; each has its licence beside it, in the\n"
        "folder that ends with .dist-info. eSpeak NG and Piper are licensed under the GNU General Public License,\n"
        "version 3 or later (/usr/share/common-licenses/GPL-3); mycoswarm runs them as processes of their own.\n"
    )


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)
    to.chmod(path.stat().st_mode & 0o777)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _compress(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
