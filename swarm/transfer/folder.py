"""The files that a node has for others, and those that are on their way to it.

::

    <sha256>            whole and checked
    <sha256>.pieces     the digests of its pieces
    <sha256>.part       checked pieces from the first on; after a cut it is gone on with
    upload-….part       being given by a program of this machine

Every method waits for the disk: from an event loop, call them in a thread.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from swarm.durable import sync_folder
from swarm.errors import MalformedMessage, StorageError
from swarm.transfer.content import MAX_CONTENT_BYTES, MAX_DIGESTS_BYTES, PIECE_BYTES, Content, Digests, Measuring

LEAVE_BYTES = 64 * 1024**2
"""Of the disk that a transfer never takes: the node's own ledger and database are there too."""
PARTIAL, DIGESTS, UPLOAD = ".part", ".pieces", "upload-"
_NAME = re.compile("[0-9a-f]{64}")


class ContentFolder:
    """Belongs to one node."""

    def __init__(self, folder: Path) -> None:
        """The folder is made when something is put into it."""
        self.folder = folder
        self._given: set[str] = set()
        """Files that were given here since the start; whoever gave them is about to say what they are for."""

    def size(self, sha256: str) -> int | None:
        """Bytes of a file that is here whole; None for any other."""
        try:
            return (self.folder / sha256).stat().st_size if _NAME.fullmatch(sha256) else None
        except OSError:
            return None

    def has(self, content: Content) -> bool:
        """Whether it is here, whole. It was checked when it came."""
        return self.size(content.sha256) == content.size

    def digests(self, sha256: str) -> bytes | None:
        """Of a file that is here whole, for others; None for any other."""
        if self.size(sha256) is None:
            return None
        try:
            with (self.folder / f"{sha256}{DIGESTS}").open("rb") as file:
                return file.read(MAX_DIGESTS_BYTES)
        except OSError:
            return None

    def piece(self, sha256: str, start: int, stop: int) -> bytes | None:
        """Bytes of a file that is here whole; None when it is not. Raises `StorageError`."""
        try:
            with (self.folder / sha256).open("rb") as file:
                file.seek(start)
                return file.read(min(stop - start, PIECE_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _cannot("read", self.folder / sha256, error) from error

    def begin(self, content: Content, digests: Digests) -> Arriving:
        """Go on with what is here of it, each piece of which is checked anew. Raises `StorageError`, for a full disk
        too."""
        self._make()
        part = self.folder / f"{content.sha256}{PARTIAL}"
        try:
            there = part.stat().st_size
        except OSError:
            there = 0
        self.require_room(content.size - min(there, content.size))
        try:
            (self.folder / f"{content.sha256}{DIGESTS}").write_bytes(digests.data)
            file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        except OSError as error:
            raise _cannot("write", part, error) from error
        return Arriving(content, digests, part, file)

    def take_upload(self) -> Upload:
        """A file that a program of this machine gives. Raises `StorageError`."""
        self._make()
        try:
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=UPLOAD, suffix=PARTIAL)
        except OSError as error:
            raise _cannot("write into", self.folder, error) from error
        return Upload(self, Path(name), os.fdopen(handle, "wb"))

    def given(self, sha256: str) -> None:
        """It stays until the program ends, wanted or not."""
        self._given.add(sha256)

    def require_room(self, size: int) -> None:
        """Raises `StorageError` when so many bytes more would fill the disk."""
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise _cannot("use", self.folder, error) from error
        if free < size + LEAVE_BYTES:
            raise StorageError(
                f"{size / 1e6:.0f} MB do not fit into {self.folder}: {free / 1e6:.0f} MB are free, and"
                f" {LEAVE_BYTES / 1e6:.0f} MB have to stay so",
                hint="free some space there",
            )

    def keep_only(self, wanted: Iterable[str]) -> None:
        """Remove all files but these, what was given here since the start, and what is on its way of them: nobody
        wants the others any more."""
        kept = {f"{each}{suffix}" for each in {*wanted, *self._given} for suffix in ("", DIGESTS, PARTIAL)}
        self._remove(lambda name: _NAME.match(name) is not None and name not in kept)

    def forget_uploads(self) -> None:
        """Remove what was being given when this program ended: before it takes the first."""
        self._remove(lambda name: name.startswith(UPLOAD))

    def _remove(self, unwanted: Callable[[str], bool]) -> None:
        with suppress(FileNotFoundError):
            for each in list(self.folder.iterdir()):
                if unwanted(each.name):
                    each.unlink(missing_ok=True)

    def _make(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot("make", self.folder, error) from error


class Arriving:
    """A file on its way here, piece by piece from the first on."""

    def __init__(self, content: Content, digests: Digests, path: Path, file: BinaryIO) -> None:
        self.content = content
        self._digests = digests
        self._path = path
        self._file = file
        self._measured = Measuring()
        self.next = 0
        """The piece that is to come."""
        self._read_back()

    @property
    def whole(self) -> bool:
        """Whether all pieces are here."""
        return self.next == self.content.piece_count

    def add(self, piece: bytes) -> bool:
        """The next piece; False, and nothing is kept, when it is not that. Raises `StorageError`."""
        if not self._digests.fits(self.next, piece):
            return False
        try:
            self._file.write(piece)
        except OSError as error:
            raise _cannot("write", self._path, error) from error
        self._measured.add(piece)
        self.next += 1
        return True

    def finish(self) -> Path:
        """Make it whole, on disk when this returns. Raises `MalformedMessage`, and forgets it all, when its pieces are
        right and the whole is not: whoever described it was wrong. Raises `StorageError`."""
        if self._measured.end()[0] != self.content:
            self.close()
            self._path.unlink(missing_ok=True)
            raise MalformedMessage(f"{self.content.sha256:.12} is not what its description says")
        whole = self._path.with_name(self.content.sha256)
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            self._path.replace(whole)
            sync_folder(whole.parent)
        except OSError as error:
            raise _cannot("write", whole, error) from error
        return whole

    def close(self) -> None:
        """Stop; what is here stays for another time."""
        self._file.close()

    def _read_back(self) -> None:
        while not self.whole:
            start, stop = self.content.piece_range(self.next)
            piece = self._file.read(stop - start)
            if not self._digests.fits(self.next, piece):
                self._file.seek(start)
                self._file.truncate()
                return
            self._measured.add(piece)
            self.next += 1


class Upload:
    """A file that comes from a program of this machine. `add` it, then `finish` or `drop`."""

    def __init__(self, folder: ContentFolder, path: Path, file: BinaryIO) -> None:
        self._folder = folder
        self.path = path
        """Where it is until it is kept."""
        self._file = file
        self._measured = Measuring()

    def add(self, data: bytes) -> None:
        """The next bytes. Raises `StorageError`, `MalformedMessage`."""
        if self._measured.size + len(data) > MAX_CONTENT_BYTES:
            raise MalformedMessage(f"the file has more than {MAX_CONTENT_BYTES} bytes")
        self._folder.require_room(len(data))
        try:
            self._file.write(data)
        except OSError as error:
            raise _cannot("write", self.path, error) from error
        self._measured.add(data)

    def end(self) -> tuple[Content, Digests]:
        """Everything came: what it is. It is on disk, and not yet kept. Raises `StorageError`, `MalformedMessage`."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _cannot("write", self.path, error) from error
        return self._measured.end()

    def keep(self, content: Content, digests: Digests) -> None:
        """Have it for others from now on. Raises `StorageError`."""
        whole = self._folder.folder / content.sha256
        try:
            whole.with_name(f"{content.sha256}{DIGESTS}").write_bytes(digests.data)
            self.path.replace(whole)
            sync_folder(whole.parent)
        except OSError as error:
            raise _cannot("write", whole, error) from error
        self._folder.given(content.sha256)

    def drop(self) -> None:
        """It is not wanted. What was kept stays."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def _cannot(do: str, path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot {do} {path}: {error.strerror or error}",
        hint="free some space, or make the folder writable by the user that runs mycoswarm",
    )
