"""Discovery between real hosts: network namespaces, real multicast."""

from __future__ import annotations

import json
import signal
from typing import Any

from swarm.mdns_table import MAX_STRANGERS
from tests.hosts import Host, lan, needs_hosts
from tests.program import PATIENCE_S, Program

pytestmark = needs_hosts

A, B, C = "a" * 26, "b" * 26, "c" * 26
SWARM, OTHER_SWARM = "s" * 26, "t" * 26


def node(host: Host, node_id: str = "", *options: str, swarm: str = SWARM) -> Program:
    program = host.python("-m", "tests.swarm.discovering_node", "--node", node_id, "--swarm", swarm, *options)
    program.line('"started"')
    return program


def told(program: Program, event: str, *, within_s: float = PATIENCE_S, **fields: Any) -> dict[str, Any]:
    """The next event of this kind with these fields."""

    def fits(line: str) -> bool:
        said = json.loads(line)
        return said["event"] == event and all(said[key] == value for key, value in fields.items())

    said: dict[str, Any] = json.loads(program.line(fits, seconds=within_s))
    return said


def stats(program: Program) -> dict[str, Any]:
    program._process.send_signal(signal.SIGUSR1)
    return told(program, "stats")


def test_two_hosts_find_each_other_with_what_they_announced() -> None:
    with lan(2) as net:
        first = node(net.hosts[0], A, "--roles", "hub,gpu", "--port", "7001", "--enrol", "7002")
        second = node(net.hosts[1], B)
        found = told(second, "found", node=A)
        assert found["addresses"] == ["10.77.0.1", "fd77::1", *found["addresses"][2:]]
        assert (found["port"], found["enrol"], found["roles"], found["swarm"]) == (7001, 7002, ["hub", "gpu"], SWARM)
        assert told(first, "found", node=B)["addresses"][0] == "10.77.0.2"


def test_address_change_is_followed_and_the_old_address_forgotten() -> None:
    with lan(2) as net:
        mover, watcher = net.hosts
        node(mover, A)
        program = node(watcher, B)
        told(program, "found", node=A)
        mover.set_addresses("10.77.0.99/24")

        def moved(line: str) -> bool:
            said = json.loads(line)
            routed = [address for address in said.get("addresses", ()) if not address.startswith("fe80")]
            return said.get("node") == A and routed == ["10.77.0.99"]

        program.line(moved)


def test_restart_on_another_port_replaces_the_node_and_goodbye_ends_it() -> None:
    with lan(2) as net:
        program = node(net.hosts[0], A, "--port", "7001")
        watcher = node(net.hosts[1], B)
        told(watcher, "found", node=A, port=7001)
        program.end(signal.SIGKILL)
        program = node(net.hosts[0], A, "--port", "7002")
        told(watcher, "found", node=A, port=7002)
        assert stats(watcher)["kept"] == [A]
        assert program.end() == 0
        assert json.loads(program.lines[-1]) | {"at": 0} == {"event": "ended", "left": [], "at": 0}
        told(watcher, "gone", node=A)
        assert stats(watcher)["kept"] == []


def test_node_that_lost_its_power_is_no_ghost_for_longer_than_its_records_live() -> None:
    with lan(2) as net:
        node(net.hosts[0], A)
        watcher = node(net.hosts[1], B, "--lifetime", "2")
        told(watcher, "found", node=A)
        net.hosts[0].lose_power()
        told(watcher, "gone", node=A)
        assert stats(watcher)["kept"] == []


def test_node_that_is_there_stays_beyond_the_life_of_its_records() -> None:
    with lan(3) as net:
        node(net.hosts[0], A)
        watcher = node(net.hosts[1], B, "--lifetime", "2")
        told(watcher, "found", node=A)
        other = node(net.hosts[2], C, "--lifetime", "2")
        told(watcher, "found", node=C)
        other.end(signal.SIGKILL)
        told(watcher, "gone", node=C)  # a whole life later
        assert stats(watcher)["kept"] == [A]
        assert not [line for line in watcher.lines if '"gone"' in line and A in line]


def test_two_swarms_on_one_lan_ignore_each_other() -> None:
    with lan(3) as net:
        stranger = node(net.hosts[1], B, swarm=OTHER_SWARM)
        first = node(net.hosts[0], A)
        last = node(net.hosts[2], C)
        told(last, "found", node=A)
        told(first, "found", node=C)
        for program, kept in ((first, [C]), (last, [A]), (stranger, [])):
            said = stats(program)
            assert (said["kept"], said["refused"]) == (kept, 0)


def test_node_without_a_swarm_hears_every_swarm() -> None:
    with lan(3) as net:
        node(net.hosts[0], A)
        node(net.hosts[1], B, swarm=OTHER_SWARM)
        joiner = node(net.hosts[2], swarm="")
        said = [told(joiner, "found"), told(joiner, "found")]
        assert {(one["node"], one["swarm"]) for one in said} == {(A, SWARM), (B, OTHER_SWARM)}


def test_discovery_works_with_ipv6_alone() -> None:
    with lan(2, ipv4=False) as net:
        node(net.hosts[0], A)
        assert told(node(net.hosts[1], B), "found", node=A)["addresses"][0] == "fd77::1"


def test_discovery_works_with_link_local_addresses_alone() -> None:
    with lan(2, ipv4=False, ipv6=False) as net:
        node(net.hosts[0], A)
        address, _, scope = told(node(net.hosts[1], B), "found", node=A)["addresses"][0].partition("%")
        assert address == net.hosts[0].link_local()
        index = net.hosts[1].run("cat", "/proc/net/if_inet6").split("eth0")[0].split()[-4]
        assert int(scope) == int(index, 16)


def test_interface_that_comes_later_is_used() -> None:
    with lan(1) as here, lan(1, prefix="10.78.0") as there:
        between, far = here.hosts[0], there.hosts[0]
        first = node(between, A)
        second = node(far, B)
        between.join(there, "10.78.0.50/24")
        second.line("10.78.0.50")
        assert told(first, "found", node=B)["addresses"][0] == "10.78.0.1"


def test_host_that_starts_without_a_network_is_found_when_it_gets_one() -> None:
    with lan(2) as net:
        late, watcher = net.hosts
        late.ip("link set eth0 down")
        program = node(late, A)
        second = node(watcher, B)
        late.ip("link set eth0 up")
        told(second, "found", node=A)
        told(program, "found", node=B)


def test_cable_that_was_out_for_a_while_does_no_harm() -> None:
    with lan(2) as net:
        first = node(net.hosts[0], A, "--lifetime", "2")
        second = node(net.hosts[1], B, "--lifetime", "2")
        told(first, "found", node=B)
        told(second, "found", node=A)
        net.hosts[0].unplug()
        told(second, "gone", node=A)
        net.hosts[0].plug_in()
        told(second, "found", node=A)


def test_flood_of_made_up_nodes_is_bounded_and_hides_no_node_of_the_roster() -> None:
    with lan(3) as net:
        friend, victim, rogue = net.hosts
        program = node(victim, B, "--known", A)
        before = stats(program)
        flood = rogue.python(
            "-m", "tests.swarm.flooding", "--from", rogue.address, "--swarm", SWARM, "--count", "5000"
        )  # fmt: skip
        flood.line("sent")
        node(friend, A)
        told(program, "found", node=A)
        after = stats(program)
        assert A in after["kept"]
        assert MAX_STRANGERS <= len(after["kept"]) <= MAX_STRANGERS + 1
        assert after["refused"] > 1000
        assert after["rss_kb"] - before["rss_kb"] < 40_000


def test_imitator_of_a_node_cannot_hide_it() -> None:
    with lan(3) as net:
        real, watcher, rogue = net.hosts
        original = node(real, A)
        program = node(watcher, B)
        told(program, "found", node=A)
        rogue.python(
            *("-m", "tests.swarm.flooding", "--from", rogue.address, "--swarm", SWARM),
            *("--node", A, "--address", "10.77.0.66"),
        ).line("sent")
        program.line("10.77.0.66")
        # The real one defends itself and answers the question that the change raised: no need to wait for the next
        # question to all, half a minute later.
        told(program, "found", node=A, port=7334, within_s=10)
        assert stats(original)["imitations"] == 1


def test_false_goodbye_is_taken_back() -> None:
    with lan(3) as net:
        real, watcher, rogue = net.hosts
        node(real, A)
        program = node(watcher, B)
        told(program, "found", node=A)
        rogue.python(
            *("-m", "tests.swarm.flooding", "--from", rogue.address, "--swarm", SWARM),
            *("--node", A, "--address", "10.77.0.1", "--goodbye"),
        ).line("sent")
        told(program, "gone", node=A)
        told(program, "found", node=A, port=7334)
