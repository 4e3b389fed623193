"""A program that a test started: what it says, line by line, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

MAX_LINES = 20_000
PATIENCE_S = 20.0
"""How long something that must happen may take on a loaded machine."""


class Program:
    """A process in a session of its own; its output is read line by line, its standard error goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, errors: tempfile._TemporaryFileWrapper[bytes]):
        self._process = process
        self._name = name
        self._errors = errors
        self._seen = 0
        self._changed = threading.Condition()
        self.lines: deque[str] = deque(maxlen=MAX_LINES)
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def line(self, wanted: str | Callable[[str], bool], *, seconds: float = PATIENCE_S) -> str:
        """The first line not yet looked at that contains `wanted` (or for which it is true), waiting for it.

        Lines up to the one returned count as looked at.
        """
        fits = (lambda text: wanted in text) if isinstance(wanted, str) else wanted
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                assert len(self.lines) < MAX_LINES, f"{self._name} said too much"
                while self._seen < len(self.lines):
                    self._seen += 1
                    if fits(self.lines[self._seen - 1]):
                        return self.lines[self._seen - 1]
                left = deadline - time.monotonic()
                assert left > 0 and (self._reader.is_alive() or self._seen < len(self.lines)), self._why(wanted)
                self._changed.wait(min(left, 0.5))

    def end(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = PATIENCE_S) -> int:
        """Send the signal, wait for the end and return the exit status. SIGKILL takes its children with it."""
        if number == signal.SIGKILL:
            self._kill_all()
        else:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
        return self.wait(seconds=seconds)

    def wait(self, *, seconds: float = PATIENCE_S) -> int:
        """The exit status, once it has ended by itself."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self._name} still runs\n{self.stderr()}") from None
        self._reader.join(1.0)  # longer only when something it started holds its output open
        return status

    def stderr(self) -> str:
        """What it wrote to standard error so far."""
        return Path(self._errors.name).read_text(errors="replace")

    def close(self) -> None:
        """End it and everything it started, at once."""
        self._kill_all()
        self._process.wait(PATIENCE_S)
        self._reader.join(1.0)
        self._errors.close()

    def _kill_all(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # a session of its own: the group is its own too

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for raw in stdout:
                with self._changed:
                    self.lines.append(raw.decode(errors="replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _why(self, wanted: object) -> str:
        state = "still runs" if self.running else f"ended with {self._process.poll()}"
        last = "\n".join(list(self.lines)[-30:])
        return f"{self._name} did not say {wanted!r}; it {state}\n{last}\n--- stderr\n{self.stderr()[-4000:]}"
