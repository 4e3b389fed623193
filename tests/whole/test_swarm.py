"""Several machines become one: real processes, real commands, one loopback."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from swarm.identity import open_identity
from tests.swarm.enrolled import founder, rogue_context
from tests.whole.running_node import wait_until
from tests.whole.swarm_machines import WORKER, Machine, machines, one_swarm


def closed(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except ConnectionRefusedError:
        return True
    return False


def test_machine_that_belongs_to_no_swarm_listens_on_loopback_only(tmp_path: Path) -> None:
    with machines(tmp_path, ("alone", [{"swarm": {"address": ""}}])) as [alone]:
        alone.start()
        listening = [
            each.laddr.ip
            for process in alone.family()
            for each in process.net_connections()
            if each.status == psutil.CONN_LISTEN or each.type == socket.SOCK_DGRAM
        ]
        assert listening
        assert set(listening) <= {"127.0.0.1", "::1"}
        [node] = alone.view()
        assert (node.here, node.state) == (True, "alive")
        assert "belongs to no swarm" in alone.failed("invite")


def test_second_machine_joins_with_a_token_and_asks_the_first(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", []), ("second", [WORKER])) as [first, second]:
        said = first.did("init")
        assert f"it listens on 127.0.0.1, port {first.nodes_port}" in said
        first.start()
        assert closed(first.enrolment_port)
        second.start()
        token = first.token()
        wait_until(lambda: not closed(first.enrolment_port))
        second.did("join", token)
        assert "the node that runs here takes part" not in said
        first.sees(second)
        second.sees(first)
        assert re.match(r"It's \d+:\d\d", second.did("ask", "what time is it"))
        [task] = json.loads(second.did("tasks", "--json"))
        assert (task["type"], task["state"], task["node"]) == ("ask", "done", first.node_id())
        assert "first: chosen" in second.did("why", task["task"][:8])
        assert "second: does not answer questions" in second.did("why", task["task"][:8])


def test_token_admits_one_machine_once(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", []), ("second", [WORKER]), ("third", [WORKER])) as [first, second, third]:
        first.did("init")
        first.start()
        token = first.token()
        assert "joined" not in first.log_text()
        second.did("join", token)
        assert "this token was used by another machine" in third.failed("join", token)
        assert "belongs to a swarm already" in second.failed("join", token)
        withdrawn = first.token()
        assert first.did("invite", "--withdraw", "all") == "1 invitation withdrawn\n"
        first.token()  # keeps the port open
        assert "this token does not open this swarm" in third.failed("join", withdrawn)


def test_enrolment_port_closes_when_nobody_is_invited_any_more(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", [])) as [first]:
        first.did("init")
        first.start()
        token = first.token()
        wait_until(lambda: not closed(first.enrolment_port))
        [invitation] = json.loads(first.did("invite", "--list", "--json"))
        assert invitation["id"] not in token
        first.did("invite", "--withdraw", invitation["id"])
        wait_until(lambda: closed(first.enrolment_port))


def test_machines_find_each_other_again_after_a_restart(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", []), ("second", [WORKER]), ("third", [WORKER])) as [first, second, third]:
        one_swarm(first, second, third)
        for machine in (second, third):
            assert machine.end() == 0
        first.sees(second, third, state="dead")
        second.start()
        third.start()
        for machine in (first, second, third):
            machine.sees(first, second, third)


def test_static_peer_is_found_without_anything_learned(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", [])) as [first]:
        first.did("init")
        second = Machine(
            tmp_path / "second", {"swarm": {"roles": ["worker"], "peers": [f"127.0.0.1:{first.nodes_port}"]}}
        )
        first.start()
        second.did("join", first.token())
        (second.state / "addresses.json").unlink()
        first.end()
        second.start()
        try:
            first.start()
            second.sees(first)
            first.sees(second)
        finally:
            second.end()


def connections(of: Machine, *to: Machine) -> set[int]:
    """Ports of the swarm that its connections are with, at the others or its own."""
    ports = {port for machine in to for port in (machine.nodes_port, machine.swarm_bus_port)}
    open_now = [each for each in of.process.net_connections(kind="tcp") if each.status == psutil.CONN_ESTABLISHED]
    own = {each.laddr.port for each in open_now} & {of.nodes_port}
    return own | {each.raddr.port for each in open_now} & ports


def test_machine_revoked_at_one_is_cut_off_by_all_at_once(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", []), ("second", []), ("third", [WORKER])) as [first, second, third]:
        one_swarm(first, second, third)
        ident = third.node_id()
        wait_until(lambda: connections(third, first, second) & {first.swarm_bus_port, second.swarm_bus_port})
        assert connections(third, first, second) - {first.swarm_bus_port, second.swarm_bus_port}
        assert first.did("revoke", "third").startswith(f"third ({ident}) is revoked")
        wait_until(lambda: not connections(third, first, second), seconds=2.0)
        for machine in (first, second):
            assert "third" not in {each.name for each in machine.view()}
            third.sees(machine, state="dead")
        assert "no node of this swarm is called third" in first.failed("revoke", "third")
        assert "no node" in third.failed("ask", "what time is it")
        third.did("leave")
        third.did("join", first.token())
        first.sees(third)
        second.sees(third)
        assert third.node_id() != ident


def test_only_who_admits_machines_revokes_them(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", []), ("second", [WORKER])) as [first, second]:
        one_swarm(first, second)
        assert "this node admits no machines\n  ask where that is allowed: first" in second.failed("revoke", "first")
        assert "this node admits no machines" in second.failed("invite")
        assert "second is no hub (worker)" in first.failed("grant", "second")
        second.end()
        assert "this machine admits no others" in second.failed("revoke", "first")


def test_machine_joins_by_a_code_that_a_person_compares(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", []), ("second", [WORKER])) as [first, second]:
        first.did("init")
        first.start()
        assert "cannot ask the enroller" in second.failed("join", "--address", f"127.0.0.1:{first.enrolment_port}")
        first.swarm().accept_codes()
        wait_until(lambda: not closed(first.enrolment_port))
        with second.command("join", "--address", f"127.0.0.1:{first.enrolment_port}") as joining:
            assert joining.stdin is not None and joining.stdout is not None
            code = joining.stdout.readline().strip().removeprefix("the code is ")
            [pending] = wait_until(lambda: first.swarm().codes().pending)
            assert (pending.code, pending.name) == (code, "second")
            wrong = "111111" if code != "111 111" else "222222"
            assert f"has the code {wrong}" in first.failed("approve", wrong)
            joining.stdin.write("y\n")
            joining.stdin.flush()
            assert first.did("approve", code).startswith("second (")
            output, errors = joining.communicate(timeout=20)
        assert (joining.returncode, errors) == (0, "")
        assert "belongs to the swarm" in output
        second.start()
        first.sees(second)


@pytest.mark.parametrize("who", ["joiner", "enroller"])
def test_machine_whose_code_is_not_the_same_stays_out(tmp_path: Path, who: str) -> None:
    with machines(tmp_path, ("first", []), ("second", [WORKER])) as [first, second]:
        first.did("init")
        first.start()
        first.swarm().accept_codes()
        wait_until(lambda: not closed(first.enrolment_port))
        with second.command("join", "--address", f"127.0.0.1:{first.enrolment_port}") as joining:
            assert joining.stdin is not None and joining.stdout is not None
            code = joining.stdout.readline().strip().removeprefix("the code is ")
            wait_until(lambda: first.swarm().codes().pending)
            if who == "joiner":
                joining.stdin.write("n\n")
                joining.stdin.flush()
            else:
                first.did("approve", "--refuse", code)
            _, errors = joining.communicate(timeout=20)
        assert joining.returncode == 1
        assert ("the codes are not the same" if who == "joiner" else "refused this node") in errors
        assert not (second.state / "identity" / "node.crt").exists()


def test_hub_with_the_right_goes_on_admitting_after_the_founder_is_lost(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", []), ("second", []), ("third", [WORKER]), ("fourth", [WORKER])) as four:
        first, second, third, fourth = four
        one_swarm(first, second, third)
        third.end()  # and so hears nothing of what follows
        assert "this is the only machine that admits others" in first.failed("leave")
        assert "may admit machines now" in first.did("grant", "second")
        assert "may admit machines already" in first.failed("grant", "second")
        first.did("ask", "set a tea timer for 12 seconds")
        wait_until(lambda: second.client().timers())
        first.signal(signal.SIGKILL)
        first.wait()
        fourth.did("join", second.token())
        fourth.start()
        fourth.sees(second)
        third.start()
        for machine in (second, third, fourth):
            machine.sees(second, third, fourth)
        wait_until(lambda: {each.name for each in third.view() if each.admits} == {"first", "second"})
        assert "first (" in second.did("revoke", "first")
        wait_until(lambda: {each.name for each in fourth.view() if each.admits} == {"second"})
        second.sees(third, fourth)
        second.wait_for_log("no satellite is there to say: Your tea timer")  # the one who set it cannot ring it


def test_machine_that_leaves_is_not_waited_for(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", []), ("second", [WORKER])) as [first, second]:
        one_swarm(first, second)
        assert "has left the swarm" in second.did("leave")
        assert closed(second.nodes_port)
        wait_until(lambda: [each.name for each in first.view()] == ["first"])
        assert "belongs to no swarm" in second.failed("leave")
        second.did("join", first.token())
        first.sees(second)


def test_nodes_are_listed_from_the_disk_when_none_runs(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", []), ("second", [WORKER])) as [first, second]:
        one_swarm(first, second)
        first.end()
        listed = first.run("nodes", "--json")
        assert [(each["name"], each["state"]) for each in json.loads(listed.stdout)] == [
            ("first", "unknown"),
            ("second", "unknown"),
        ]
        assert "second" in first.did("revoke", "second")
        first.start()
        second.sees(first, state="dead")
        assert [each.name for each in first.view()] == ["first"]


def test_strangers_get_nothing_from_the_nodes_port(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", [])) as [first]:
        first.did("init")
        first.start()
        other = founder(tmp_path / "other swarm")
        claims = founder(tmp_path / "same name")
        for certificate in (None, other.identity, claims.identity):
            answer = b""
            with (
                socket.create_connection(("127.0.0.1", first.nodes_port), 5.0) as plain,
                pytest.raises((ssl.SSLError, ConnectionError)),
                rogue_context(certificate=certificate).wrap_socket(plain) as tls,
            ):
                tls.sendall(b"GET /v1/nodes HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = tls.recv(100)
                raise ConnectionResetError("closed without an answer")
            assert answer == b""
        with socket.create_connection(("127.0.0.1", first.nodes_port), 5.0) as plain:
            plain.sendall(b"GET /v1/nodes HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"HTTP" not in plain.recv(100)
        assert first.view()[0].state == "alive"


def test_other_users_programs_cannot_change_the_swarm_over_loopback(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", [])) as [first]:
        first.did("init")
        first.start()
        address = first.state / "node.json"
        assert address.stat().st_mode & 0o077 == 0
        done = subprocess.run(
            ["curl", "-s", "-X", "POST", f"{first.client().url}/api/swarm/invitations"], capture_output=True, text=True
        )
        assert "only the user that runs this node may do that" in done.stdout
        assert "hub" in first.client().status().roles


def test_metrics_tell_of_nodes_and_tasks(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", []), ("second", [WORKER])) as [first, second]:
        one_swarm(first, second)
        second.did("ask", "what time is it")
        text = subprocess.run(["curl", "-s", f"{second.client().url}/metrics"], capture_output=True, text=True).stdout
        assert 'mycoswarm_nodes{state="alive"} 2.0' in text
        assert 'mycoswarm_tasks_total{outcome="done",type="ask"} 1.0' in text


def test_own_key_is_kept_from_start_to_start(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", [])) as [first]:
        first.did("init")
        first.start()
        ident = first.node_id()
        first.end()
        assert open_identity(first.state / "identity").node_id == ident


def test_nodes_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", [])) as [first], socket.create_server(("127.0.0.1", first.nodes_port)):
        first.start()
        reaping = threading.Thread(target=lambda: first.wait(seconds=60))
        reaping.start()
        complaint = first.failed("init")
        reaping.join()
        assert "the node that ran here ended instead of beginning again" in complaint
        assert f"cannot listen on 127.0.0.1, port {first.nodes_port}: Address already in use" in first.log_text()
        assert first.wait() == 1
