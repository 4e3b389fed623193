from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from swarm.lease import rank
from tests.hosts import Lan, lan, needs_hosts
from tests.program import Program
from tests.swarm.enrolled import Member, founder, member

PATIENCE_S = 60.0


async def enrolled(folder: Path, count: int) -> list[Member]:
    """Members of one swarm who all know each other; the two first are hubs, the one in charge of the bus first."""
    first = founder(folder / "0")
    others = [await member(first, folder / str(number)) for number in range(1, count)]
    by_id = {each.node_id: each for each in (first, others[0])}
    ordered = [*(by_id[node] for node in rank("bus", by_id)), *others[1:]]
    for each in ordered:
        for number, other in enumerate(ordered):
            await each.trust.admit(other.node_id, f"{'hub' if number < 2 else 'node'}{number}"[-4:])
    return ordered


def start(net: Lan, members: list[Member], number: int) -> Program:
    """The node on the host of that number."""
    host = net.hosts[number]
    hubs = [f"{each.node_id}={where.address}" for each, where in zip(members[:2], net.hosts[:2], strict=True)]
    return host.python("-m", "tests.swarm.bus_node", str(members[number].identity.folder), host.address, *hubs)


def names(members: list[Member]) -> list[str]:
    return [members[0].trust.members()[each.node_id] for each in members]


@needs_hosts
def test_when_the_hub_of_the_bus_is_killed_the_next_takes_over_and_when_it_is_back_all_return(tmp_path: Path) -> None:
    members = asyncio.run(enrolled(tmp_path, 4))
    first, second, third, fourth = names(members)
    with lan(4) as net:
        programs = [start(net, members, number) for number in range(4)]
        programs[2].line(f"at {first}: {first} {second} {fourth}", seconds=PATIENCE_S)
        programs[2].line(f"heard {fourth}")
        programs[0].end(signal.SIGKILL)
        programs[2].line(f"at {second}: {second} {fourth}", seconds=PATIENCE_S)
        programs[3].line(f"at {second}: {second} {third}", seconds=PATIENCE_S)
        programs[2].line(f"heard {fourth}")
        start(net, members, 0)
        programs[2].line(f"at {first}: {first} {second} {fourth}", seconds=PATIENCE_S)
        programs[3].line(f"at {first}: {first} {second} {third}", seconds=PATIENCE_S)
        programs[2].line(f"heard {fourth}")


@needs_hosts
def test_a_partition_makes_two_buses_and_healing_makes_them_one(tmp_path: Path) -> None:
    members = asyncio.run(enrolled(tmp_path, 4))
    first, second, third, fourth = names(members)
    with lan(4) as net:
        programs = [start(net, members, number) for number in range(4)]
        programs[2].line(f"at {first}: {first} {second} {fourth}", seconds=PATIENCE_S)
        programs[3].line(f"at {first}: {first} {second} {third}", seconds=PATIENCE_S)
        net.partition([net.hosts[0], net.hosts[2]], [net.hosts[1], net.hosts[3]])
        programs[3].line(lambda text: text.endswith(f"at {second}: {second}"), seconds=PATIENCE_S)
        programs[2].line(lambda text: text.endswith(f"at {first}: {first}"), seconds=PATIENCE_S)
        programs[3].line(f"heard {second}")
        programs[2].line(f"heard {first}")
        net.heal()
        programs[3].line(f"at {first}: {first} {second} {third}", seconds=PATIENCE_S)
        programs[2].line(f"at {first}: {first} {second} {fourth}", seconds=PATIENCE_S)
        programs[2].line(f"heard {fourth}")
        programs[3].line(f"heard {third}")
