"""Child processes that cannot outlive the node, whatever ends it.

The kernel kills the child when the thread that started it dies (`prctl(2)`, PR_SET_PDEATHSIG; Linux only), so even a
node ended by SIGKILL leaves nothing behind. The setting survives `execve` of ordinary programs; it is lost when the
child changes its user, so a child must not be asked to drop privileges.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_log = logging.getLogger(__name__)

MAX_LINE = 1000
"""Characters of one stderr line that are logged."""

Stream = int | IO[bytes]

# A hook between fork and exec (preexec_fn) can deadlock a process with threads, so the child sets itself up. The node
# may have died before prctl took effect: then the parent is another process already.
_BOOTSTRAP = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[3:])
"""

_stderr_readers: set[asyncio.Task[None]] = set()


async def start_child(
    argv: Sequence[str],
    *,
    stdin: Stream = asyncio.subprocess.DEVNULL,
    stdout: Stream = asyncio.subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
) -> asyncio.subprocess.Process:
    """Start `argv`, its stderr logged line by line; raises `FileNotFoundError` when there is no such program.

    Start it from the thread that lives as long as the node. The child is in a session of its own: Ctrl-C in a
    terminal reaches the node only, which then ends its children in its own order.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise FileNotFoundError(f"no program {argv[0]} on this machine")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(os.getpid()), program, *argv),
        stdin=stdin,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        env=env,
        start_new_session=True,
    )
    assert process.stderr is not None
    name = f"{Path(argv[0]).name}[{process.pid}]"
    reader = asyncio.create_task(_log_lines(process.stderr, name), name=f"stderr of {name}")
    _stderr_readers.add(reader)
    reader.add_done_callback(_stderr_readers.discard)
    return process


async def end_child(process: asyncio.subprocess.Process, grace_s: float = 1.0) -> None:
    """SIGTERM, then SIGKILL if it has not ended after `grace_s`; returns when it is gone. Safe to call twice."""
    try:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        async with asyncio.timeout(grace_s):
            # Not process.wait(): that returns only when the pipes are closed too, and unread output keeps them open.
            while process.returncode is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    except TimeoutError:
        _log.warning("process %d did not end within %.1f s and is killed", process.pid, grace_s)
    finally:
        # Also when cancelled while waiting.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process._transport.close()  # type: ignore[attr-defined]
    await process.wait()


async def _log_lines(stderr: asyncio.StreamReader, name: str) -> None:
    rest = b""
    while chunk := await stderr.read(4096):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            _log.info("%s: %s", name, line[:MAX_LINE].decode(errors="replace"))
        rest = rest[:MAX_LINE]
    if rest:
        _log.info("%s: %s", name, rest.decode(errors="replace"))
