"""What systemd hears of a node, through a real socket as systemd makes it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm.access_token import access_token
from swarm.config import HomeAssistantSection
from swarm.credentials import MAX_BYTES, credential
from swarm.errors import ConfigError
from swarm.supervisor import MAX_STATUS, Supervisor

PATIENCE_S = 30.0


class Ear:
    """The supervisor's end: what it was told, datagram by datagram."""

    def __init__(self, path: Path | str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(PATIENCE_S)

    def next(self) -> list[str]:
        return self._socket.recv(65536).decode().split("\n")

    def until(self, wanted: str) -> list[str]:
        """The first message that begins with `wanted`."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if (heard := self.next())[0].startswith(wanted):
                return heard
        raise AssertionError(f"never told {wanted}")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    made = Ear(tmp_path / "notify")
    yield made
    made.close()


def _of(tmp_path: Path, **more: str) -> Supervisor:
    return Supervisor.of_environment({"NOTIFY_SOCKET": str(tmp_path / "notify"), **more}, pid=7)


def test_supervisor_hears_readiness_status_and_end(tmp_path: Path, ear: Ear) -> None:
    supervisor = _of(tmp_path)
    supervisor.ready("hub and\nedge")
    assert ear.next() == ["READY=1", "STATUS=hub and edge"]
    supervisor.status("hub and edge")  # no news
    supervisor.status("x" * 1000)
    assert ear.next() == ["STATUS=" + "x" * MAX_STATUS]
    supervisor.stopping()
    assert ear.next() == ["STOPPING=1", "STATUS=ending"]


def test_abstract_socket_is_reached() -> None:
    name = f"mycoswarm-test-{os.getpid()}"
    ear = Ear(f"\0{name}")
    try:
        Supervisor(f"@{name}").ready("up")
        assert ear.next()[0] == "READY=1"
    finally:
        ear.close()


def test_watchdog_is_fed_by_a_loop_that_turns_and_not_by_one_that_stands_still(tmp_path: Path, ear: Ear) -> None:
    async def run() -> None:
        supervisor = _of(tmp_path, WATCHDOG_USEC="300000", WATCHDOG_PID="7")
        async with supervisor.watching():
            for _ in range(3):
                assert await asyncio.to_thread(ear.next) == ["WATCHDOG=1"]
            ear._socket.settimeout(0.2)
            with pytest.raises(TimeoutError):  # the loop itself is blocked in here
                while True:
                    ear.next()
        with pytest.raises(TimeoutError):
            ear.next()

    asyncio.run(run())


@pytest.mark.parametrize("more", [{}, {"WATCHDOG_USEC": "300000", "WATCHDOG_PID": "8"}, {"WATCHDOG_USEC": "soon"}])
def test_nobody_feeds_a_watchdog_that_is_not_meant(tmp_path: Path, ear: Ear, more: dict[str, str]) -> None:
    async def run() -> None:
        supervisor = _of(tmp_path, **more)
        async with supervisor.watching():
            await asyncio.sleep(0)
        supervisor.stopping()

    asyncio.run(run())
    assert ear.next()[0] == "STOPPING=1"


def test_children_do_not_find_the_socket(tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1", "WATCHDOG_PID": "7", "HOME": "/"}
    Supervisor.of_environment(environment, pid=7)
    assert environment == {"HOME": "/"}


def test_supervisor_that_went_away_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _of(tmp_path).ready("up")
    assert "cannot be told" in caplog.text
    Supervisor().ready("up")


@pytest.fixture
def node_folder(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(
        f'[node]\nname = "attic"\nstate_dir = "{tmp_path}/state"\n[people]\nport = 0\n[swarm]\nroles = ["worker"]\n'
    )
    return tmp_path


def _node(folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "swarm", "up", "--config", str(folder / "config.toml")],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
    )


def test_node_says_ready_when_it_answers_then_lives_and_says_its_end(node_folder: Path, ear: Ear) -> None:
    node = _node(node_folder, NOTIFY_SOCKET=str(node_folder / "notify"), WATCHDOG_USEC="600000")
    try:
        ready, status = ear.until("READY=1")
        address = json.loads((node_folder / "state" / "node.json").read_text())
        assert ready == "READY=1"
        assert status.startswith("STATUS=worker; in no swarm; tasks: 0; http://127.0.0.1:")
        assert address["url"] in status
        assert ear.until("WATCHDOG=1") == ["WATCHDOG=1"]
        node.send_signal(signal.SIGTERM)
        ear.until("STOPPING=1")
        assert node.wait(PATIENCE_S) == 0
    finally:
        node.kill()
        node.communicate()


def test_wrong_configuration_ends_with_the_status_that_systemd_does_not_restart(node_folder: Path) -> None:
    (node_folder / "config.toml").write_text("[node]\nnmae = 1\n")
    node = _node(node_folder)
    _, errors = node.communicate(timeout=PATIENCE_S)
    assert node.returncode == 2 and b"config.toml:2" in errors


def test_credential_is_read_where_systemd_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert credential("join-token", {}) is None
    assert credential("join-token", environment) is None
    (tmp_path / "mycoswarm.join-token").write_text("MYCO1-AB\n")
    assert credential("join-token", environment) == "MYCO1-AB"
    for wrong in ("", "two\nlines", "ü", "x" * (MAX_BYTES + 1)):
        (tmp_path / "mycoswarm.join-token").write_text(wrong)
        with pytest.raises(ConfigError, match="no secret"):
            credential("join-token", environment)

    (tmp_path / "mycoswarm.home-assistant-token").write_text("secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert access_token(HomeAssistantSection(token_file="home-assistant-token")) == "secret"
