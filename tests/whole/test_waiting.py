"""A machine that waits to be let in is heard of on the LAN, and learns of an enroller by itself."""

from __future__ import annotations

from pathlib import Path

from tests.hosts import lan, needs_hosts
from tests.whole.lan_machines import HUB, Machine, wait_until


@needs_hosts
def test_machine_that_waits_is_listed_and_let_in_by_its_code(tmp_path: Path) -> None:
    with lan(2) as net:
        hub = Machine(net.hosts[0], tmp_path / "hub", roles=HUB)
        new = Machine(net.hosts[1], tmp_path / "new")
        hub.did("init")
        hub.start()
        (tmp_path / "root/run/mycoswarm/ask").mkdir(parents=True)
        enrol = new.host.python(
            "-m", "provisioning.first_boot", "enrol", "--root", str(tmp_path / "root"), "--config", new.config
        )
        wait_until(lambda: "belongs to no swarm yet" in enrol.stderr(), why=enrol.stderr)
        doctor, approving = hub.begin("doctor"), hub.begin("approve")
        wait_until(lambda: "waits, and will ask by itself" in approving.stderr(), why=approving.stderr)
        wait_until(lambda: "The code is " in enrol.stderr(), why=enrol.stderr)
        code = enrol.stderr().split("The code is ")[1][:7]
        approving.line(f"with the code {code}")
        doctor.line("not in the swarm yet: host2 at")
        assert hub.did("approve", code).startswith(new.name)
        wait_until(lambda: "belongs to the swarm" in enrol.stderr(), why=enrol.stderr)
