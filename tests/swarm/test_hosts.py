"""The hosts that other tests of the swarm stand on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.hosts import Host, lan, needs_hosts
from tests.program import Program

pytestmark = needs_hosts

SERVE = """
import socket
with socket.create_server(("::", 7000), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    print("ready")
    while True:
        server.accept()[0].close()
"""
CALL = "import socket, sys; socket.create_connection((sys.argv[1], 7000), float(sys.argv[2])).close(); print('reached')"


def serve(host: Host) -> Program:
    program = host.python("-c", SERVE)
    program.line("ready")
    return program


def reaches(host: Host, address: str, *, patience_s: float = 5.0) -> bool:
    return host.python("-c", CALL, address, str(patience_s)).wait() == 0


def test_hosts_have_names_addresses_and_ports_of_their_own() -> None:
    with lan(2) as net:
        first, second = net.hosts
        assert (first.run("hostname"), second.run("hostname")) == ("host1\n", "host2\n")
        serve(first)
        serve(second)
        assert reaches(second, first.address)
        assert reaches(first, second.address6)


def test_two_lans_do_not_touch_though_they_use_the_same_addresses() -> None:
    with lan(1) as here, lan(2) as there:
        serve(there.hosts[0])
        assert not reaches(here.hosts[0], there.hosts[1].address, patience_s=0.2)
        assert not reaches(here.hosts[0], here.hosts[0].address, patience_s=0.2)


def test_partition_separates_groups_and_heals() -> None:
    with lan(4) as net:
        a, b, c, alone = net.hosts
        serve(a)
        net.partition([a, b], [c])
        assert reaches(b, a.address)
        assert not reaches(c, a.address, patience_s=0.2)
        assert not reaches(alone, a.address, patience_s=0.2)
        net.heal()
        assert reaches(c, a.address)
        assert reaches(alone, a.address)


def test_silenced_host_loses_every_packet_but_not_its_carrier() -> None:
    with lan(2) as net:
        a, b = net.hosts
        serve(a)
        a.silence()
        assert not reaches(b, a.address, patience_s=0.2)
        assert "LOWER_UP" in a.run("ip", "link", "show", "eth0")
        a.unsilence()
        assert reaches(b, a.address)
        a.unplug()
        assert "NO-CARRIER" in a.run("ip", "link", "show", "eth0")


def test_programs_end_with_their_host_however_the_test_ends() -> None:
    programs: list[Program] = []
    with pytest.raises(RuntimeError, match="the test failed"), lan(1) as net:
        programs.append(serve(net.hosts[0]))
        child = "import subprocess; print(subprocess.Popen(['sleep', '1000'], stdout=-3, start_new_session=True).pid)"
        grandchild = net.hosts[0].python("-c", child)
        grandchild.wait()
        holder = net.hosts[0].namespace_pid
        raise RuntimeError("the test failed")
    assert not programs[0].running
    for pid in (int(grandchild.lines[0]), holder):
        status = Path(f"/proc/{pid}/stat")
        assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_host_that_loses_its_power_has_no_program_left() -> None:
    with lan(1) as net:
        program = serve(net.hosts[0])
        net.hosts[0].lose_power()
        assert program.wait() == -signal.SIGKILL
        assert net.hosts[0].run("ip", "-br", "link")


def test_program_that_does_not_say_what_it_should_is_shown_with_its_errors() -> None:
    with lan(1) as net:
        program = net.hosts[0].python("-c", "print('one'); raise ValueError('two')")
        program.wait()
        assert program.line("one") == "one"
        with pytest.raises(AssertionError, match=r"did not say 'three'; it ended with 1\n(?s:.*)ValueError: two"):
            program.line("three")
