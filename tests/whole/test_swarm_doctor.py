"""`mycoswarm doctor NODE` names the layer that fails between two machines; here each is broken for real.

The tests share the machines; each mends what it broke.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.hosts import Host, lan, needs_hosts
from tests.whole.lan_machines import HUB, NFT, Machine, clock_shifted, needs_faketime, needs_filter, wait_until

pytestmark = needs_hosts

DAY_S = 86_400


@dataclass
class Found:
    """What the doctor said, by layer."""

    code: int
    findings: dict[str, dict[str, str]]

    def status(self) -> dict[str, str]:
        return {name: each["status"] for name, each in self.findings.items()}

    def says(self, layer: str) -> str:
        return f"{self.findings[layer]['found']} → {self.findings[layer]['to_do']}"

    def first(self, status: str) -> str:
        return next(name for name, each in self.findings.items() if each["status"] == status)


def doctor(machine: Machine, *node: str) -> Found:
    code, printed, complaint = machine.said("doctor", *node, "--json")
    assert printed, complaint
    return Found(code, {each["check"]: each for each in json.loads(printed)})


@contextmanager
def dropping(host: Host, *what: str) -> Iterator[None]:
    """A firewall on the host that loses these packets, coming and going."""
    host.run(NFT, "add table inet wall")
    try:
        for hook in ("input", "output"):
            host.run(NFT, f"add chain inet wall {hook} {{ type filter hook {hook} priority 0 ; }}")
            for each in what:
                host.run(NFT, f"add rule inet wall {hook} {each} drop")
        yield
    finally:
        host.run(NFT, "delete table inet wall")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Machine, Machine]]:
    """A hub and two workers."""
    folder = tmp_path_factory.mktemp("home")
    with lan(3) as net:
        hub, *workers = (
            Machine(host, folder / host.name, **({} if number else {"roles": HUB}))
            for number, host in enumerate(net.hosts)
        )
        hub.did("init")
        hub.start()
        for worker in workers:
            worker.did("join", hub.did("invite"))
            worker.start()
        hub.sees(*workers)
        workers[0].sees(hub, *workers)
        yield hub, workers[0], workers[1]


def test_doctor_finds_nothing_between_two_machines_that_are_well(home: tuple[Machine, Machine, Machine]) -> None:
    hub, worker, _ = home
    well = dict.fromkeys(("mDNS", "TCP", "TLS", "clock", "certificate", "broker", "ACL"), "ok")
    for asking, about in ((worker, hub), (hub, worker)):
        wait_until(lambda asking=asking, about=about: doctor(asking, about.name).findings["ACL"]["status"] == "ok")
        found = doctor(asking, about.name)
        assert found.status() == well, found.findings
        assert found.code == 0
    assert hub.name in found.says("broker")
    # It looks beside the node that works, which stays on the bus.
    assert "cut" not in hub.log()


@needs_filter
def test_doctor_names_what_a_firewall_loses(home: tuple[Machine, Machine, Machine]) -> None:
    hub, worker, _ = home
    with dropping(hub.host, "udp dport 5353"):
        found = doctor(worker, hub.name)
        assert (found.code, found.first("warn")) == (0, "mDNS")
        assert "UDP 5353" in found.says("mDNS")
        assert found.status()["ACL"] == "ok"
    with dropping(hub.host, "tcp dport 7336"):
        found = doctor(worker, hub.name)
        assert (found.code, found.first("fail"), found.status()["certificate"]) == (1, "broker", "ok")
        assert "TCP port 7336" in found.says("broker")
    with dropping(hub.host, "tcp dport 7334"):
        found = doctor(worker, hub.name)
        assert (found.code, found.first("fail"), found.status()["TLS"]) == (1, "TCP", "skip")
        assert "TCP port 7334" in found.says("TCP")
    hub.sees(worker)


def test_doctor_names_a_node_that_hangs_and_one_that_is_not_there(home: tuple[Machine, Machine, Machine]) -> None:
    hub, worker, other = home
    assert other.program is not None
    os.kill(other.program.pid, signal.SIGSTOP)
    found = doctor(worker, other.name)
    assert (found.code, found.first("fail"), found.status()["TCP"]) == (1, "TLS", "ok"), found.findings
    assert "hangs" in found.says("TLS")
    os.kill(other.program.pid, signal.SIGCONT)
    other.program.end()
    found = doctor(worker, other.name)
    assert (found.code, found.first("fail"), found.status()["TLS"]) == (1, "TCP", "skip"), found.findings
    assert "mycoswarm up" in found.says("TCP")
    assert "not on the bus" in found.says("ACL")
    there = doctor(worker).findings["nodes"]
    assert (there["status"], there["found"]) == ("warn", f"1 of 2 others are there; not {other.name}")
    other.start()
    hub.sees(other)


@needs_faketime
def test_doctor_names_a_clock_that_is_wrong(home: tuple[Machine, Machine, Machine]) -> None:
    hub, worker, _ = home
    for shift_s, said in ((3600, "1 hour behind"), (-3600, "1 hour ahead of")):
        worker.env = clock_shifted(shift_s)
        found = doctor(worker, hub.name)
        assert (found.code, found.status()["clock"], found.status()["ACL"]) == (0, "warn", "ok"), found.findings
        assert said in found.says("clock")
    worker.env = clock_shifted(30 * DAY_S)
    found = doctor(worker, hub.name)
    assert (found.code, found.first("fail"), found.status()["TLS"]) == (1, "clock", "ok"), found.findings
    assert "set the clock of this machine" in found.says("clock")
    assert "ended" in doctor(worker).findings["swarm"]["found"]
    worker.env = {}


def test_doctor_looks_at_this_machines_own_part(home: tuple[Machine, Machine, Machine]) -> None:
    hub, *_ = home
    found = doctor(hub)
    assert "ends in 7.0 days" in found.says("swarm")
    assert "each as it was signed" in found.says("ledger")
    assert "2 of 2 others are there" in found.says("nodes")
    assert found.status()["broker"] == "ok"
    code, _, complaint = hub.said("doctor", "host9")
    assert (code, "no node of this swarm is called host9" in complaint) == (1, True)
    code, _, complaint = hub.said("doctor", "host1")
    assert (code, "that is this machine itself" in complaint) == (1, True)


def test_doctor_names_a_certificate_that_is_not_wanted_any_more(home: tuple[Machine, Machine, Machine]) -> None:
    hub, _, other = home
    assert other.program is not None
    other.program.end()  # before it hears of it
    hub.did("revoke", other.name)
    found = doctor(other, hub.name)
    assert (found.code, found.first("fail"), found.status()["TLS"]) == (1, "certificate", "ok"), found.findings
    assert "Revoked: mycoswarm leave here" in found.says("certificate")
    code, _, complaint = hub.said("doctor", other.name)
    assert (code, f"{other.name} was revoked" in complaint) == (1, True)
