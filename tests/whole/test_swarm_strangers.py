"""Who does not belong to a swarm gets nothing of it: each port of a real hub, while it works for a real member."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from swarm.bus_rules import presence_topic
from swarm.certificates import NODE_LIFE_S, RENEWABLE_AFTER_END_S
from swarm.identity import Identity, open_identity
from swarm.mqtt_packets import Connect, connect_packet, publish_packet, subscribe_packet
from tests.swarm.enrolled import founder, rogue_context
from tests.whole.running_node import wait_until
from tests.whole.swarm_machines import WORKER, Machine, machines, one_swarm

PATIENCE_S = 10.0
TASKS = b"GET /v1/tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
NODES = TASKS.replace(b"tasks", b"nodes")
LISTEN = connect_packet(Connect("listens", 60)) + subscribe_packet(1, ["#", "mycoswarm/#"])


@dataclass
class Besieged:
    """A hub that admits machines just now, and a member."""

    hub: Machine
    member: Machine
    hubs_identity: Identity
    members_identity: Identity
    strangers: dict[str, Identity | None]


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    folder = tmp_path_factory.mktemp("home")
    with machines(folder, ("hub", []), ("member", [WORKER]), ("revoked", [WORKER])) as [hub, member, revoked]:
        one_swarm(hub, member, revoked)
        shutil.copytree(revoked.state / "identity", folder / "was revoked")
        revoked.end()
        hub.did("revoke", "revoked")
        hub.token()
        wait_until(lambda: hub.swarm().swarm().enrolment_port)
        authority = open_identity(hub.state / "identity").authority
        assert authority is not None

        def issued(name: str, when: float) -> Identity:
            identity = open_identity(folder / name)
            identity.install(authority.issue(identity.public_key, now=when))
            return identity

        now = time.time()
        strangers = {
            "without a certificate": None,
            "of another swarm": founder(folder / "other").identity,
            "revoked": open_identity(folder / "was revoked"),
            "expired": issued("expired", now - NODE_LIFE_S - 60),
            "expired long ago": issued("old", now - NODE_LIFE_S - RENEWABLE_AFTER_END_S - 60),
        }
        wait_until(lambda: "revoked" not in {each.name for each in member.view()})
        assert "It's" in member.did("ask", "what time is it")
        hubs, members = (open_identity(each.state / "identity") for each in (hub, member))
        yield Besieged(hub, member, hubs, members, strangers)
        assert "It's" in member.did("ask", "what time is it")


def got(port: int, sent: bytes, context: ssl.SSLContext | None, *, until: bytes = b"") -> bytes:
    """What comes back, up to the end of the connection or to `until`."""
    answer = b""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain,
        contextlib.nullcontext(plain) if context is None else context.wrap_socket(plain) as connection,
    ):
        connection.sendall(sent)
        while (read := connection.recv(65_536)) and not (until and until in answer + read):
            answer += read
        answer += read
    return answer


def test_strangers_get_no_byte_from_nodes_port_and_bus_port(besieged: Besieged) -> None:
    hub, member = besieged.hub, besieged.member  # the question came in at the member
    for name, identity in besieged.strangers.items():
        for port in (hub.nodes_port, member.nodes_port):
            assert got(port, TASKS, rogue_context(certificate=identity)) == b"", name
        assert got(hub.swarm_bus_port, LISTEN, rogue_context(certificate=identity)) == b"", name
    for port, said in ((member.nodes_port, TASKS), (hub.swarm_bus_port, LISTEN)):
        assert b"HTTP" not in got(port, said, None)
    # The same way in is open to a member: there is something to get.
    own = rogue_context(certificate=besieged.members_identity)
    assert b'"task"' in got(member.nodes_port, TASKS, rogue_context(certificate=besieged.hubs_identity))
    assert b"incarnation" in got(hub.swarm_bus_port, LISTEN, own, until=b"incarnation")
    member.sees(hub)


def test_enrolment_port_shows_strangers_nothing_but_the_way_in(besieged: Besieged) -> None:
    port = besieged.hub.enrolment_port
    for request in (
        TASKS,
        NODES,
        NODES.replace(b"/v1/nodes", b"/api/nodes"),
        NODES.replace(b"/v1/nodes", b"/../v1/nodes"),
    ):
        answer = got(port, request, rogue_context())
        assert answer.startswith(b"HTTP/1.1 404"), answer
        assert b"member" not in answer
    huge = b"POST /v1/enrolment/token HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 200_000
    for malformed in (b"\x00" * 5000, huge, b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n"):
        answer = got(port, malformed, rogue_context())
        assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer[:200]


def test_malformed_and_endless_requests_leave_the_hub_well(besieged: Besieged) -> None:
    hub, own = besieged.hub, besieged.members_identity
    for malformed in (
        b"\x16\x03\x01\x02\x00nonsense\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n{",
        b'POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\n{"a',
    ):
        answer = got(hub.nodes_port, malformed, rogue_context(certificate=own))
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer[:200]
    for malformed in (
        b"GET / HTTP/1.1\r\n\r\n",
        connect_packet(Connect("x", 60))[:6] + b"\x05" * 40,
        b"\x10\xff\xff\xff\x7f",
    ):
        assert got(hub.swarm_bus_port, malformed, rogue_context(certificate=own)) in (b"", b"\x20\x02\x00\x01")
    with contextlib.ExitStack() as slow:
        for number in range(150):  # more than handshakes that may be under way
            lying = slow.enter_context(
                socket.create_connection(("127.0.0.1", (hub.nodes_port, hub.swarm_bus_port)[number % 2]), PATIENCE_S)
            )
            lying.sendall(b"\x16\x03\x01"[: number % 4])
        assert "It's" in besieged.member.did("ask", "what time is it")
    besieged.member.sees(hub)


def test_member_that_publishes_as_another_is_cut_and_believed_nothing(besieged: Besieged) -> None:
    hub, own = besieged.hub, besieged.members_identity
    victim = presence_topic(hub.node_id())
    lie = b'{"node":"%s","incarnation":999999,"connection":1,"sequence":1}' % hub.node_id().encode()
    said = connect_packet(Connect("mycoswarm-looks", 60)) + publish_packet(victim, lie)
    assert victim.encode() not in got(hub.swarm_bus_port, said, rogue_context(certificate=own))
    hub.wait_for_log("it may not publish to")
    heard = got(
        hub.swarm_bus_port,
        connect_packet(Connect("mycoswarm-looks", 60)) + subscribe_packet(1, [victim]),
        rogue_context(certificate=own),
        until=b"incarnation",
    )
    assert b"999999" not in heard
    besieged.member.sees(hub)
