"""A node's task part over plain HTTP on loopback: links, task API, an engine. Also a program, to be killed.

::

    async with TaskNode("a") as a, TaskNode("b", [TokenEngine()]) as b:
        await a.meet(b)
        ...                                  # a.url + "/api/tasks"

    python -m tests.swarm.plain_swarm '{"node": "b", "words_per_s": 20}'     # prints its port
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

from aiohttp import web

from swarm.errors import NodeUnreachable
from swarm.link_transport import PATH, PROTOCOL, LinkServer, LinkTransport
from swarm.peer import Peer
from swarm.routing import RoutingSection
from swarm.switching import ask_to_switch
from swarm.task import Priority
from swarm.task_api import TaskApi
from swarm.worker import TaskEngine, Worker
from tests.swarm.token_engine import TokenEngine


class TaskNode:
    def __init__(
        self,
        node: str,
        engines: Sequence[TaskEngine] = (),
        *,
        waiting: dict[Priority, int] | None = None,
        routing: RoutingSection | None = None,
        roles: tuple[str, ...] = ("hub",),
        port: int = 0,
    ) -> None:
        self.node = node
        self._engines = engines
        self._waiting = waiting
        self._routing = routing
        self._roles = roles
        self._port = port
        self.closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.worker = Worker(self.node, self._engines, waiting=self._waiting)
        self.transport = LinkTransport(self._connect, refused=lambda node: self.peer.peer_refused(node))
        with socket.create_server(("127.0.0.1", self._port)) as listening:
            listener = listening.dup()
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.address = f"127.0.0.1:{self.port}"
        self.peer = Peer(
            self.node,
            name=self.node,
            incarnation=time.time_ns() // 1000,
            worker=self.worker,
            transport=self.transport,
            routing=self._routing,
            roles=self._roles,
            addresses=(self.address,),
        )
        server = LinkServer(self.peer, peer_of=lambda request: request.headers.get("X-Node"))
        app = web.Application(client_max_size=32 * 1024**2)
        app.router.add_get(PATH, server.handle)
        app.add_routes(TaskApi(self.peer.dispatcher).routes("/api"))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        self.closing.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listener).start()
        self.closing.push_async_callback(self.peer.close)
        self._tasks = [asyncio.ensure_future(self.transport.run()), asyncio.ensure_future(self.peer.run())]
        self.closing.push_async_callback(self._stop)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.closing.aclose()

    async def meet(self, *others: TaskNode) -> None:
        """Be told of them, and wait until they are known."""
        for other in others:
            self.peer.hinted(other.node, (other.address,))
        await until(lambda: all(self.peer.membership.state(o.node, now()) == "alive" for o in others))

    async def _stop(self) -> None:
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def _connect(self, node: str) -> AsyncIterator[asyncio.Transport]:
        try:
            async with link_to(self.peer.membership.addresses(node)[0], self.node) as connection:
                yield connection
        except OSError as error:
            raise NodeUnreachable(f"{node}: {error}") from error


@asynccontextmanager
async def link_to(address: str, node: str) -> AsyncIterator[asyncio.Transport]:
    """A link of `node` to that address, without a calling end."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield await ask_to_switch(reader, writer, PATH, PROTOCOL, host=address, headers={"X-Node": node})
    finally:
        writer.transport.abort()


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], object], *, timeout_s: float = 10.0) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # any state of any part: there is no one event to wait for


async def main(options: dict[str, Any]) -> None:
    engines = [
        TokenEngine(
            slots=options.get("slots", 64), first_s=options.get("first_s", 0.0), word_s=options.get("word_s", 0.0)
        )
    ]
    waiting: dict[Priority, int] = {"immediate": 64, "background": 64, "batch": 64}
    async with TaskNode(options["node"], engines if options.get("engine", True) else (), waiting=waiting) as node:
        for other, address in options.get("peers", {}).items():
            node.peer.hinted(other, (address,))
        print(node.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
