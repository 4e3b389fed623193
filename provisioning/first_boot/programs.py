"""Programs of the system, run to their end."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from swarm.durable import sync_folder
from swarm.errors import MycoswarmError

PATIENCE_S = 120.0
"""For one program; growing a file system by hundreds of GB takes seconds."""


def run(program: str, *arguments: str, given: str = "") -> str:
    """What it printed. Raises `MycoswarmError` with what it complained."""
    try:
        done = subprocess.run(
            [program, *arguments], input=given, capture_output=True, text=True, check=True, timeout=PATIENCE_S
        )
    except subprocess.CalledProcessError as error:
        raise MycoswarmError(f"{program} failed: {(error.stderr or error.stdout).strip()[-500:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MycoswarmError(f"cannot run {program}: {error}") from error
    return done.stdout


@contextlib.contextmanager
def writable(mount: Path, *, remounts: bool) -> Iterator[None]:
    """The partition takes writes in the block, and is as before after it. Raises `MycoswarmError`."""
    closed = remounts and bool(os.statvfs(mount).f_flag & os.ST_RDONLY)
    if closed:
        run("mount", "-o", "remount,rw", str(mount))
    try:
        yield
    finally:
        if closed:
            sync_folder(mount)
            run("mount", "-o", "remount,ro", str(mount))
