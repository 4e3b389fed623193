"""Machines of a swarm as people run them, on one real machine: own folders, own ports, loopback only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil

from swarm.swarm_client import SwarmClient, find_swarm_node
from swarm.swarm_view import NodeView
from tests.buses import free_port
from tests.whole.running_node import RunningNode, assert_no_surprise, program, wait_until

WORKER: Mapping[str, Mapping[str, object]] = {"swarm": {"roles": ["worker"]}}


class Machine(RunningNode):
    """One machine. Its name is its folder's."""

    def __init__(self, folder: Path, *sections: Mapping[str, Mapping[str, object]]) -> None:
        self.name = folder.name
        self.nodes_port, self.enrolment_port, self.swarm_bus_port = free_port(), free_port(), free_port()
        own: dict[str, dict[str, object]] = {
            "node": {"name": self.name},
            "swarm": {
                "address": "127.0.0.1",
                "port": self.nodes_port,
                "enrolment_port": self.enrolment_port,
                "bus_port": self.swarm_bus_port,
                "multicast": False,
            },
        }
        for layer in sections:
            for section, keys in layer.items():
                own.setdefault(section, {}).update(keys)
        self._works_only = own["swarm"].get("roles") == ["worker"]
        super().__init__(folder, sections=own)

    def start(self, *, when: str = "") -> Self:
        super().start(when=when or rf"the node {self.name} is up")
        if not self._works_only:
            self.wait_for_log("connected to the broker")
        return self

    def has_demo_home(self) -> None:
        """From its next start on."""
        self._demo_home = True

    def runs_first(self, prelude: str) -> None:
        """Python that runs in the node's process before it begins, from its next start on."""
        self._program = program(prelude)

    def swarm(self) -> SwarmClient:
        return find_swarm_node(self.state, timeout_s=20.0)

    def did(self, *arguments: str) -> str:
        """What a command printed, which went well."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{self.name}: {arguments}: {done.stdout}{done.stderr}\n{self.log_tail()}"
        return done.stdout

    def failed(self, *arguments: str) -> str:
        """What a command complained, which did not go well."""
        done = self.run(*arguments)
        assert done.returncode == 1, f"{self.name}: {arguments}: {done.stdout}{done.stderr}"
        assert done.stderr.startswith("error: "), done.stderr
        return done.stderr

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that asks something back."""
        command, *rest = arguments
        return subprocess.Popen(
            [sys.executable, "-m", "swarm", command, "--config", str(self.config), *rest],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONUNBUFFERED": "1", "HOME": str(self.folder)},
        )

    def token(self) -> str:
        return self.did("invite").strip()

    def sees(self, *others: Machine, state: str = "alive") -> None:
        """Wait until it sees the others so."""
        names = {other.name for other in others}
        wait_until(
            lambda: {each.name for each in self.view() if each.state == state} >= names,
            lambda: f"{self.name} sees {self.view()}\n{self.log_tail()}",
        )

    def view(self) -> list[NodeView]:
        return self.swarm().nodes()

    def node_id(self) -> str:
        return self.swarm().swarm().node_id

    def listens_on(self) -> set[int]:
        """Ports that its own process listens on."""
        return {
            each.laddr.port for each in self.process.net_connections(kind="tcp") if each.status == psutil.CONN_LISTEN
        }

    def log_tail(self) -> str:
        return self.log_text()[-3000:] if self.log.exists() else ""


@contextmanager
def machines(folder: Path, *each: tuple[str, Sequence[Mapping[str, Mapping[str, object]]]]) -> Iterator[list[Machine]]:
    """Machines that were not started yet. All that run at the end must end well."""
    made = [Machine(folder / name, *sections) for name, sections in each]
    try:
        yield made
        for machine in made:
            if machine.end() is not None:
                assert_no_surprise(machine)
    finally:
        for machine in made:
            machine.end()


def one_swarm(first: Machine, *others: Machine) -> None:
    """Start them all, as one swarm that `first` begins."""
    first.did("init")
    first.start()
    for other in others:
        other.did("join", first.token())
        other.start()
    for machine in (first, *others):
        machine.sees(first, *others)
