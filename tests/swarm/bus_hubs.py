"""Hubs with a real broker and a real bus port, and the nodes that use them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from swarm.broker import Broker, BrokerAddress
from swarm.bus import Bus
from swarm.bus_port import BusPort
from swarm.bus_rules import presence_topic
from swarm.config import BusSection
from tests.buses import background, free_port
from tests.nats import nats_cluster
from tests.swarm.enrolled import Member

Kind = Literal["mosquitto", "amqtt", "nats"]


@dataclass
class Hub:
    member: Member
    port: BusPort
    broker: Callable[[], BrokerAddress]

    def address(self, asked_by: Member) -> BrokerAddress:
        """Of the bus port, for a node."""
        contexts = asked_by.contexts
        return BrokerAddress("127.0.0.1", self.port.port, tls=contexts.client, server_name=self.member.node_id)


@contextlib.asynccontextmanager
async def running_hub(member: Member, kind: Kind, folder: Path) -> AsyncIterator[Hub]:
    """A hub with a broker of its own; all but hubs named `worker…` may command devices."""
    async with contextlib.AsyncExitStack() as closing:
        if kind == "nats":
            servers = await closing.enter_async_context(nats_cluster(folder))
            address = servers[0].address
            broker: Callable[[], BrokerAddress] = lambda: address  # noqa: E731
        else:
            own = Broker(BusSection(port=free_port()), folder, own=kind)
            await own.start()
            closing.push_async_callback(own.close)
            broker = lambda: own.address  # noqa: E731
        yield await closing.enter_async_context(_port(member, broker))


@contextlib.asynccontextmanager
async def _port(member: Member, broker: Callable[[], BrokerAddress]) -> AsyncIterator[Hub]:
    port = BusPort(
        member.contexts,
        member.trust,
        broker=broker,
        runs_home=lambda node: not member.trust.members().get(node, "").startswith("worker"),
    )
    await port.start("127.0.0.1", 0)
    try:
        yield Hub(member, port, broker)
    finally:
        await port.close()


hub_before = _port


class SaysHere:
    """A node's presence in one word."""

    def __init__(self, node: str) -> None:
        self.topic = presence_topic(node)

    def last_will(self) -> bytes:
        return b"gone"

    def here(self) -> bytes:
        return b"here"


@contextlib.asynccontextmanager
async def on_the_bus(member: Member, hub: Hub) -> AsyncIterator[Bus]:
    bus = Bus(hub.address(member), member.node_id, presence=SaysHere(member.node_id))
    async with background(bus.run()):
        yield bus
