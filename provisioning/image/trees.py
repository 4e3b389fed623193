"""Packs files into a tar as root would own them, whoever builds: for mmdebstrap's `tar-in`."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

JUNK = ("__pycache__", ".pyc", "~", ".swp")


def pack(out: Path, *, trees: Sequence[Path] = (), files: Mapping[str, bytes] | None = None, epoch: int = 0) -> None:
    """Writes the tar `out` of the trees, the later over the earlier, and of `files` by their path in the root.

    All belongs to root and is from `epoch`; what is executable here is so there. Links stay links. The same files make
    the same bytes.
    """
    found: dict[str, Path] = {}
    for tree in trees:
        for path in tree.rglob("*"):
            name = path.relative_to(tree).as_posix()
            if not any(part.endswith(JUNK) for part in path.relative_to(tree).parts):
                found[name] = path
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in sorted(found.items()):
            entry = tarfile.TarInfo(f"./{name}")
            entry.mtime = epoch
            if path.is_symlink():
                entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
                tar.addfile(entry)
            elif path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            else:
                entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
                _add(tar, entry, path.read_bytes())
        for name, data in sorted((files or {}).items()):
            entry = tarfile.TarInfo(f"./{name.lstrip('/')}")
            entry.mtime, entry.mode = epoch, 0o644
            _add(tar, entry, data)


def add(tar: Path, files: Mapping[str, bytes], *, epoch: int) -> None:
    """Appends files, by their path in the root, to a tar that has them not."""
    with tarfile.open(tar, "a", format=tarfile.PAX_FORMAT) as archive:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(f"./{name}")
            entry.mtime, entry.mode = epoch, 0o644
            _add(archive, entry, data)


def part_of(tar: Path, out: Path, *, is_wanted: Callable[[str], bool]) -> None:
    """Writes the tar `out` of those files of the tar whose path in the root is wanted."""
    making = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with tarfile.open(tar) as whole, tarfile.open(making, "w", format=tarfile.PAX_FORMAT) as part:
            for entry in whole:
                if entry.isfile() and is_wanted(entry.name.removeprefix("./")):
                    part.addfile(entry, whole.extractfile(entry))
        making.replace(out)
    finally:
        making.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, entry: tarfile.TarInfo, data: bytes) -> None:
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
