"""Files that are whole after a power cut: the old content or the new one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

Owner = tuple[int, int]
"""User and group, by number."""


def write_file(path: Path, data: bytes | str, *, mode: int = 0o644, owner: Owner | None = None) -> None:
    """Replace `path`; it is on disk when this returns. Folders that are missing are made. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data.encode() if isinstance(data, str) else data, mode=mode, owner=owner)


def replace_file(path: Path, data: bytes, *, mode: int, owner: Owner | None = None) -> None:
    """`write_file` in a folder that is there. Raises `OSError`."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            with contextlib.suppress(PermissionError):  # FAT has neither
                os.fchmod(file.fileno(), mode)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)


def write_link(path: Path, target: str) -> None:
    """Make `path` a link to `target`, whatever it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}-new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)
    sync_folder(path.parent)


def erase_file(path: Path) -> None:
    """Overwrite and remove; nothing is left of it where the medium writes in place. Raises `OSError`."""
    try:
        with path.open("r+b") as file:
            file.write(bytes(os.fstat(file.fileno()).st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What was made, renamed or removed in it is on disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
