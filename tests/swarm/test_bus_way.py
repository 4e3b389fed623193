"""What the doctor says of the bus between two nodes, with brokers that are set up wrongly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm.broker import BrokerAddress, find_mosquitto, mosquitto_configuration
from swarm.checks import Finding
from swarm.checks.bus_way import Hub, examine_bus
from tests.buses import free_port, until
from tests.swarm.bus_hubs import Hub as RunningHub
from tests.swarm.bus_hubs import hub_before, on_the_bus, running_hub
from tests.swarm.enrolled import Member, founder, member
from tests.whole.running_node import wait_until


async def found(asking: Member, about: Member, *hubs: RunningHub) -> list[Finding]:
    places = [Hub(each.member.node_id, "hub", (("127.0.0.1", each.port.port),)) for each in hubs]
    return await examine_bus(about.node_id, "hub", places, asking.contexts, asking.node_id)


@contextlib.contextmanager
def home_broker(folder: Path, *lines: str, file: str = "") -> Iterator[int]:
    """A Mosquitto that a person set up, with these lines in its configuration, and `file` where they name one."""
    port, program = free_port(), find_mosquitto()
    assert program is not None
    configuration, named = folder / "mosquitto.conf", folder / "named"
    folder.chmod(0o755)  # started as root, it goes on as another user
    named.write_text(file)
    named.chmod(0o644)
    text = "\n".join((mosquitto_configuration(port), *(line.replace("FILE", str(named)) for line in lines)))
    configuration.write_text(f"{text}\n")
    with subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _listens(port))
            yield port
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        ("topic read #\ntopic write homeassistant/#\n", "loses what this machine says"),
        ("topic read #\ntopic write mycoswarm/#\n", ""),
        ("topic write #\n", "lets nobody read|loses what"),
    ],
)
def test_acl_of_the_homes_own_broker_is_named(tmp_path: Path, allowed: str, said: str) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "hub")
        asking = await member(first, tmp_path / "asking")
        async with hub_before(first, lambda: BrokerAddress("127.0.0.1", port)) as hub:
            broker, acl = await found(asking, first, hub)
            assert broker.status == "ok"
            if said:
                assert acl.status == "fail" and any(each in acl.found for each in said.split("|")), acl
                assert "mycoswarm/#" in acl.to_do
            else:
                assert acl.status == "warn" and "not on the bus" in acl.found

    with home_broker(tmp_path, "acl_file FILE", file=allowed) as port:
        asyncio.run(scenario())


def test_broker_that_is_down_or_refuses_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "hub")
        asking = await member(first, tmp_path / "asking")
        async with hub_before(first, lambda: BrokerAddress("127.0.0.1", free_port())) as hub:
            broker, acl = await found(asking, first, hub)
            assert (broker.status, acl.status) == ("fail", "skip")
            assert "takes no node on the bus" in broker.found and "its broker may be down" in broker.to_do
        async with hub_before(first, lambda: BrokerAddress("127.0.0.1", port)) as hub:
            broker, acl = await found(asking, first, hub)
            assert (broker.status, acl.status) == ("fail", "skip")
            assert "refuses the connection" in broker.found and "user and password" in broker.to_do

    with home_broker(tmp_path, "allow_anonymous false", "password_file FILE") as port:
        asyncio.run(scenario())


def test_hub_that_sends_nodes_on_is_followed_to_the_one_that_carries_the_bus(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "hub")
        second, asking = await member(first, tmp_path / "second"), await member(first, tmp_path / "asking")
        for each in (second, asking):
            await first.trust.admit(each.node_id, "x")
        async with (
            running_hub(first, "mosquitto", tmp_path) as hub,
            hub_before(second, hub.broker) as other,
        ):
            hub.port.set_serving(False)
            broker, _ = await found(asking, first, hub, other)
            assert broker.status == "ok" and "sends nodes on" in broker.found

    asyncio.run(scenario())


def test_whoever_looks_does_not_take_the_nodes_own_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "hub")
        asking = await member(first, tmp_path / "asking")
        async with running_hub(first, "mosquitto", tmp_path) as hub, on_the_bus(asking, hub) as bus:
            await bus.wait_connected()
            lost: list[bool] = []
            bus.on_connection(lost.append)
            broker, acl = await found(asking, first, hub)
            assert broker.status == "ok" and "passes on" in acl.found
            await until(lambda: bus.connected)
            assert False not in lost

    asyncio.run(scenario())
