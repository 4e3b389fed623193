from __future__ import annotations

import asyncio
import gc
import signal
import sys
from pathlib import Path

import pytest

from swarm.broker import MAX_MESSAGE_BYTES, BrokerAddress
from swarm.bus import Bus, topic_pattern
from swarm.child import end_child, start_child
from swarm.errors import BusError
from swarm.mqtt_client import MqttClient
from tests.buses import Kind, background, both_brokers, free_port, kill, maker, running_broker, running_bus, until


@both_brokers
def test_messages_reach_the_subscribers_whose_filters_match(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_broker(kind, tmp_path) as broker, running_bus(broker) as bus:
            exact: list[bytes] = []
            wild: list[str] = []
            bus.subscribe("home/lamp", lambda _, payload: exact.append(payload))
            bus.subscribe("home/+", lambda topic, _: wild.append(topic))
            await bus.wait_subscribed()
            await bus.publish("home/lamp", "on")
            await bus.publish("home/door/state", "shut")
            await bus.publish("home/door", "shut")
            await until(lambda: "home/door" in wild and exact)
            assert set(exact) == {b"on"}
            assert set(wild) == {"home/lamp", "home/door"}

    asyncio.run(scenario())


@both_brokers
def test_a_subscription_that_ended_gets_nothing_more(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_broker(kind, tmp_path) as broker, running_bus(broker) as bus:
            gone: list[bytes] = []
            kept: list[bytes] = []
            end = bus.subscribe("a", lambda _, payload: gone.append(payload))
            bus.subscribe("b", lambda _, payload: kept.append(payload))
            await bus.wait_subscribed()
            end()
            end()
            await bus.wait_subscribed()
            await bus.publish("a", "1")
            await bus.publish("b", "2")
            await until(lambda: kept)
            assert not gone

    asyncio.run(scenario())


@both_brokers
def test_a_subscriber_that_fails_and_an_oversized_message_end_nothing(
    kind: Kind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(topic: str, payload: bytes) -> None:
        raise RuntimeError("a subscriber's mistake")

    async def scenario() -> None:
        async with running_broker(kind, tmp_path) as broker, running_bus(broker) as bus, maker(broker) as client:
            got: list[int] = []
            changes: list[bool] = []
            bus.on_connection(changes.append)
            bus.subscribe("a", fail)
            bus.subscribe("a", lambda _, payload: got.append(len(payload)))
            await bus.wait_subscribed()
            changes.clear()
            await client.publish("a", b"x" * (MAX_MESSAGE_BYTES + 1), qos=0)
            await client.publish("a", b"small", qos=1)
            await until(lambda: got)
            assert got == [5]
            assert changes == []
            assert bus.connected

    asyncio.run(scenario())
    assert "a subscriber's mistake" in caplog.text
    assert kind == "mosquitto" or f"{MAX_MESSAGE_BYTES + 1} bytes" in caplog.text


@both_brokers
def test_after_the_broker_died_publishing_fails_clearly_and_all_is_well_when_it_is_back(
    kind: Kind, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with running_broker(kind, tmp_path) as broker, running_bus(broker) as bus:
            got: list[bytes] = []
            changes: list[bool] = []
            bus.on_connection(changes.append)
            bus.subscribe("a", lambda _, payload: got.append(payload))
            await bus.wait_subscribed()
            await kill(broker)
            await until(lambda: not bus.connected)
            with pytest.raises(BusError, match="not connected"):
                await bus.publish("a", "lost")
            await bus.wait_connected()
            await bus.wait_subscribed()
            await bus.publish("a", "found")
            await until(lambda: got)
            assert got == [b"found"]
            assert changes == [True, False, True]

    asyncio.run(scenario())


def test_a_publication_under_way_fails_at_once_when_the_broker_dies(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_broker("mosquitto", tmp_path) as broker, running_bus(broker) as bus:
            await bus.wait_subscribed()
            assert broker._process is not None
            broker._process.send_signal(signal.SIGSTOP)
            publishing = asyncio.create_task(bus.publish("a", "b", timeout_s=600))
            await asyncio.sleep(0)
            await kill(broker)
            with pytest.raises(BusError, match="lost"):
                await asyncio.wait_for(publishing, 20)

    asyncio.run(scenario())


@both_brokers
def test_presence_is_told_at_both_ends(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_broker(kind, tmp_path) as broker, running_bus(broker, "watcher") as watcher:
            said: list[bytes] = []
            watcher.subscribe("mycoswarm/node/kitchen_pi_1/presence", lambda _, payload: said.append(payload))
            await watcher.wait_subscribed()
            async with running_bus(broker, "kitchen/pi+1"):
                await until(lambda: b"online" in said)
            await until(lambda: said[-1] == b"offline")

    asyncio.run(scenario())


@both_brokers
def test_a_node_that_is_killed_is_declared_offline(kind: Kind, tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from swarm.broker import BrokerAddress\n"
        "from swarm.bus import Bus\n"
        "asyncio.run(Bus(BrokerAddress('127.0.0.1', int(sys.argv[1])), 'pi').run())\n"
    )

    async def scenario() -> None:
        async with running_broker(kind, tmp_path) as broker, running_bus(broker, "watcher") as watcher:
            said: list[bytes] = []
            watcher.subscribe("mycoswarm/node/pi/presence", lambda _, payload: said.append(payload))
            await watcher.wait_subscribed()
            node = await start_child([sys.executable, "-c", program, str(broker.address.port)])
            try:
                await until(lambda: b"online" in said)
                node.kill()
                await until(lambda: said[-1] == b"offline")
            finally:
                await end_child(node)

    asyncio.run(scenario())


def test_a_server_that_talks_nonsense_is_given_up_and_the_real_broker_found_later(tmp_path: Path) -> None:
    port = free_port()
    spoken = 0

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal spoken
        await reader.read(1)
        writer.write(b"\x20\x02\x00\x00" + b"\x31\x05\x00\xffab\xff\xf0\x00" + bytes(range(256)))  # accepts, then raves
        spoken += 1
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(nonsense, "127.0.0.1", port)
        bus = Bus(BrokerAddress("127.0.0.1", port), "test")
        async with background(bus.run()):
            await until(lambda: spoken >= 2)
            server.close()
            await server.wait_closed()
            async with running_broker("mosquitto", tmp_path, port=port):
                await bus.wait_subscribed()
                await bus.publish("a", "b")

    asyncio.run(scenario())


@both_brokers
def test_thousands_of_subscriptions_are_made_and_renewed(kind: Kind, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_broker(kind, tmp_path) as broker, running_bus(broker) as bus:
            got: set[str] = set()
            for number in range(3000):
                bus.subscribe(f"many/{number}", lambda topic, _: got.add(topic))
            await bus.wait_subscribed()
            await kill(broker)
            await until(lambda: not bus.connected)
            await bus.wait_subscribed()
            for number in (0, 1500, 2999):
                await bus.publish(f"many/{number}", "x")
            await until(lambda: len(got) == 3)

    asyncio.run(scenario())


def test_publishing_to_a_topic_that_is_none_is_an_error_of_the_bus(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_broker("mosquitto", tmp_path) as broker, running_bus(broker) as bus:
            await bus.wait_connected()
            with pytest.raises(BusError, match="a/#"):
                await bus.publish("a/#", "x")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/bc", False),
        ("a/+", "a/b", True),
        ("a/+", "a/", True),
        ("a/+", "a/b/c", False),
        ("+/b", "/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("a.b/+", "axb/c", False),
    ],
)
def test_filters_match_as_the_standard_says(topic_filter: str, topic: str, matches: bool) -> None:
    assert bool(topic_pattern(topic_filter).fullmatch(topic)) is matches


def test_a_cancellation_that_comes_with_the_brokers_answer_is_not_lost() -> None:
    async def scenario() -> None:
        client = MqttClient("127.0.0.1")
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(client._wait_for(answer, 10.0))
        await asyncio.sleep(0)
        answer.set_result(None)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scenario())


def test_a_bus_told_to_end_while_the_broker_dies_ends(tmp_path: Path) -> None:
    async def scenario() -> None:
        for steps in range(12):
            async with running_broker("mosquitto", tmp_path) as broker:
                bus = Bus(broker.address, "test")
                running = asyncio.create_task(bus.run())
                await bus.wait_subscribed()
                await kill(broker)
                for _ in range(steps):
                    await asyncio.sleep(0)
                running.cancel()
                done, _ = await asyncio.wait([running], timeout=20)
                assert done

    asyncio.run(scenario())


@pytest.mark.parametrize("then", ["resets", "refuses"])
def test_a_bus_told_to_end_while_it_connects_leaves_no_unseen_failure(then: str) -> None:
    """A server that takes connections, and answers when it is too late to matter."""
    unseen: list[dict[str, object]] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        met: list[asyncio.StreamWriter] = []

        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            met.append(writer)

        server = await asyncio.start_server(meet, "127.0.0.1", 0)
        bus = Bus(BrokerAddress("127.0.0.1", server.sockets[0].getsockname()[1]), "test")
        running = asyncio.create_task(bus.run())
        await until(lambda: met)
        running.cancel()
        await asyncio.wait([running])
        if then == "resets":
            met[0].transport.abort()
        else:
            met[0].write(b"\x20\x02\x00\x05")  # CONNACK: not authorized
        await asyncio.sleep(0.05)
        server.close()
        del bus, running
        gc.collect()

    asyncio.run(scenario())
    gc.collect()
    assert unseen == []
