"""The boot partition as it is mounted: steps are done here, one after the other, each on the disk before the next."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from provisioning.slots.model import Partition, Remove, Rename, Steps, Write
from swarm.durable import sync_folder
from swarm.errors import StorageError

MAX_BYTES = 16 * 1024
"""Of a file that decides; an entry has half a kilobyte."""


class MountedPartition:
    """A FAT file system that is mounted on `folder`, or for tests any folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, patterns: tuple[str, ...]) -> Partition:
        """The files that match. Raises `StorageError`."""
        found = {}
        try:
            for pattern in patterns:
                for path in sorted(self.folder.glob(pattern)):
                    with path.open("rb") as file:
                        found[path.relative_to(self.folder).as_posix()] = file.read(MAX_BYTES)
        except OSError as error:
            raise _cannot("read", self.folder, error) from error
        if not found:  # what is not mounted looks like a partition without files
            raise StorageError(
                f"the boot partition at {self.folder} has nothing that says which slot starts",
                hint="is it mounted? see docs/updates.md",
            )
        return found

    def do(self, steps: Steps) -> None:
        """Raises `StorageError`; what was done until then stays."""
        if not steps:
            return
        try:
            with writable(self.folder):
                for step in steps:
                    match step:
                        case Write(path, data):
                            replace_file(self.folder / path, data)
                        case Rename(old, new):
                            (self.folder / old).rename(self.folder / new)
                            sync_folder((self.folder / new).parent)
                        case Remove(path):
                            (self.folder / path).unlink(missing_ok=True)
                            sync_folder((self.folder / path).parent)
        except OSError as error:
            raise _cannot("write", self.folder, error) from error


def replace_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """The new content or the old one, also after a power cut; on the disk when it returns. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")  # no name that a boot loader takes for an entry
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.chmod(mode)
    new.replace(path)
    sync_folder(path.parent)


def copy_tree(source: Path, target: Path, *, leave_out: frozenset[str]) -> None:
    """Make `target`'s content that of `source`, on the disk when it returns. What is there is removed first: a FAT of
    this size need not hold both. Names in `leave_out` (in the folder itself) stay as they are in `target`. Raises
    `OSError`."""
    target.mkdir(parents=True, exist_ok=True)
    for old in target.iterdir():
        if old.name in leave_out:
            continue
        shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if name.as_posix() in leave_out:
            continue
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise OSError(f"{path} is neither a file nor a folder")
        if path.is_dir():
            (target / name).mkdir()
            continue
        with path.open("rb") as reading, (target / name).open("wb") as writing:
            shutil.copyfileobj(reading, writing, 1024 * 1024)
            writing.flush()
            os.fsync(writing.fileno())
    for folder in [*(path for path in target.rglob("*") if path.is_dir()), target]:
        sync_folder(folder)


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Mounted writable until the block ends, if `folder` is a mount point that is read-only. Raises `OSError`."""
    flags = os.statvfs(folder).f_flag  # this first: it has an automount mounted
    if not flags & os.ST_RDONLY or not folder.is_mount():
        yield
        return
    _remount(folder, "rw")
    try:
        yield
    finally:
        _remount(folder, "ro")


@contextlib.contextmanager
def mounted(device: str, at: Path, *, read_only: bool) -> Iterator[Path]:
    """The file system of `device` at `at` until the block ends. Raises `StorageError`."""
    at.mkdir(parents=True, exist_ok=True)
    _run("mount", "-o", "ro" if read_only else "rw,nodev,nosuid,noexec", "--", device, str(at))
    try:
        yield at
    finally:
        _run("umount", "--", str(at))


def _remount(folder: Path, how: str) -> None:
    try:
        _run("mount", "-o", f"remount,{how}", "--", str(folder))
    except StorageError as error:
        raise OSError(str(error)) from error


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise StorageError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


def _cannot(do: str, folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot {do} the boot partition at {folder}: {error.strerror or error}",
        hint="it must be mounted there, have room, and be no broken card; see docs/updates.md",
    )
