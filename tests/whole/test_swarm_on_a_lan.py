"""Several machines become one on a real network: nobody types an address."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import Host, lan, needs_hosts
from tests.program import Program

pytestmark = needs_hosts

START_S = 40.0


class Machine:
    """A host with a configuration and a state folder of its own."""

    def __init__(self, host: Host, folder: Path, *, roles: str = '"worker"') -> None:
        self.host = host
        self.name = host.name
        folder.mkdir()
        self.config = str(folder / "config.toml")
        Path(self.config).write_text(
            f'[node]\nstate_dir = "{folder / "state"}"\n[satellite]\nmicrophone = "none"\nspeaker = "none"\n'
            f'[language_model]\nurl = ""\n[swarm]\nroles = [{roles}]\n'
        )
        self.program: Program | None = None

    def did(self, *arguments: str) -> str:
        command, *rest = arguments
        done = self.host.python("-m", "swarm", command, "--config", self.config, *rest)
        status = done.wait(seconds=START_S)
        assert status == 0, f"{self.name}: {arguments}: {done.stderr()}\n{self.program and self.program.stderr()}"
        return "\n".join(done.lines)

    def command(self, command: str, *, answer: str) -> Program:
        """A command that asks something back, and what it gets."""
        return self.host.start(
            "sh", "-c", f"printf '{answer}' | {sys.executable} -m swarm {command} --config {self.config}"
        )

    def start(self) -> None:
        self.program = self.host.python("-m", "swarm", "up", "--config", self.config)
        wait_until(lambda: "is up" in self.log())

    def log(self) -> str:
        assert self.program is not None
        assert self.program.running, self.program.stderr()
        return self.program.stderr()

    def view(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in json.loads(self.did("nodes", "--json"))}

    def sees(self, *others: Machine, state: str = "alive") -> None:
        wait_until(lambda: {n for n, each in self.view().items() if each["state"] == state} >= {o.name for o in others})


def wait_until(condition: Any, *, seconds: float = START_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.1)


@contextmanager
def home(folder: Path, count: int) -> Iterator[list[Machine]]:
    """A hub and workers on one LAN, not enrolled."""
    with lan(count) as net:
        yield [
            Machine(host, folder / host.name, roles='"worker"' if number else '"hub"')
            for number, host in enumerate(net.hosts)
        ]


def test_machines_join_and_find_each_other_without_an_address(tmp_path: Path) -> None:
    with home(tmp_path, 3) as [hub, second, third]:
        assert "LAN, port 7334" in hub.did("init")
        hub.start()
        token = hub.did("invite")
        second.did("join", token)
        second.start()
        hub.sees(second)
        third.did("join", hub.did("invite"))
        third.start()
        for machine in (hub, second, third):
            machine.sees(hub, second, third)
        assert "It's" in third.did("ask", "what time is it")


def test_machine_is_found_under_its_new_address(tmp_path: Path) -> None:
    with home(tmp_path, 2) as [hub, second]:
        hub.did("init")
        hub.start()
        second.did("join", hub.did("invite"))
        second.start()
        hub.sees(second)
        second.sees(hub)
        second.host.set_addresses("10.77.0.99/24", "fd77::99/64")
        wait_until(lambda: "10.77.0.99:7334" in hub.view()["host2"]["addresses"])
        hub.sees(second)
        second.sees(hub)
        assert "It's" in second.did("ask", "what time is it")


def test_machine_without_a_token_finds_the_swarm_that_waits_for_it(tmp_path: Path) -> None:
    with home(tmp_path, 2) as [hub, second]:
        hub.did("init")
        hub.start()
        approving = hub.host.python("-m", "swarm", "approve", "--config", hub.config)
        wait_until(lambda: "the enrolment port is open" in hub.log())
        joining = second.command("join", answer="y\\n")
        asked = approving.line("asks to be let in", seconds=START_S)
        code = asked.rpartition("the code ")[2]
        assert joining.line("the code is").endswith(code)
        hub.did("approve", code)
        assert joining.wait() == 0, joining.stderr()
        second.start()
        hub.sees(second)


def test_two_swarms_on_one_lan_do_not_see_each_other(tmp_path: Path) -> None:
    with home(tmp_path, 3) as [hub, second, other]:
        for founding in (hub, other):
            founding.did("init")
            founding.start()
        second.did("join", hub.did("invite"))
        second.start()
        hub.sees(second)
        other.did("invite")
        assert set(hub.view()) == set(second.view()) == {"host1", "host2"}
        assert set(other.view()) == {"host3"}
        assert "of another swarm" not in other.log()


@pytest.mark.parametrize("how", ["killed", "silenced"])
def test_lost_machine_is_missed_and_welcomed_back(tmp_path: Path, how: str) -> None:
    with home(tmp_path, 2) as [hub, second]:
        hub.did("init")
        hub.start()
        second.did("join", hub.did("invite"))
        second.start()
        hub.sees(second)
        assert second.program is not None
        if how == "killed":
            second.program.end(signal.SIGKILL)
        else:
            second.host.silence()
        hub.sees(second, state="dead")
        if how == "killed":
            second.start()
        else:
            second.host.unsilence()
        hub.sees(second)
        second.sees(hub)
