"""Machines of a swarm as people run them, each on a host of its own (`tests.hosts`)."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import Host
from tests.program import Program

START_S = 40.0
HUB = '[swarm]\nroles = ["hub"]\n'
NO_MODEL = 'url = ""\n'
WORKER = '[swarm]\nroles = ["worker"]\n'


class Machine:
    """A host with a configuration and a state folder of its own. Its name is the host's."""

    def __init__(self, host: Host, folder: Path, *, roles: str = WORKER, sections: str = NO_MODEL) -> None:
        """`sections` are TOML lines, those of `[language_model]` first."""
        self.host = host
        self.name = host.name
        self.state = folder / "state"
        self.env: Mapping[str, str] = {}
        """For its node and its commands: a clock of its own."""
        folder.mkdir()
        self.config = str(folder / "config.toml")
        Path(self.config).write_text(
            f'[node]\nstate_dir = "{self.state}"\n[satellite]\nmicrophone = "none"\nspeaker = "none"\n'
            f"{roles}[language_model]\n{sections}"
        )
        self.program: Program | None = None

    def begin(self, *arguments: str) -> Program:
        """A command of the command line, such as `ask`, under way."""
        command, *rest = arguments
        return self.host.python("-m", "swarm", command, "--config", self.config, *rest, env=self.env)

    def did(self, *arguments: str) -> str:
        """What a command printed, which went well."""
        return self.ended(self.begin(*arguments))

    def ended(self, command: Program) -> str:
        status = command.wait(seconds=START_S)
        assert status == 0, f"{self.name}: {command.stderr()}\n{self.program and self.program.stderr()}"
        return "\n".join(command.lines)

    def said(self, *arguments: str) -> tuple[int, str, str]:
        """The exit code of a command, what it printed, and what it complained."""
        done = self.begin(*arguments)
        status = done.wait(seconds=START_S)
        return status, "\n".join(done.lines), done.stderr()

    def command(self, command: str, *, answer: str) -> Program:
        """A command that asks something back, and what it gets."""
        return self.host.start(
            "sh", "-c", f"printf '{answer}' | {sys.executable} -m swarm {command} --config {self.config}"
        )

    def launch(self) -> None:
        self.program = self.host.python("-m", "swarm", "up", "--config", self.config, env=self.env)

    def start(self) -> None:
        self.launch()
        self.wait_up()

    def wait_up(self) -> None:
        wait_until(lambda: "is up" in self.log())

    def log(self) -> str:
        assert self.program is not None
        assert self.program.running, self.program.stderr()
        return self.program.stderr()

    def view(self) -> dict[str, dict[str, Any]]:
        """What `mycoswarm nodes` shows, asked for in a tenth of its time; nothing while the node is not up."""
        try:
            url = json.loads((self.state / "node.json").read_bytes())["url"]
            shown = self.host.run("curl", "-sS", "--max-time", "10", f"{url}/api/nodes")
        except (FileNotFoundError, AssertionError):
            return {}
        return {each["name"]: each for each in json.loads(shown)}

    def node_id(self) -> str:
        return next(str(each["node"]) for each in self.view().values() if each["here"])

    def sees(self, *others: Machine, state: str = "alive") -> None:
        wanted = {other.name for other in others}
        seen: dict[str, str] = {}

        def so() -> bool:
            seen.clear()
            seen.update({name: each["state"] for name, each in self.view().items()})
            return {name for name in seen if seen[name] == state} >= wanted

        wait_until(so, why=lambda: f"{self.name} sees {seen}, not {sorted(wanted)} {state}:\n{self.log()}")


def wait_until(
    condition: Any,
    *,
    seconds: float = START_S,
    why: Callable[[], str] = lambda: "it did not come true",
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)


def clock_shifted(seconds: int) -> Mapping[str, str]:
    """The environment of a program that believes it is so much later; time still passes as it does."""
    return {
        "LD_PRELOAD": str(_faketime()),
        "FAKETIME": f"{seconds:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "0",
    }


@functools.cache
def _faketime() -> Path | None:
    """libfaketime of Debian, for programs with threads."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


needs_faketime = pytest.mark.skipif(_faketime() is None, reason="libfaketime is not installed (Debian: libfaketime)")


NFT = shutil.which("nft", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))) or ""


def _can_filter() -> bool:
    return bool(NFT) and subprocess.run([NFT, "list", "tables"], capture_output=True, check=False).returncode == 0


needs_filter = pytest.mark.skipif(not _can_filter(), reason="no packet filter here (Debian: nftables)")
