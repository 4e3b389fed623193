"""Writes an image to a disk: what the block map names, checked before it is written and read back afterwards.

The first MiB, which holds the partition table, is written last: a disk whose writing was cut off does not boot, instead
of booting half a system.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

from provisioning.image.bmap import BLOCK, Bmap, Range
from provisioning.image.running import find
from swarm.errors import MycoswarmError

CHUNK = 4 * 1024**2
HEAD = 1024**2
"""Holds the partition table, and no partition."""
_BLKFLSBUF, _BLKRRPART = 0x1261, 0x125F
"""linux/fs.h"""

Progress = Callable[[str, int, int], None]
"""Of `checking`, `writing` or `verifying`: bytes done, bytes in all."""


class DamagedImage(MycoswarmError):
    """The image is not what its checksums say. Nothing was written."""


class FlashFailed(MycoswarmError):
    """The disk did not take the image, and holds no usable system now."""


class Target(Protocol):
    """What is written to."""

    name: str
    size: int
    """Bytes."""

    def write_at(self, offset: int, data: bytes) -> int:
        """Writes, and says how much of it. Raises `OSError`."""

    def read_at(self, offset: int, length: int) -> bytes:
        """What is there now, from the disk itself after `flush`. Raises `OSError`."""

    def flush(self) -> None:
        """Until all is on the disk. Raises `OSError`."""


class Device:
    """A disk, or a file in place of one."""

    def __init__(self, path: Path) -> None:
        """Opens it for itself alone. Raises `MycoswarmError`."""
        self.name = str(path)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)  # exclusive: not while mounted or in a RAID
        except OSError as error:
            hint = {errno.EACCES: "run it with sudo", errno.EPERM: "run it with sudo", errno.EBUSY: "something uses it"}
            raise MycoswarmError(
                f"cannot open {path}: {error.strerror}", hint=hint.get(error.errno or 0, "is it still plugged in?")
            ) from error
        self.size = os.lseek(self._fd, 0, os.SEEK_END)
        self._is_disk = stat.S_ISBLK(os.fstat(self._fd).st_mode)

    def write_at(self, offset: int, data: bytes) -> int:
        """For `Target`."""
        return os.pwrite(self._fd, data, offset)

    def read_at(self, offset: int, length: int) -> bytes:
        """For `Target`."""
        return os.pread(self._fd, length, offset)

    def flush(self) -> None:
        """For `Target`."""
        os.fsync(self._fd)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if self._is_disk:
            with contextlib.suppress(PermissionError):  # only root may; what was advised serves nearly as well
                fcntl.ioctl(self._fd, _BLKFLSBUF, 0)

    def close(self) -> None:
        """Lets the kernel see the new partitions."""
        if self._is_disk:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._fd, _BLKRRPART, 0)
        os.close(self._fd)


def check_image(image: Path, bmap: Bmap, progress: Progress) -> None:
    """Reads the whole image and compares it with its map. Raises `DamagedImage`."""
    done = 0
    for each, data in _parts(image, bmap):
        digest = hashlib.sha256()
        for chunk in data:
            digest.update(chunk)
            done += len(chunk)
            progress("checking", done, bmap.mapped_bytes)
        if digest.hexdigest() != each.sha256:
            raise DamagedImage(
                f"{image} is damaged: its part at byte {each.first * BLOCK} is not what its block map says",
                hint="nothing was written; get or build the image again",
            )


def flash(image: Path, bmap: Bmap, target: Target, progress: Progress) -> None:
    """Writes the image and verifies it; `check_image` comes before. Raises `FlashFailed`."""
    if target.size < bmap.image_size:
        raise MycoswarmError(f"{target.name} is smaller than the image", hint="choose another disk")
    try:
        _write_all(target, 0, bytes(HEAD))
        # Whoever looks for a second copy of an older partition table finds it at the end.
        _write_all(target, max(target.size - HEAD, HEAD), bytes(min(HEAD, max(target.size - HEAD, 0))))
        head = _write_parts(image, bmap, target, progress)
        target.flush()
        _verify(bmap, target, progress, head=head)
        _write_all(target, 0, head)
        target.flush()
        if target.read_at(0, len(head)) != head:
            raise _not_kept(target, 0)
    except OSError as error:
        raise FlashFailed(
            f"{target.name} failed while it was written: {error.strerror or error}",
            hint="was it unplugged? It holds no usable system now; try again, or another card",
        ) from error


def _write_parts(image: Path, bmap: Bmap, target: Target, progress: Progress) -> bytes:
    """All but the first MiB, which is given back."""
    head, done = bytearray(HEAD), 0
    for each, data in _parts(image, bmap):
        at = each.first * BLOCK
        for chunk in data:
            done += len(chunk)
            if at < HEAD:
                kept = chunk[: HEAD - at]
                head[at : at + len(kept)] = kept
                _write_all(target, at + len(kept), chunk[len(kept) :])
            else:
                _write_all(target, at, chunk)
            at += len(chunk)
            progress("writing", done, bmap.mapped_bytes)
    return bytes(head[: min(HEAD, bmap.image_size)])


def _verify(bmap: Bmap, target: Target, progress: Progress, *, head: bytes) -> None:
    done = 0
    for each in bmap.ranges:
        start, length = bmap.span(each)
        digest, at = hashlib.sha256(), start
        if at < HEAD:
            digest.update(head[at : start + length])
            at = min(HEAD, start + length)
        while at < start + length:
            data = target.read_at(at, min(CHUNK, start + length - at))
            if not data:
                raise _not_kept(target, at)
            digest.update(data)
            at += len(data)
            progress("verifying", done + at - start, bmap.mapped_bytes)
        done += length
        if digest.hexdigest() != each.sha256:
            raise _not_kept(target, start)


def _not_kept(target: Target, at: int) -> FlashFailed:
    return FlashFailed(
        f"{target.name} does not keep what is written to it (at byte {at})",
        hint="the card or disk is worn out, or claims to be larger than it is: use another one",
    )


def _write_all(target: Target, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = target.write_at(offset, bytes(view[:CHUNK]))
        if written <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view, offset = view[written:], offset + written


def _parts(image: Path, bmap: Bmap) -> Iterator[tuple[Range, Iterator[bytes]]]:
    """Each mapped range with its bytes, in order; each must be read to its end. Raises `DamagedImage`."""
    with _opened(image) as file:
        at = 0
        for each in bmap.ranges:
            start, length = bmap.span(each)
            if file.seekable():
                file.seek(start)
            else:
                for _ in _bytes(file, start - at, image):
                    pass
            yield each, _bytes(file, length, image)
            at = start + length
        while file.read(CHUNK):  # to the end: what was cut off or damaged behind the last range is noticed too
            pass


def _bytes(file: IO[bytes], length: int, image: Path) -> Iterator[bytes]:
    while length > 0:
        data = file.read(min(CHUNK, length))
        if not data:
            raise DamagedImage(f"{image} is shorter than its block map says", hint="get or build the image again")
        length -= len(data)
        yield data


@contextlib.contextmanager
def _opened(image: Path) -> Iterator[IO[bytes]]:
    """The uncompressed bytes. Raises `DamagedImage` when they cannot be had."""
    if image.suffix != ".zst":
        try:
            with image.open("rb") as file:
                yield file
        except FileNotFoundError as error:
            raise MycoswarmError(f"there is no image {image}", hint="mycoswarm image build makes one") from error
        return
    program = find("zstd")
    if program is None:
        raise MycoswarmError(f"reading {image} needs the program zstd", hint="sudo apt install zstd")
    with subprocess.Popen([program, "-dcq", "--", image], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            yield process.stdout
        except BaseException:
            process.kill()
            raise
        said = process.stderr.read(2000).decode(errors="replace").strip()
        if process.wait():
            raise DamagedImage(f"{image} cannot be decompressed: {said}", hint="get or build the image again")
