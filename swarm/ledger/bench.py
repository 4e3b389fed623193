"""How fast the ledger is here: appends on one node, and how long a new node takes to have everything.

The new node is a process of its own (`python -m swarm.ledger.bench ADDRESS FOLDER`), so that its memory is only its
own, and asks over a loopback connection without TLS, which a LAN's bandwidth would hide anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from swarm.errors import MycoswarmError
from swarm.identity import Identity, open_identity
from swarm.ledger.ledger import Ledger
from swarm.ledger.sync import pull, routes
from swarm.node_api import errors_as_json

AT_ONCE = 512
"""Writers in the grouped measurement and while the ledger is filled."""
PULL_TIMEOUT_S = 300.0


class Appends(msgspec.Struct, frozen=True):
    """Appends on one node, each on disk before it counts."""

    singly_per_s: float
    """One after the other."""
    grouped_per_s: float
    """`AT_ONCE` writers at the same time."""
    syncs_per_s: float
    """How often the disk can be waited for at all, with nothing else done (4 kB, fsync): an append is one such wait."""


class Join(msgspec.Struct, frozen=True):
    """A new node that pulls everything."""

    operations: int
    took_s: float
    """From the first question to the last operation on disk and in the views."""
    resident_mb: float
    """Its whole process at its largest."""
    reopened_s: float
    """Opening its ledger again."""


async def measure_appends(folder: Path, *, singly: int = 2_000, grouped: int = 20_000) -> Appends:
    """In the empty `folder`, whose disk is what is measured. Raises `MycoswarmError`."""
    async with _founded(folder) as (ledger, _):
        began = time.perf_counter()
        for number in range(singly):
            await ledger.put("jobs", _key(number), _job(number))
        middle = time.perf_counter()
        await _fill(ledger, singly, grouped)
        ended = time.perf_counter()
    syncs_per_s = await asyncio.to_thread(_syncs_per_s, folder / "sync", max(1, singly // 10))
    return Appends(singly / (middle - began), grouped / (ended - middle), syncs_per_s)


def _syncs_per_s(path: Path, number: int) -> float:
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(number):
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
    return number / (time.perf_counter() - began)


async def measure_join(folder: Path, *, operations: int = 100_000) -> Join:
    """In the empty `folder`: write so many operations, then let a new node get them. Raises `MycoswarmError`."""
    async with _founded(folder / "old") as (ledger, identity):
        await _fill(ledger, 0, operations)
        joining = open_identity(folder / "new" / "identity")
        await ledger.enrol(joining.node_id, name="new")
        app = web.Application(middlewares=[errors_as_json])
        app.add_routes(routes(ledger, lambda request: request.headers.get("X-Node", "")))
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            return await _in_own_process(f"http://{host}:{port}", ledger.swarm_id, identity.node_id, folder / "new")
        finally:
            await runner.cleanup()


async def _in_own_process(url: str, swarm_id: str, peer: str, folder: Path) -> Join:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "swarm.ledger.bench", url, swarm_id, peer, str(folder)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PULL_TIMEOUT_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise MycoswarmError(f"the new node has not everything after {PULL_TIMEOUT_S:g} s") from None
    if process.returncode != 0:
        raise MycoswarmError("the new node failed at getting everything; see above")
    return msgspec.json.decode(said, type=Join)


async def _be_new(url: str, swarm_id: str, peer: str, folder: Path) -> Join:
    identity = open_identity(folder / "identity")
    async with aiohttp.ClientSession() as http, Ledger(folder / "ledger.db", identity, swarm_id) as ledger:
        began = time.perf_counter()
        pulled = await pull(ledger, _Plain(http, url, identity.node_id), peer)
        took_s = time.perf_counter() - began
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    began = time.perf_counter()
    async with Ledger(folder / "ledger.db", identity, swarm_id):
        reopened_s = time.perf_counter() - began
    return Join(pulled.operations, took_s, resident / 1e6, reopened_s)


class _Plain:
    """An `Asker` without TLS."""

    def __init__(self, http: aiohttp.ClientSession, url: str, node: str) -> None:
        self._http, self._url, self._node = http, url, node

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
        """As `Asker`."""
        async with (
            asyncio.timeout(timeout_s),
            self._http.request(
                method, self._url + path, data=data, headers={**(headers or {}), "X-Node": self._node}
            ) as response,
        ):
            yield response


@contextlib.asynccontextmanager
async def _founded(folder: Path) -> AsyncIterator[tuple[Ledger, Identity]]:
    identity = open_identity(folder / "identity")
    authority = identity.found_swarm(now=time.time()).certificate
    async with Ledger(folder / "ledger.db", identity, authority.swarm_id) as ledger:
        await ledger.found(authority.pem, name="founder")
        yield ledger, identity


async def _fill(ledger: Ledger, first: int, number: int) -> None:
    async def write(begin: int) -> None:
        for each in range(first + begin, first + number, AT_ONCE):
            await ledger.put("jobs", _key(each), _job(each))

    async with asyncio.TaskGroup() as writers:
        for begin in range(min(AT_ONCE, number)):
            writers.create_task(write(begin))


def _key(number: int) -> str:
    """4,096 keys, never the same one at the same time: jobs come, change and go."""
    return f"job-{number % (8 * AT_ONCE):06d}"


def _job(number: int) -> dict[str, object]:
    """As large as a job is: about 200 bytes."""
    return {"type": "summarize", "state": "waiting", "priority": "batch", "created": 1.7e9 + number, "about": "x" * 80}


if __name__ == "__main__":
    _url, _swarm_id, _peer, _folder = sys.argv[1:]
    sys.stdout.write(msgspec.json.encode(asyncio.run(_be_new(_url, _swarm_id, _peer, Path(_folder)))).decode())
