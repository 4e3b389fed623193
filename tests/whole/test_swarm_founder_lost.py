"""The machine that began the swarm is gone for good, and another one has the right to admit."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from swarm.certificates import NODE_LIFE_S
from swarm.identity import open_identity
from tests.whole.running_node import wait_until
from tests.whole.swarm_machines import WORKER, Machine, machines, one_swarm


def issuer_of(machine: Machine) -> str:
    certificate = open_identity(machine.state / "identity").certificate
    assert certificate is not None
    return certificate.issuer


def certificate_has_ended(machine: Machine, founder: Machine) -> None:
    """As if it had been off for two weeks."""
    authority = open_identity(founder.state / "identity").authority
    assert authority is not None
    identity = open_identity(machine.state / "identity")
    identity.install(authority.issue(identity.public_key, now=time.time() - 2 * NODE_LIFE_S))


def test_machines_that_were_off_meanwhile_come_back_to_those_that_have_other_certificates_now(tmp_path: Path) -> None:
    each = [("first", []), ("second", []), ("third", [WORKER]), ("fourth", [WORKER]), ("fifth", [WORKER])]
    with machines(tmp_path, *each) as [first, second, third, fourth, fifth]:
        one_swarm(first, second, third, fourth)
        for machine in (third, fourth):
            assert machine.end() == 0  # and so hears nothing of what follows
        first.did("grant", "second")
        certificate_has_ended(fourth, first)
        second.end()
        first.signal(signal.SIGKILL)
        first.wait()

        second.start()
        own = open_identity(second.state / "identity").authority
        assert own is not None
        wait_until(lambda: issuer_of(second) == own.certificate.authority_id)
        fifth.did("join", second.token())
        fifth.start()
        fifth.sees(second)
        for machine in (third, fourth):
            machine.start()
        for machine in (second, third, fourth, fifth):
            machine.sees(second, third, fourth, fifth)
        for machine in (third, fourth):
            assert "this node was off when that changed" in machine.log_text()
            wait_until(lambda machine=machine: issuer_of(machine) == own.certificate.authority_id)  # type: ignore[misc]
