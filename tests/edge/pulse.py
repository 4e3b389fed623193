"""A PulseAudio server of the test's own: what is played into its null sink can be recorded again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def pulse_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """Makes it PortAudio's default device in this process; skips the test, saying why, where it cannot start."""
    if shutil.which("pulseaudio") is None:
        pytest.skip("pulseaudio is not installed")
    # The path of a socket may not be longer than 108 bytes: pytest's folders are.
    with tempfile.TemporaryDirectory(prefix="pulse") as folder:
        socket = Path(folder) / "socket"
        for name, value in {"HOME": folder, "XDG_RUNTIME_DIR": folder, "PULSE_SERVER": f"unix:{socket}"}.items():
            monkeypatch.setenv(name, value)
        modules = (
            "module-null-sink sink_name=room rate=48000",
            f"module-native-protocol-unix auth-anonymous=1 socket={socket}",
        )
        server = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
            + [f"--load={module}" for module in modules],
            env=dict(os.environ),
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_until_ready(server)
            yield server
        finally:
            server.kill()
            server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes]) -> None:
    for _ in range(50):
        if server.poll() is not None:
            pytest.skip(f"pulseaudio ended with status {server.returncode} instead of starting")
        if subprocess.run(["pactl", "info"], capture_output=True, timeout=5).returncode == 0:
            return
        try:
            server.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    pytest.skip("pulseaudio did not become ready in 5 s")
