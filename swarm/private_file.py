"""Files that only this node's user may read, replaced whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from swarm.durable import replace_file
from swarm.errors import StorageError

MAX_BYTES = 4 * 1024 * 1024
"""Largest file that is read back; the bundle of 64 enrollers is a twentieth of it."""

LOOK_AGAIN_S = 0.1


def make_private_folder(folder: Path) -> None:
    """The folder, mode 0700, parents too. Raises `StorageError`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)  # an older folder may have been open to others
    except OSError as error:
        raise _cannot("use the folder", folder, error) from error


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Nobody else claims the folder until the block ends; the kernel sees to that. Raises `StorageError` when somebody
    has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(f"another program uses {folder} just now", hint="wait until it has ended") from error
        yield
    finally:
        os.close(descriptor)


@contextlib.asynccontextmanager
async def claimed_in_turn(folder: Path, *, wait_s: float, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """`claimed`, but who has it may end: waits so long for that, and calls `waiting` when it begins to. Raises
    `StorageError`."""
    ends = time.monotonic() + wait_s
    told = False
    async with contextlib.AsyncExitStack() as claim:
        while True:
            try:
                claim.enter_context(claimed(folder))
                break
            except StorageError:
                if time.monotonic() > ends:
                    raise
            if not told:
                waiting()
                told = True
            await asyncio.sleep(LOOK_AGAIN_S)
        yield


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, mode 0600; after a power cut either the old or the new content is there, whole.

    Waits for the disk: from an event loop, call it in a thread. Raises `StorageError`.
    """
    try:
        replace_file(path, data, mode=0o600)
    except OSError as error:
        raise _cannot("write", path, error) from error


def read_private(path: Path) -> bytes | None:
    """The content, None when there is no such file; closes it to others if it was open. Raises `StorageError`."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                os.fchmod(file.fileno(), 0o600)
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot("read", path, error) from error
    if len(data) > MAX_BYTES:
        raise StorageError(f"{path} is larger than {MAX_BYTES // 1024**2} MB: it is none of mycoswarm's")
    return data


def _cannot(do: str, path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot {do} {path}: {error.strerror or error}", hint="the node's user must own it, and the disk have room"
    )
