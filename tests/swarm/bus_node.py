"""A node of which only the bus runs: `python -m tests.swarm.bus_node FOLDER ADDRESS HUB=ADDRESS…`.

FOLDER holds identity and trust; the node is a hub, with Mosquitto and a bus port, if it is among the hubs. Says in
lines which hub's broker it uses and who else is there (`at NAME: NAME NAME`, `waiting`), and whose commands arrive
(`heard NAME`): each node sends one every half second, unless `--silent` comes first. Liveness is what connections tell:
all hubs are tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path

from swarm.broker import Broker
from swarm.bus_port import USUAL_BUS_PORT, BusPort
from swarm.config import BusSection
from swarm.errors import BusError
from swarm.hardware import Hardware
from swarm.health import HealthWatch
from swarm.identity import open_identity
from swarm.presence import Document
from swarm.swarm_bus import HubBroker, SwarmBus
from swarm.tls import TlsContexts
from tests.swarm.held_trust import load_trust


async def run(folder: Path, address: str, hubs: dict[str, str], *, talks: bool) -> None:
    identity, trust = open_identity(folder), load_trust(folder)
    assert trust is not None
    names = {node: name[:4] for node, name in trust.members().items()}
    contexts = TlsContexts(identity, trust)
    async with contextlib.AsyncExitStack() as closing:
        broker = port = None
        if identity.node_id in hubs:
            broker = Broker(BusSection(), folder / "broker")
            await broker.start()
            closing.push_async_callback(broker.close)
            port = BusPort(contexts, trust, broker=lambda: broker.address, runs_home=lambda node: True)
            await port.start(address, USUAL_BUS_PORT)
            closing.push_async_callback(port.close)
        watch = HealthWatch()
        bus = SwarmBus(
            node=identity.node_id,
            incarnation=time.time_ns() // 1000,
            contexts=contexts,
            trust=trust,
            hubs=lambda: [
                HubBroker(node, () if node == identity.node_id else ((where, USUAL_BUS_PORT),))
                for node, where in hubs.items()
            ],
            describe=lambda: Document(name=names[identity.node_id], addresses=(f"{address}:7334",)),
            health=lambda: watch.look(Hardware()),
            own_broker=(lambda: broker.address) if broker else None,
            port=port,
        )
        if talks:
            bus.bus.subscribe("home/+", lambda _, payload: print(f"heard {payload.decode()}"))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.run())
            said = ""
            while True:
                present = " ".join(sorted(names[node] for node in bus.present()))
                state = f"at {names[bus.hub]}: {present}" if bus.hub and bus.bus.connected else "waiting"
                if state != said:
                    said = state
                    print(f"{time.monotonic():.3f} {state}")
                if talks and bus.bus.connected:
                    with contextlib.suppress(BusError):
                        await bus.bus.publish(f"home/{identity.node_id}", names[identity.node_id], qos=0)
                await asyncio.sleep(0.5 if talks else 0.05)


if __name__ == "__main__":
    talking = sys.argv[1] != "--silent"
    arguments = sys.argv[1:] if talking else sys.argv[2:]
    known = dict(each.split("=") for each in arguments[2:])
    asyncio.run(run(Path(arguments[0]), arguments[1], known, talks=talking))
