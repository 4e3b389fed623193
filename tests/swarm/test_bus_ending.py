"""A bus that is told to end, at whatever stage of a connection: it ends, and nothing fails unseen."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarm.broker import BrokerAddress
from swarm.bus import Bus
from swarm.mqtt_packets import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBLISH,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    Packet,
    PacketReader,
    connack_packet,
)
from tests.buses import running_broker, until


@contextlib.contextmanager
def no_surprise(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    """Gives what the loop's exception handler adds to; nothing may be in it or in the log of errors at the end."""
    unseen: list[dict[str, Any]] = []
    yield unseen
    gc.collect()
    assert unseen == []
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


class LateBroker:
    """Answers all packets but those of one kind, and these when the bus parts, or when its connection ends."""

    def __init__(self, late: int) -> None:
        self.withheld: list[bytes] = []
        self.open = self.taken = 0
        self._late = late
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.taken += 1
        self._writers.append(writer)
        packets = PacketReader(100_000)
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                for packet in packets.read(data):
                    parts = packet.kind in (PUBLISH, DISCONNECT) and self.withheld
                    if parts:
                        self.answer_late()
                    answer = _answer(packet)
                    if packet.kind == self._late and not parts:
                        self.withheld.append(answer)
                    else:
                        writer.write(answer)
        self.open -= 1
        writer.close()

    def answer_late(self) -> None:
        for answer in self.withheld:
            self._writers[-1].write(answer)
        self.withheld.clear()

    def reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


def _answer(packet: Packet) -> bytes:
    number = packet.body[:2]
    match packet.kind:
        case _ if packet.kind == CONNECT:
            return connack_packet(0)
        case _ if packet.kind == PUBLISH:
            topic = 2 + int.from_bytes(packet.body[:2])
            return bytes((PUBACK << 4, 2)) + packet.body[topic : topic + 2] if packet.flags & 6 else b""
        case _ if packet.kind == SUBSCRIBE:
            return bytes((SUBACK << 4, 3)) + number + b"\x01"
        case _ if packet.kind == UNSUBSCRIBE:
            return bytes((UNSUBACK << 4, 2)) + number
        case _ if packet.kind == PINGREQ:
            return b"\xd0\x00"
    return b""


@pytest.mark.parametrize("stage", [CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE])
@pytest.mark.parametrize("then", ["answers", "resets"])
def test_a_bus_that_ends_while_it_waits_for_an_answer_cares_for_it_no_more(
    stage: int, then: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(unseen: list[dict[str, Any]]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        broker = LateBroker(stage)
        server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
        bus = Bus(BrokerAddress("127.0.0.1", server.sockets[0].getsockname()[1]), "test")
        end = bus.subscribe("home/lamp", lambda _topic, _payload: None)
        running = asyncio.create_task(bus.run())
        if stage == UNSUBSCRIBE:
            await bus.wait_subscribed()
            end()
        await until(lambda: broker.withheld)
        running.cancel()
        if then == "resets":
            broker.reset()
        await asyncio.wait([running])
        broker.answer_late()
        await until(lambda: not broker.open)
        server.close()
        del bus, running, end

    with no_surprise(caplog) as unseen:
        asyncio.run(scenario(unseen))


def test_a_bus_that_ends_while_it_connects_leaves_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    """A node begins again in the same process when it joins a swarm."""

    async def scenario(unseen: list[dict[str, Any]]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        broker = LateBroker(CONNECT)
        server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
        bus = Bus(BrokerAddress("127.0.0.1", server.sockets[0].getsockname()[1]), "test")
        others = asyncio.all_tasks()
        for steps in itertools.count():
            if broker.taken >= 8:
                break
            running = asyncio.create_task(bus.run())
            for _ in range(steps):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait([running])
        await asyncio.get_running_loop().shutdown_default_executor()  # where it connects
        await until(lambda: not broker.open)
        await until(lambda: asyncio.all_tasks() <= others)
        server.close()

    with no_surprise(caplog) as unseen:
        asyncio.run(scenario(unseen))


def test_a_bus_that_ends_at_any_moment_of_its_first_second_ends_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(unseen: list[dict[str, Any]]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        async with running_broker("mosquitto", tmp_path) as broker:
            whole = 0
            for steps in range(400):
                bus = Bus(broker.address, "test")
                bus.subscribe("home/lamp", lambda _topic, _payload: None)
                running = asyncio.create_task(bus.run())
                subscribed = asyncio.create_task(bus.wait_subscribed())
                for _ in range(steps):
                    await asyncio.sleep(0)
                whole += subscribed.done()
                running.cancel()
                subscribed.cancel()
                done, _ = await asyncio.wait([running], timeout=20)
                assert done
                if whole > 3:
                    break

    with no_surprise(caplog) as unseen:
        asyncio.run(scenario(unseen))
