from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarm.bus_rules import health_topic, presence_topic
from swarm.errors import BusError
from swarm.mqtt_packets import Connect, Will, connect_packet
from tests.buses import until
from tests.nats import needs_nats
from tests.swarm.bus_hubs import Hub, Kind, on_the_bus, running_hub
from tests.swarm.enrolled import Member, founder, member, rogue_context

every_broker = pytest.mark.parametrize(
    "kind", ["mosquitto", "amqtt", pytest.param("nats", marks=[needs_nats, pytest.mark.timeout(180)])]
)


@every_broker
def test_nodes_hear_each_other_and_keep_what_is_retained_and_lose_nobody_silently(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "hub")
        attic, cellar = await member(first, tmp_path / "attic"), await member(first, tmp_path / "cellar")
        heard: list[tuple[str, bytes]] = []
        async with running_hub(first, kind, tmp_path) as hub, on_the_bus(cellar, hub) as cellars:
            cellars.subscribe("#", lambda topic, payload: heard.append((topic, payload)))
            await cellars.wait_subscribed()
            async with on_the_bus(attic, hub) as attics:
                await attics.wait_connected()
                await attics.publish("home/lamp/set", "on")
                await attics.publish(health_topic(attic.node_id), "well", qos=0)
                await until(lambda: (health_topic(attic.node_id), b"well") in heard)
                assert ("home/lamp/set", b"on") in heard
                assert (presence_topic(attic.node_id), b"here") in heard
                late: list[bytes] = []
                cellars.subscribe(presence_topic(attic.node_id), lambda _, payload: late.append(payload))
                await until(lambda: late == [b"here"])
                assert hub.port.cut(lambda tls: tls.peer.node_id == attic.node_id) == 1
                await until(lambda: b"gone" in late)
                await attics.wait_connected()

    asyncio.run(scenario())


@every_broker
def test_a_node_that_publishes_as_another_is_cut_off_and_nobody_hears_it(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "hub")
        rogue, victim = await member(first, tmp_path / "rogue"), await member(first, tmp_path / "victim")
        heard: list[tuple[str, bytes]] = []
        async with running_hub(first, kind, tmp_path) as hub, on_the_bus(victim, hub) as watcher:
            watcher.subscribe("mycoswarm/#", lambda topic, payload: heard.append((topic, payload)))
            await watcher.wait_subscribed()
            for topic in (
                *(presence_topic(victim.node_id), health_topic(victim.node_id)),
                *("mycoswarm/command", "mycoswarm", f"mycoswarm/node/{rogue.node_id}/presence/x", "$SYS/x"),
            ):
                changes: list[bool] = []
                async with on_the_bus(rogue, hub) as bus:
                    await bus.wait_subscribed()
                    bus.on_connection(changes.append)
                    with contextlib.suppress(BusError):
                        await bus.publish(topic, "forged", retain=True)
                    await until(lambda: False in changes)  # noqa: B023
            async with on_the_bus(rogue, hub) as bus:
                await bus.wait_connected()
                await bus.publish(health_topic(rogue.node_id), "last")
                await until(lambda: (health_topic(rogue.node_id), b"last") in heard)
        assert b"forged" not in {payload for _, payload in heard}

    asyncio.run(scenario())


@every_broker
def test_a_revoked_node_is_cut_at_once_and_comes_in_no_more(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "hub")
        attic, cellar = await member(first, tmp_path / "attic"), await member(first, tmp_path / "cellar")
        async with running_hub(first, kind, tmp_path) as hub, on_the_bus(cellar, hub) as cellars:
            said: list[bytes] = []
            cellars.subscribe(presence_topic(attic.node_id), lambda _, payload: said.append(payload))
            await cellars.wait_subscribed()  # NATS may lose what is published while somebody subscribes
            async with on_the_bus(attic, hub) as attics:
                await until(lambda: b"here" in said)
                changes: list[bool] = []
                attics.on_connection(changes.append)
                await first.trust.revoke(attic.node_id)
                await until(lambda: changes == [False] and said[-1] == b"gone")
                assert hub.port.connections == 1
                assert await answer_to(hub, attic) is None
                assert not attics.connected
                assert cellars.connected

    asyncio.run(scenario())


def test_strangers_get_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, other = founder(tmp_path / "hub"), founder(tmp_path / "other")
        stranger = await member(other, tmp_path / "stranger")
        expired = await member(first, tmp_path / "expired", issued=time.time() - 1000, life_s=500, listed=False)
        lapsed = await member(first, tmp_path / "lapsed", issued=time.time() - 1000, life_s=500)
        future = await member(first, tmp_path / "future", issued=time.time() + 500 * 86_400)
        honest = await member(first, tmp_path / "honest")
        async with running_hub(first, "mosquitto", tmp_path) as hub:
            for who in (None, stranger, other, expired, lapsed, future):
                assert await answer_to(hub, who) is None
            assert await answer_to(hub, honest) == 0
            with pytest.raises(OSError):  # the handshake fails
                await answer_to(hub, honest, maximum=ssl.TLSVersion.TLSv1_2)
            reader, writer = await asyncio.open_connection("127.0.0.1", hub.port.port)
            writer.write(connect_packet(Connect("plain", 60)))
            with contextlib.suppress(ConnectionResetError):
                assert b"\x20\x02" not in await reader.read()
            writer.close()

    asyncio.run(scenario())


def test_a_node_goes_to_no_hub_that_is_another_or_of_another_swarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        first, other = founder(tmp_path / "hub"), founder(tmp_path / "other")
        attic = await member(first, tmp_path / "attic")
        false_hub = await member(first, tmp_path / "false")
        for imitator in (other, false_hub):
            async with running_hub(imitator, "mosquitto", tmp_path) as hub:
                hub.member = first
                async with on_the_bus(attic, hub) as bus:
                    caplog.clear()
                    await until(lambda: "cannot connect" in caplog.text)
                    assert not bus.connected

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (connect_packet(Connect("x", 60)).replace(b"MQTT\x04", b"MQTT\x05"), 1),
        (b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01x", 1),
        (connect_packet(Connect("x", 60, will=Will("mycoswarm/x", b"", 1, True))), 5),
        (connect_packet(Connect("x", 60)) * 2, None),
        (b"\x30\x02\x00\x01", None),
        (b"\x10\xff\xff\xff\xff\x01", None),
        (b"\x10\xff\xff\xff\x7f", None),
        (b"GET / HTTP/1.1\r\n\r\n", None),
    ],
)
def test_what_is_not_mqtt_3_1_1_ends_the_connection_and_not_the_port(
    sent: bytes, code: int | None, tmp_path: Path
) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "hub")
        attic = await member(first, tmp_path / "attic")
        async with running_hub(first, "mosquitto", tmp_path) as hub:
            async with connection(hub, attic) as (reader, writer):
                writer.write(sent)
                got = b""
                with contextlib.suppress(ConnectionError):
                    while data := await reader.read(100):
                        got += data
                assert got[:4] == (b"" if code is None else bytes((0x20, 2, 0, code))) or (code is None and got[3] == 0)
            assert await answer_to(hub, attic) == 0

    asyncio.run(scenario())


def test_a_node_takes_over_its_own_lost_connection_and_nobody_elses(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "hub")
        attic, cellar = await member(first, tmp_path / "attic"), await member(first, tmp_path / "cellar")
        async with running_hub(first, "mosquitto", tmp_path) as hub, on_the_bus(cellar, hub) as cellars:
            await cellars.wait_connected()
            changes: list[bool] = []
            cellars.on_connection(changes.append)
            async with connection(hub, attic) as (reader, writer):
                writer.write(connect_packet(Connect(cellar.node_id, 60)))
                assert await reader.readexactly(4) == b"\x20\x02\0\0"
                assert await answer_to(hub, attic) == 0
                assert await reader.read() == b""
            assert changes == []

    asyncio.run(scenario())


def test_a_worker_commands_no_device(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "hub")
        worker = await member(first, tmp_path / "worker1")
        async with running_hub(first, "mosquitto", tmp_path) as hub, on_the_bus(worker, hub) as bus:
            await bus.wait_subscribed()
            changes: list[bool] = []
            bus.on_connection(changes.append)
            with contextlib.suppress(BusError):
                await bus.publish("home/lock/set", "open")
            await until(lambda: False in changes)

    asyncio.run(scenario())


def test_renewed_certificates_cost_no_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "hub")
        attic = await member(first, tmp_path / "attic")
        authority = first.identity.authority
        assert authority is not None
        async with running_hub(first, "mosquitto", tmp_path) as hub, on_the_bus(attic, hub) as bus:
            await bus.wait_subscribed()
            changes: list[bool] = []
            bus.on_connection(changes.append)
            for each in (first, attic):
                each.identity.install(authority.issue(each.identity.public_key, now=time.time() + 3600))
            await bus.publish("home/x", "1")
            shown = await certificate_shown(hub, attic)
            assert first.identity.certificate is not None
            assert shown == ssl.PEM_cert_to_DER_cert(first.identity.certificate.pem)
            assert changes == []

    asyncio.run(scenario())


def test_while_the_bus_is_elsewhere_nodes_are_sent_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = founder(tmp_path / "hub")
        attic = await member(first, tmp_path / "attic")
        async with running_hub(first, "mosquitto", tmp_path) as hub, on_the_bus(attic, hub) as bus:
            await bus.wait_connected()
            hub.port.set_serving(False)
            await until(lambda: not bus.connected)
            assert await answer_to(hub, attic) == 3
            hub.port.set_serving(True)
            await bus.wait_connected()

    asyncio.run(scenario())


# ---- a client that keeps no rules


@contextlib.asynccontextmanager
async def connection(
    hub: Hub, who: Member | None, *, maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    context = rogue_context(certificate=who.identity if who else None)
    context.maximum_version = maximum
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port.port, ssl=context, server_hostname="x")
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer_to(hub: Hub, who: Member | None, *, maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> int | None:
    """The code of the CONNACK; None when nothing came back."""
    async with connection(hub, who, maximum=maximum) as (reader, writer):
        writer.write(connect_packet(Connect("test", 60)))
        try:
            return (await reader.readexactly(4))[3]
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError) as error:
            assert not getattr(error, "partial", b"")
            return None


async def certificate_shown(hub: Hub, who: Member) -> bytes | None:
    async with connection(hub, who) as (_, writer):
        tls = writer.get_extra_info("ssl_object")
        shown: bytes | None = tls.getpeercert(binary_form=True)
        return shown
