"""QEMU's control socket (QMP, qemu.org/docs/master/interop/qmp-spec.html): one command at a time, bounded waits."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any

ANSWER_S = 30.0


class Qmp:
    """A connection to one machine. Raises `OSError` when the machine is gone or silent."""

    def __init__(self, path: Path, *, seconds: float = ANSWER_S) -> None:
        """Waits until the socket is there."""
        deadline = time.monotonic() + seconds
        while True:
            self._socket = socket.socket(socket.AF_UNIX)
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                self._socket.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._socket.settimeout(ANSWER_S)
        self._lines = self._socket.makefile("rb")
        self._lines.readline(100_000)  # the greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: object) -> Any:
        """What the command returned."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while line := self._lines.readline(1_000_000):
            answer = json.loads(line)
            if "error" in answer:
                raise OSError(f"QEMU refused {command}: {answer['error'].get('desc')}")
            if "return" in answer:
                return answer["return"]
        raise OSError(f"QEMU ended before it answered {command}")

    def close(self) -> None:
        """The machine stays as it is."""
        with contextlib.suppress(OSError):
            self._lines.close()
        self._socket.close()
