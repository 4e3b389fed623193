"""What is on a disk image, read without mounting it: partitions (sfdisk), FAT (mtools), ext4 (e2fsprogs), squashfs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOOL_S = 300.0
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Partition:
    """One of a disk image; offsets and sizes in bytes."""

    number: int
    offset: int
    size: int
    type: str
    name: str
    uuid: str


class Disk:
    """A raw image."""

    def __init__(self, path: Path) -> None:
        self.path = path
        table = json.loads(tool("sfdisk", "--json", str(path)))["partitiontable"]
        self.kind = str(table["label"])
        """`gpt` or `dos`."""
        sector = int(table.get("sectorsize", 512))
        self.partitions = {
            number: Partition(
                number=number,
                offset=int(each["start"]) * sector,
                size=int(each["size"]) * sector,
                type=str(each["type"]).lower(),
                name=str(each.get("name", "")),
                uuid=str(each.get("uuid", "")).lower(),
            )
            for each in table["partitions"]
            # sfdisk calls partitions as the kernel would: the number stands at the end.
            for number in (int(str(each["node"]).removeprefix(str(path)).lstrip("p")),)
        }

    def fat(self, number: int) -> Fat:
        """The FAT file system in a partition."""
        return Fat(self.path, self.partitions[number].offset)

    def fat_with_label(self, label: str) -> Fat:
        """Where `mycoswarm.toml` belongs is the one with the label MYCOBOOT."""
        for number in self.partitions:
            said = self.kind_of(number)
            if said.get("TYPE") == "vfat" and said.get("LABEL") == label:
                return self.fat(number)
        raise AssertionError(f"{self.path} has no FAT partition {label}")

    def kind_of(self, number: int) -> dict[str, str]:
        """What blkid(8) says of a partition: `TYPE`, `LABEL`, `UUID`; nothing of an empty one."""
        part = self.partitions[number]
        place = ("--offset", str(part.offset), "--size", str(part.size))
        _, said = _status("blkid", "--probe", *place, "--output", "export", str(self.path))
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    @contextlib.contextmanager
    def ext4(self, number: int) -> Iterator[Ext4]:
        """A copy of an ext4 partition, whose journal has been replayed as a mount would do it."""
        part = self.partitions[number]
        copy = self.path.with_suffix(f".part{number}")
        try:
            with self.path.open("rb") as whole, copy.open("wb") as out:
                _copy_sparse(whole.fileno(), out.fileno(), part.offset, part.size)
            yield Ext4(copy)
        finally:
            copy.unlink(missing_ok=True)

    def squashfs_names(self, number: int) -> dict[str, str]:
        """Every path of the root file system, and its line of `ls -l`: mode, owner, size."""
        said = tool("unsquashfs", "-o", str(self.partitions[number].offset), "-lls", "-n", str(self.path))
        lines = [line for line in said.splitlines() if " squashfs-root" in line]
        return {line.split("squashfs-root", 1)[1].split(" -> ")[0] or "/": line for line in lines}

    def squashfs_file(self, number: int, path: str) -> str:
        """A file's content. Fails when it is not there."""
        return tool("unsquashfs", "-o", str(self.partitions[number].offset), "-cat", str(self.path), path.lstrip("/"))


class Ext4:
    """An ext4 file system in a file of its own."""

    def __init__(self, path: Path) -> None:
        # A cut of power leaves a journal to replay and orphans to free, which is no damage: -p does that and no more,
        # and says 0 or 1. What a person would have to decide about says 4.
        status, said = _status("e2fsck", "-p", str(path))
        again, complaints = _status("e2fsck", "-fn", str(path))
        self.is_whole = status in (0, 1) and again == 0
        self.complaints = f"{said}\n{complaints}"
        self._path = path

    def read(self, path: str) -> bytes:
        """A file's content; nothing when it is not there."""
        return _debugfs(self._path, f'cat "{path}"')

    def copy_folder(self, path: str, target: Path) -> Path:
        """Everything below a folder of the file system, in `target`."""
        target.mkdir(parents=True, exist_ok=True)
        _debugfs(self._path, f'rdump "{path}" "{target}"')
        return target / Path(path).name

    def names(self) -> list[str]:
        """Every path; folders end with `/`."""
        found: list[str] = []
        waiting = ["/"]
        while waiting:
            folder = waiting.pop()
            for line in _debugfs(self._path, f'ls -p "{folder}"').decode(errors="replace").splitlines():
                fields = line.split("/")  # /inode/mode/uid/gid/name/size/
                if len(fields) > 5 and fields[5] not in ("", ".", ".."):
                    is_folder = fields[2].startswith("04")
                    found.append(f"{folder}{fields[5]}{'/' if is_folder else ''}")
                    if is_folder:
                        waiting.append(found[-1])
        return found


class Fat:
    """A FAT file system at an offset of a file, by mtools."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._image = f"{path}@@{offset}"

    def names(self, folder: str = "/") -> list[str]:
        """Every path below `folder`; folders end with `/`."""
        said = tool("mdir", "-i", self._image, "-b", "-/", "-a", f"::{folder}")
        return [line.removeprefix("::") for line in said.splitlines() if line.startswith("::")]

    def read(self, name: str) -> bytes:
        """Fails when it is not there."""
        return tool_bytes("mcopy", "-n", "-i", self._image, f"::{name}", "-")

    def text(self, name: str) -> str:
        return self.read(name).decode()

    def write(self, name: str, content: bytes) -> None:
        """In place of what is there."""
        tool_bytes("mcopy", "-D", "o", "-o", "-i", self._image, "-", f"::{name}", given=content)

    def delete(self, name: str) -> None:
        tool("mdel", "-i", self._image, f"::{name}")


def copy_disk(source: Path, target: Path) -> Path:
    """A copy to write to, that takes no more room than what is in it."""
    tool("cp", "--sparse=always", "--reflink=auto", str(source), str(target))
    target.chmod(0o644)
    return target


def tool(*argv: str) -> str:
    """What a program printed, which went well."""
    return tool_bytes(*argv).decode(errors="replace")


def tool_bytes(*argv: str, given: bytes = b"") -> bytes:
    done = subprocess.run(
        argv, input=given, capture_output=True, timeout=TOOL_S, check=False,
        env={**os.environ, "PATH": PATH, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, (
        f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.decode(errors='replace')}"
    )
    return done.stdout


def _status(*argv: str) -> tuple[int, str]:
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=TOOL_S, check=False, env={**os.environ, "PATH": PATH}
    )
    return done.returncode, done.stdout + done.stderr


def _debugfs(path: Path, request: str) -> bytes:
    # debugfs has no exit status for what is not found; its complaints go to standard error.
    return tool_bytes("debugfs", "-R", request, str(path))


def _copy_sparse(source: int, target: int, offset: int, size: int) -> None:
    os.ftruncate(target, size)
    at, end = offset, offset + size
    while at < end:
        try:
            data = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but holes follows
            return
        hole = min(os.lseek(source, data, os.SEEK_HOLE), end)
        at = data
        while at < hole:
            block = os.pread(source, min(1 << 20, hole - at), at)
            os.pwrite(target, block, at - offset)
            at += len(block)
