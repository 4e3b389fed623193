"""Several machines become one on a real network: nobody types an address. More of it is in `test_swarm_hosts`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hosts import lan, needs_hosts
from tests.whole.lan_machines import HUB, START_S, WORKER, Machine, wait_until

pytestmark = needs_hosts


@contextmanager
def home(folder: Path, count: int) -> Iterator[list[Machine]]:
    """A hub and workers on one LAN, not enrolled."""
    with lan(count) as net:
        yield [
            Machine(host, folder / host.name, roles=WORKER if number else HUB) for number, host in enumerate(net.hosts)
        ]


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
