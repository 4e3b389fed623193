from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import swarm.broker as broker_module
from swarm.broker import Broker, choose_port, lan_address_among, parse_broker_url, resolve_on_lan
from swarm.config import BusSection
from swarm.errors import BusError
from tests.buses import Kind, both_brokers, free_port, kill, maker, running_broker, until


@both_brokers
def test_our_own_broker_listens_on_loopback_only_and_is_gone_after_close(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_broker(kind, tmp_path) as broker:
            assert broker._process is not None
            child = psutil.Process(broker._process.pid)
            listening = [each.laddr for each in child.net_connections() if each.status == psutil.CONN_LISTEN]
            assert [(each.ip, each.port) for each in listening] == [("127.0.0.1", broker.address.port)]
            assert broker.address.kind == kind
        assert not child.is_running()

    asyncio.run(scenario())


@both_brokers
def test_a_broker_that_dies_is_started_again_on_its_port(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_broker(kind, tmp_path) as broker:
            before = broker.address
            await kill(broker)
            for _ in range(400):
                with contextlib.suppress(Exception):
                    async with maker(broker) as client:
                        await client.publish("a", "b", qos=1)
                        break
                await asyncio.sleep(0.05)
            else:
                pytest.fail("did not come back")
            assert broker.address == before

    asyncio.run(scenario())


def test_the_broker_does_not_outlive_a_node_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from swarm.broker import Broker\n"
        "from swarm.config import BusSection\n"
        "async def main():\n"
        "    broker = Broker(BusSection(port=int(sys.argv[1])), Path(sys.argv[2]), own='mosquitto')\n"
        "    await broker.start()\n"
        "    print(broker._process.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    argv = [sys.executable, "-c", program, str(free_port()), str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        pid = int(node.stdout.readline())
        assert psutil.Process(pid).name() == "mosquitto"
        os.kill(node.pid, signal.SIGKILL)
        asyncio.run(until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE))


@both_brokers
def test_a_configured_port_that_is_taken_is_named_with_the_way_out(kind: Kind, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BusError, match=f"port {port}") as caught:
            asyncio.run(Broker(BusSection(port=port), tmp_path, own=kind).start())
    assert "bus.port" in caught.value.hint


def test_without_a_configured_port_the_usual_one_is_taken_when_free_else_any(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        usual = other.getsockname()[1]
        monkeypatch.setattr(broker_module, "USUAL_PORT", usual)
        other.listen()
        assert choose_port(0) != usual
    assert choose_port(0) == usual


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(BusError, match="file"):
        asyncio.run(Broker(BusSection(port=free_port()), blocked, own="mosquitto").start())


def test_a_broker_url_gives_host_port_user_and_password() -> None:
    address = parse_broker_url("mqtt://us%40er:p%3Aw@nas.local:2883")
    assert (address.host, address.port, address.username, address.password) == ("nas.local", 2883, "us@er", "p:w")
    assert parse_broker_url("mqtt://nas").port == 1883
    assert parse_broker_url("mqtt://[fd00::1]:1884").host == "fd00::1"
    assert "p:w" not in repr(address)


@pytest.mark.parametrize(
    "url", ["nas", "http://nas", "mqtt://", "mqtt://nas:99999", "mqtt://nas:x", "mqtt://nas/topic"]
)
def test_a_wrong_broker_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(BusError) as caught:
        parse_broker_url(url)
    assert "mqtt://" in caught.value.hint


def test_an_error_about_the_url_does_not_show_the_password() -> None:
    with pytest.raises(BusError) as caught:
        parse_broker_url("mqtt://me:secret@nas:99999")
    assert "secret" not in caught.value.for_person()


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "192.168.0.9", "172.31.0.1", "169.254.1.1", "::1", "fe80::1%eth0"]
)
def test_addresses_of_the_lan_are_connected_to(address: str) -> None:
    assert lan_address_among([address], "nas") == address


@pytest.mark.parametrize("address", ["8.8.8.8", "172.32.0.1", "100.64.0.1", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_addresses_outside_the_lan_are_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(BusError, match="not in the local network"):
        lan_address_among([address], "nas")
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(BusError, match="not in the local network"):
        asyncio.run(Broker(BusSection(broker=f"mqtt://{host}"), tmp_path).start())


def test_of_several_addresses_the_one_in_the_lan_is_taken() -> None:
    assert lan_address_among(["2001:db8::1", "192.168.1.2"], "nas") == "192.168.1.2"


def test_a_configured_broker_that_is_down_does_not_keep_the_node_from_starting(tmp_path: Path) -> None:
    async def scenario() -> None:
        broker = Broker(BusSection(broker=f"mqtt://localhost:{free_port()}"), tmp_path)
        await broker.start()
        assert broker.address.kind == "external"
        assert await resolve_on_lan("localhost", 1883) in ("127.0.0.1", "::1")
        await broker.close()

    asyncio.run(scenario())
