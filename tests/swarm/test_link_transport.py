"""Links over real connections: what a server may do to its callers, and a caller to its server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from swarm import link_transport
from swarm.errors import NodeUnreachable
from swarm.link_transport import LinkTransport
from swarm.switching import NotSwitched
from swarm.task import Accepted, Lost, Order, Over, TaskRequest
from tests.swarm.plain_swarm import TaskNode, link_to, now, until
from tests.swarm.token_engine import TokenEngine, ask

ORDER = Order("t", ask(3, key="t"), "generate", "tiny", 5.0)


class Outcome:
    def __init__(self) -> None:
        self.over_as: asyncio.Future[Over] = asyncio.get_running_loop().create_future()

    def accepted(self, accepted: Accepted) -> None: ...

    def data(self, events: bytes) -> None: ...

    def over(self, over: Over) -> None:
        self.over_as.set_result(over)


@asynccontextmanager
async def calling(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[LinkTransport, list[str]]]:
    """A transport whose only node is such a server, and the nodes that it could not connect to."""
    refused: list[str] = []
    ending = asyncio.Event()

    async def until_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await serve(reader, writer)
        await ending.wait()
        writer.close()

    server = await asyncio.start_server(until_the_end, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    @asynccontextmanager
    async def connect(_: str) -> AsyncIterator[asyncio.Transport]:
        try:
            async with link_to(f"127.0.0.1:{port}", "a") as connection:
                yield connection
        except (OSError, NotSwitched) as error:
            raise NodeUnreachable(str(error)) from error

    transport = LinkTransport(connect, refused=refused.append)
    running = asyncio.ensure_future(transport.run())
    try:
        async with asyncio.timeout(20):
            yield transport, refused
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        ending.set()
        server.close()


async def switches(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: mycoswarm-link\r\n\r\n")


async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def babbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await switches(reader, writer)
    await reader.read(1)
    writer.write(b"\xff" * 100)


@pytest.mark.parametrize("serve", [refuses, hangs_up])
def test_orders_to_a_server_that_does_not_switch_are_refused(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    async def scenario() -> None:
        async with calling(serve) as (transport, refused):
            outcome = Outcome()
            transport.execute_at("b", ORDER, outcome)
            over = await outcome.over_as
            assert isinstance(over, Lost) and over.reason == "refused"
            assert refused == ["b"]

    asyncio.run(scenario())


def test_orders_at_a_server_that_breaks_the_rules_are_lost() -> None:
    async def scenario() -> None:
        async with calling(babbles) as (transport, refused):
            outcome = Outcome()
            transport.execute_at("b", ORDER, outcome)
            over = await outcome.over_as
            assert isinstance(over, Lost) and over.reason == "reset" and "protocol" in over.message
            assert refused == []

    asyncio.run(scenario())


def test_a_silent_server_loses_its_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_transport, "SILENT_S", 0.3)

    async def scenario() -> None:
        async with calling(switches) as (transport, _):
            outcome = Outcome()
            transport.execute_at("b", ORDER, outcome)
            over = await outcome.over_as
            assert isinstance(over, Lost) and over.reason == "silent"

    asyncio.run(scenario())


def test_a_server_that_is_too_busy_to_connect_in_time_gets_longer_at_the_next_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_transport, "CONNECT_S", (0.2, 5.0))
    slow = asyncio.Event()

    async def connects_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await slow.wait()  # longer than the first try, and ready before the last
        await switches(reader, writer)
        writer.close()

    async def scenario() -> None:
        async with calling(connects_late) as (transport, refused):
            messages = []
            for _ in range(3):
                outcome = Outcome()
                transport.execute_at("b", ORDER, outcome)
                over = await outcome.over_as
                assert isinstance(over, Lost) and over.reason == "silent"
                messages.append(over.message)
            assert messages == [f"no connection within {seconds} s" for seconds in (0.2, 0.4, 0.8)]
            slow.set()
            outcome = Outcome()
            transport.execute_at("b", ORDER, outcome)
            over = await outcome.over_as
            assert isinstance(over, Lost) and over.reason == "reset"
            slow.clear()
            outcome = Outcome()
            transport.execute_at("b", ORDER, outcome)
            over = await outcome.over_as
            assert isinstance(over, Lost) and over.message == "no connection within 0.2 s"
            assert refused == []

    asyncio.run(scenario())


def test_what_waits_for_a_server_that_does_not_read_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_transport, "OUTBOX_BYTES", 1024 * 1024)
    monkeypatch.setattr(link_transport, "SILENT_S", 60.0)
    large = Order("t", TaskRequest("chat", msgspec.Raw(b'"' + b"x" * 500_000 + b'"')), "generate", "tiny", 5.0)

    async def scenario() -> None:
        async with calling(switches) as (transport, _):
            first = Outcome()
            transport.execute_at("b", ORDER, first)
            await until(lambda: transport._links["b"].wire.connection)
            for _ in range(200):
                transport.execute_at("b", large, Outcome())
                await asyncio.sleep(0)
                if first.over_as.done():
                    break
            over = await first.over_as
            assert isinstance(over, Lost) and over.message == "it reads too slowly"

    asyncio.run(scenario())


def test_a_silent_caller_loses_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_transport, "SILENT_S", 0.3)

    async def scenario() -> None:
        async with TaskNode("b", [TokenEngine()]) as b, link_to(b.address, "a") as link:
            link.set_protocol(asyncio.Protocol())
            await until(link.is_closing)

    asyncio.run(scenario())


def test_the_last_beat_arrives_before_the_link_ends() -> None:
    async def scenario() -> None:
        async with TaskNode("a") as a:
            async with TaskNode("b") as b:
                await a.meet(b)
                await b.meet(a)
                at = now()
            assert a.peer.membership.state("b", at) == "dead"  # it said so: nothing had to be noticed

    asyncio.run(scenario())
