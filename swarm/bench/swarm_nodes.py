"""Nodes and engines of the benchmark's own: real processes, state folders that are gone afterwards, loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from swarm.child import end_child, start_child
from swarm.client import is_alive
from swarm.errors import MycoswarmError, NodeUnreachable
from swarm.swarm_client import SwarmClient, find_swarm_node
from swarm.swarm_view import NodeView

START_S = 60.0
STOP_S = 5.0
COMMAND_S = 60.0
CLIENT_TIMEOUT_S = 10.0
POLL_S = 0.01

T = TypeVar("T")


class Place:
    """Where nodes run and are asked: on this machine. Loopback is a place's own."""

    prefix: tuple[str, ...] = ()
    """A command that runs there what follows."""

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function there that blocks."""
        return await asyncio.to_thread(function)


class SwarmNode:
    """One machine of the swarm that is measured. Its name is its folder's."""

    def __init__(
        self,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        ports: tuple[int, int, int] | None = None,
        role: str = "worker",
        engine: int = 0,
        slots: int = 64,
        place: Place | None = None,
    ) -> None:
        """`ports` are the nodes' port, the enrolment port and the bus port, free ones without; `engine` is the port
        of its language model on loopback, 0 for none; `slots`, how many questions that takes at a time; `place` is
        where it runs, this machine without."""
        self.name = folder.name
        self.config = folder / "config.toml"
        self.state = folder / "state"
        self.process: Process | None = None
        self.place = place or Place()
        nodes_port, enrolment_port, self.bus_port = ports or (free_port(), free_port(), free_port())
        folder.mkdir(parents=True)
        model = f"http://127.0.0.1:{engine}" if engine else ""
        self.config.write_text(
            f'[node]\nname = "{self.name}"\nstate_dir = {str(self.state)!r}\n[people]\nport = 0\n'
            '[satellite]\nmicrophone = "none"\nspeaker = "none"\n'
            f'[language_model]\nurl = "{model}"\nparallel = {slots}\n'
            f'[swarm]\nroles = ["{role}"]\naddress = "{address}"\nport = {nodes_port}\n'
            f"enrolment_port = {enrolment_port}\nbus_port = {self.bus_port}\nmulticast = false\n",
            encoding="utf-8",
        )

    @property
    def client(self) -> SwarmClient:
        """Raises `NodeUnreachable`."""
        return find_swarm_node(self.state, timeout_s=CLIENT_TIMEOUT_S)

    @property
    def port(self) -> int:
        """Of its people's port. Raises `NodeUnreachable`."""
        return int(self.client.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Of its process, which runs."""
        assert self.process is not None
        return self.process.pid

    async def did(self, *arguments: str) -> str:
        """What a command printed. Raises `MycoswarmError` when it fails."""
        argv = [*self.place.prefix, sys.executable, "-m", "swarm", *arguments, "--config", str(self.config)]
        process = await start_child(argv, stdout=PIPE)
        try:
            async with asyncio.timeout(COMMAND_S):
                assert process.stdout is not None
                said = await process.stdout.read()  # not communicate(): its errors are read and logged already
                await process.wait()
        except TimeoutError:
            raise MycoswarmError(f"mycoswarm {arguments[0]} was not done within {COMMAND_S:g} s") from None
        finally:
            await end_child(process)
        if process.returncode != 0:
            raise MycoswarmError(f"mycoswarm {arguments[0]} failed at the node {self.name} that is measured")
        return said.decode()

    async def launch(self) -> None:
        """Start it and wait for nothing."""
        (self.state / "node.json").unlink(missing_ok=True)  # of a node that was killed
        argv = [*self.place.prefix, sys.executable, "-m", "swarm", "up", "--config", str(self.config)]
        self.process = await start_child(argv)

    async def start(self) -> None:
        """Start it and wait until it listens. Raises `MycoswarmError`."""
        await self.launch()
        await until(self._listens, f"the node {self.name} that is measured was not up", seconds=START_S)

    async def end(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            process, self.process = self.process, None
            await end_child(process, grace_s=STOP_S)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        while is_alive(self.pid) and self.process.returncode is None:  # noqa: ASYNC110 the loop reaps it meanwhile
            await asyncio.sleep(0.001)

    async def view(self) -> list[NodeView]:
        """All nodes as it sees them; none while it does not listen."""
        try:
            return await self.place.call(lambda: self.client.nodes())
        except NodeUnreachable:
            return []

    async def sees(self, *others: SwarmNode, models: bool = False) -> None:
        """Wait until it sees the others alive, with their language models if `models`. Raises `MycoswarmError`."""
        wanted = {other.name for other in others}

        def is_there(node: NodeView) -> bool:
            offers_model = any(offered.kind == "generate" for offered in node.capabilities)
            return node.state == "alive" and (offers_model or not models)

        async def all_there() -> bool:
            return {each.name for each in await self.view() if is_there(each)} >= wanted

        await until(all_there, f"the node {self.name} did not see {', '.join(sorted(wanted))}", seconds=START_S)

    async def _listens(self) -> bool:
        assert self.process is not None
        if self.process.returncode is not None:
            raise MycoswarmError(f"the node {self.name} that is measured ended with status {self.process.returncode}")
        return bool(await self.view())


@asynccontextmanager
async def swarm_of(*nodes: SwarmNode) -> AsyncIterator[None]:
    """Start them as one swarm that the first begins; ended afterwards. Raises `MycoswarmError`."""
    first, *others = nodes
    async with AsyncExitStack() as ending:
        for node in nodes:
            ending.push_async_callback(node.end)
        await first.did("init")
        await first.start()
        for other in others:
            await other.did("join", (await first.did("invite")).strip())
            await other.start()
        for node in nodes:
            await node.sees(*nodes)
        yield


@asynccontextmanager
async def engine(*, first_s: float = 0.0, place: Place | None = None) -> AsyncIterator[int]:
    """A fake language model server; the port on which it listens, on loopback. Raises `MycoswarmError`."""
    place = place or Place()
    port = free_port()
    argv = [*place.prefix, sys.executable, "-m", "swarm.bench.swarm_engine", str(port), str(first_s)]
    process = await start_child(argv)
    try:
        await until(lambda: place.call(lambda: listens(port)), "the fake engine did not start", seconds=START_S)
        yield port
    finally:
        await end_child(process)


@asynccontextmanager
async def folder() -> AsyncIterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mycoswarm-bench-") as path:
        yield Path(path)


def listens(port: int) -> bool:
    """Whether somebody does, on loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


async def until(condition: Callable[[], Awaitable[bool]], otherwise: str, *, seconds: float) -> None:
    """Wait until it is so. Raises `MycoswarmError`."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 another process is waited for
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise MycoswarmError(f"{otherwise} within {seconds:g} s") from None


def free_port() -> int:
    """Free a moment ago. Below the range from which the system takes ports for connections: a program that starts for
    seconds, or again, would find another one's there."""
    while True:
        port = random.randint(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
