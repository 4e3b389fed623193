"""Nodes with ledgers, real keys and real aiohttp between them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from swarm.certificates import Authority, id_of, new_authority, public_der
from swarm.ledger import sync
from swarm.ledger.ledger import Ledger
from swarm.node_api import errors_as_json


class Key:
    """A node's key, as `Identity` shows it."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public_key = public_der(self._key.public_key())
        self.node_id = id_of(self.public_key)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def authority(self, swarm_id: str | None) -> Authority:
        return new_authority(self.node_id, swarm_id, now=1e9)


class Swarm:
    """Opens ledgers of one swarm; the first one founds it."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = lambda: 1.7e9) -> None:
        self.folder = folder
        self.clock = clock
        self.founder = Key()
        self.founding = self.founder.authority(None).certificate
        self.id = self.founding.swarm_id
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Swarm:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def found(self) -> Ledger:
        ledger = await self.open(self.founder)
        await ledger.found(self.founding.pem, name="first")
        return ledger

    async def open(self, key: Key | None = None, *, name: str = "") -> Ledger:
        key = key or Key()
        path = self.folder / f"{name or key.node_id}.db"
        ledger = Ledger(path, key, self.id, clock=self.clock)
        return await self._stack.enter_async_context(ledger)

    async def join(
        self, enroller: Ledger, key: Key | None = None, *, roles: tuple[str, ...] = ("worker",), **more: Any
    ) -> Ledger:
        """A member that has heard so."""
        ledger = await self.open(key)
        await enroller.enrol(ledger.node, name=ledger.node[:4], roles=roles, **more)
        await meet(enroller, ledger)
        return ledger

    async def hub(self, enroller: Ledger, key: Key | None = None) -> Ledger:
        """An enroller."""
        key = key or Key()
        ledger = await self.join(enroller, key, roles=("hub",))
        await enroller.grant(key.node_id, key.authority(self.id).certificate.pem)
        await meet(enroller, ledger)
        return ledger


class Session:
    """What `PeerSession` does, without TLS: says by a header who asks."""

    def __init__(self, http: aiohttp.ClientSession, url: str, me: str) -> None:
        self._http, self._url, self._me = http, url, me
        self.asked: list[str] = []

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        self.asked.append(path)
        every = {**(headers or {}), "X-Node": self._me}
        async with self._http.request(method, self._url + path, data=data, headers=every) as response:
            yield response


@contextlib.asynccontextmanager
async def serving(ledger: Ledger, asker: str) -> AsyncIterator[Session]:
    """A session of `asker` with a real server of that ledger."""
    app = web.Application(middlewares=[errors_as_json])
    app.add_routes(sync.routes(ledger, lambda request: request.headers["X-Node"]))
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        yield Session(http, str(server.make_url("")).rstrip("/"), asker)


async def meet(giver: Ledger, taker: Ledger) -> sync.Pulled:
    """`taker` pulls from `giver`."""
    async with serving(giver, taker.node) as session:
        return await sync.pull(taker, session, giver.node)


async def meet_all(*ledgers: Ledger) -> None:
    """Until everybody knows everything."""
    for _ in range(2):
        for giver in ledgers:
            for taker in ledgers:
                if giver is not taker and taker.node in giver.roster.members:
                    await meet(giver, taker)


def with_swarm(folder: Path, test: Callable[[Swarm], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Swarm(folder) as swarm:
            await test(swarm)

    asyncio.run(main())
