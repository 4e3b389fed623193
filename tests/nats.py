"""A real cluster of NATS servers that speak MQTT, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from swarm.broker import BrokerAddress
from swarm.child import start_child
from tests.program import PATIENCE_S

PROGRAM = shutil.which("nats-server", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin")))
needs_nats = pytest.mark.skipif(PROGRAM is None, reason="nats-server is not installed (Debian: nats-server)")


@dataclass
class NatsServer:
    process: asyncio.subprocess.Process
    address: BrokerAddress
    watched: int
    """Port where it tells how it is."""

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def nats_cluster(folder: Path, count: int = 3) -> AsyncIterator[list[NatsServer]]:
    """Servers that found each other and take MQTT clients."""
    assert PROGRAM is not None
    servers: list[NatsServer] = []
    ports = free_ports(4 * count)
    routes = ports[:count]
    try:
        for number, route in enumerate(routes):
            port, listen, watched = ports[count + number :: count]
            state = folder / f"nats{number}"
            state.mkdir(parents=True)
            others = ", ".join(f'"nats://127.0.0.1:{each}"' for each in routes if each != route)
            (state / "nats.conf").write_text(
                f'server_name: "n{number}"\n'
                f'listen: "127.0.0.1:{listen}"\n'
                f'http: "127.0.0.1:{watched}"\n'
                f'jetstream {{ store_dir: "{state}" }}\n'
                f'mqtt {{ listen: "127.0.0.1:{port}", stream_replicas: {count} }}\n'
                f'cluster {{ name: "home", listen: "127.0.0.1:{route}", routes: [{others}] }}\n'
            )
            process = await start_child([PROGRAM, "-c", str(state / "nats.conf")])
            servers.append(NatsServer(process, BrokerAddress("127.0.0.1", port), watched))
        async with asyncio.timeout(3 * PATIENCE_S):
            for server in servers:
                await _has_leader(server.watched, count)
            for server in servers:
                await _takes_clients(server.address.port)
        yield servers
    finally:
        for server in servers:
            await server.kill()


def free_ports(count: int) -> list[int]:
    """All different."""
    with contextlib.ExitStack() as closing:
        probes = [closing.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


async def _has_leader(port: int, count: int) -> None:
    """A client that comes before costs the server four seconds of waiting for nobody's answer."""
    url = f"http://127.0.0.1:{port}/jsz"
    async with aiohttp.ClientSession(trust_env=False) as http:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(url) as response:
                    cluster = (await response.json()).get("meta_cluster", {})
                    if cluster.get("leader") and cluster.get("cluster_size") == count:
                        return
            await asyncio.sleep(0.05)


async def _takes_clients(port: int) -> None:
    """The cluster has to agree on its leaders before it answers a CONNECT."""
    from swarm.mqtt_packets import Connect, connect_packet

    while True:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(3.0):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(connect_packet(Connect(f"looks{port}", 10)))
                    if (await reader.readexactly(4))[3] == 0:
                        return
                finally:
                    writer.close()
        await asyncio.sleep(0.1)
