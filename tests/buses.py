"""Real brokers, buses and devices for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Literal

import aiomqtt
import pytest

from swarm.broker import Broker
from swarm.bus import Bus
from swarm.config import BusSection

Kind = Literal["mosquitto", "amqtt"]
both_brokers = pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])


def free_port() -> int:
    """Below the range from which the system takes ports for connections: between the look and the use it takes many."""
    while True:
        port = random.randint(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def until(condition: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait for something that only shows in a state."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come to pass"
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running_broker(kind: Kind, folder: Path, *, port: int = 0) -> AsyncIterator[Broker]:
    broker = Broker(BusSection(port=port or free_port()), folder, own=kind)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.close()


@contextlib.asynccontextmanager
async def background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run these beside the test, and see that none of them ended by itself."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield tasks
        for task in tasks:
            assert not task.done() or task.cancelled(), task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@contextlib.asynccontextmanager
async def running_bus(broker: Broker, node: str = "test") -> AsyncIterator[Bus]:
    bus = Bus(broker.address, node)
    async with background(bus.run()):
        yield bus


@contextlib.asynccontextmanager
async def maker(broker: Broker) -> AsyncIterator[aiomqtt.Client]:
    """A client as a device has it."""
    async with aiomqtt.Client("127.0.0.1", broker.address.port) as client:
        client.pending_calls_threshold = 100_000
        yield client


async def announce(client: aiomqtt.Client, component: str, object_id: str, **options: object) -> None:
    payload = json.dumps({"~": f"dev/{object_id}", "unique_id": object_id, **options}, ensure_ascii=False)
    await client.publish(f"homeassistant/{component}/{object_id}/config", payload, qos=1, retain=True)


async def kill(broker: Broker) -> None:
    """End the broker's process as a crash would; the broker's supervision starts it again."""
    process = broker._process
    assert process is not None
    process.kill()
    await process.wait()
