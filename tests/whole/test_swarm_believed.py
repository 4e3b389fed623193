"""What is said of a machine that is gone, and a machine that is believed no more."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from swarm.bus_rules import presence_topic
from swarm.capability import Capability
from swarm.certificates import id_of
from swarm.identity import Identity, open_identity
from swarm.mqtt_packets import Connect, connect_packet
from swarm.presence import Document, Presence, decode_presence, encode_presence
from tests.swarm.enrolled import founder, rogue_context
from tests.whole.bus_watch import bus_watch
from tests.whole.running_node import wait_until
from tests.whole.swarm_machines import WORKER, Machine, machines, one_swarm
from tests.whole.test_swarm import connections
from tests.whole.test_swarm_bus import carrier


@dataclass
class Home:
    """Two hubs, the first of which admits machines, and a worker."""

    first: Machine
    second: Machine
    third: Machine

    @property
    def all(self) -> tuple[Machine, ...]:
        return self.first, self.second, self.third

    def is_whole(self) -> None:
        for machine in self.all:
            machine.sees(*self.all)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("home")
    with machines(folder, ("first", []), ("second", []), ("third", [WORKER])) as [first, second, third]:
        one_swarm(first, second, third)
        yield Home(first, second, third)


class Impostor:
    """Listens where a machine was, with a certificate of its own."""

    def __init__(self) -> None:
        self.visits = 0
        self.got: list[bytes] = []

    @contextmanager
    def listening(self, port: int, identity: Identity) -> Iterator[None]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate_path, identity.key_path)
        with socket.create_server(("127.0.0.1", port)) as server:
            thread = threading.Thread(target=self._serve, args=(server, context))
            thread.start()
            yield
            server.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _serve(self, server: socket.socket, context: ssl.SSLContext) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                connection.settimeout(5.0)
                self.visits += 1
                with suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                    self.got.append(tls.recv(1000))


def test_old_and_invented_presences_raise_no_ghost_and_get_nothing(home: Home, tmp_path: Path) -> None:
    hub = {each.name: each for each in home.all}[carrier(*home.all)]
    other = home.second if hub is home.first else home.first
    gone, ghost = home.third.node_id(), id_of(b"nobody")
    members = {each.node for each in hub.view()}
    topic = presence_topic(gone)
    with bus_watch(hub.bus_port, "mycoswarm/node/+/presence") as watch:  # of a program on the hub itself
        watch.until(topic)
        old = decode_presence(watch.of(topic)[-1], gone)
        assert old.document is not None
        home.third.signal(signal.SIGKILL)
        home.third.wait()
        for machine in (home.first, home.second):
            machine.sees(home.third, state="dead")
        impostor = Impostor()
        with impostor.listening(home.third.nodes_port, founder(tmp_path / "rogue").identity):
            best = msgspec.structs.replace(old.document, capabilities=(Capability("ask", "assistant", slots=64),))
            said: list[tuple[str, Presence]] = [
                (topic, old),
                (topic, msgspec.structs.replace(old, incarnation=old.incarnation - 1, document=best)),
                (topic, msgspec.structs.replace(old, incarnation=old.incarnation + 1000, document=best)),
                (presence_topic(ghost), Presence(ghost, 1, 1, 1, Document("ghost", addresses=old.document.addresses))),
            ]
            for where, presence in said:
                watch.publish(where, encode_presence(presence), retain=True)
                watch.until(where, encode_presence(presence))
            before = impostor.visits
            wait_until(lambda: impostor.visits >= before + 2)  # it was looked at, after what was invented, too
            for machine in (hub, other):
                assert "It's" in machine.did("ask", "what time is it")
                assert {each.node for each in machine.view() if each.state == "alive"} == members - {gone}
                assert {each.node for each in machine.view()} <= members
        assert not any(impostor.got)
        for where, _ in said:
            watch.publish(where, b"", retain=True)
    home.third.start()
    home.is_whole()


def ended(connection: ssl.SSLSocket) -> bool:
    """Whether the other side ended it."""
    try:
        return connection.recv(100) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_machine_revoked_while_a_hub_was_apart_is_cut_off_there_as_soon_as_it_hears(home: Home, tmp_path: Path) -> None:
    first, second, third = home.all
    ident = third.node_id()
    shutil.copytree(third.state / "identity", tmp_path / "third")
    context = rogue_context(certificate=open_identity(tmp_path / "third"))
    first.end()
    wait_until(lambda: second.swarm_bus_port in connections(third, second))
    assert f"({ident}) is revoked" in first.did("revoke", "third")
    own = []
    for port in (second.nodes_port, second.swarm_bus_port):
        plain = socket.create_connection(("127.0.0.1", port), 5.0)
        own.append(context.wrap_socket(plain))
    own[0].sendall(b"GET /v1/nodes HTTP/1.1\r\nHost: x\r\n\r\n")
    own[1].sendall(connect_packet(Connect("mycoswarm-looks", 60)))
    assert own[0].recv(1000).startswith(b"HTTP/1.1 200")
    assert own[1].recv(1000) == b"\x20\x02\x00\x00"
    second.sees(third)
    third.sees(second)

    first.start()
    second.sees(first)  # and so hears
    wait_until(lambda: not connections(third, first, second), seconds=5.0)
    assert all(ended(each) for each in own)
    for each in own:
        each.close()
    assert "third" not in {each.name for each in (*first.view(), *second.view())}
    third.did("leave")
    third.did("join", first.token())
    home.is_whole()
    assert third.node_id() != ident
