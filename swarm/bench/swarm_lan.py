"""A link that silently drops everything: three machines in network namespaces on a bridge, one is taken off it.

Needs root on Linux, with the programs `ip`, `unshare` and `nsenter`. Nothing that the machines send reaches the real
network, and no namespace has a name: each is gone with the process that holds it, which ends with the benchmark.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from swarm.bench.report import Section
from swarm.bench.swarm_losses import THINKS_S, Lost, lose_serving, loss_section
from swarm.bench.swarm_nodes import Place, SwarmNode, engine, folder, swarm_of, until
from swarm.child import end_child, start_child
from swarm.errors import MycoswarmError

TITLE = "The serving node's link silently drops everything"
PREFIX = "10.78.0"
PROGRAMS = ("ip", "unshare", "nsenter")
AFTER_S = 4.5
CLONE_NEWNET = 0x40000000

T = TypeVar("T")


def why_no_lan() -> str:
    """Why this machine cannot make network namespaces; empty when it can."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"network namespaces need the program {missing[0]}"
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode != 0:
        return "this root may not make network namespaces"
    return ""


async def measure_link(*, tell: Callable[[str], None]) -> Section:
    """Take the node that does most of the tasks off its switch. Raises `MycoswarmError`."""
    why_not = await asyncio.to_thread(why_no_lan)
    if why_not:
        return Section(TITLE, (), (f"Not measured: {why_not}.",))
    tell("a link is dropped")
    async with AsyncExitStack() as running:
        home = await running.enter_async_context(folder())
        switch = await running.enter_async_context(_namespace())
        await _ip(switch, "link set lo up", "link add br0 type bridge forward_delay 0", "link set br0 up")
        nodes = [await running.enter_async_context(_node(home, switch, number)) for number in range(1, 4)]
        entry, *workers = nodes
        await running.enter_async_context(swarm_of(*nodes))
        await entry.sees(*workers, models=True)
        numbers = {each.node: each.name.removeprefix("node") for each in await entry.view()}

        async def silence(node: str) -> None:
            # The carrier stays, so nobody's network card tells.
            await _ip(switch, f"link set p{numbers[node]} nomaster")

        def lose() -> Lost:
            return asyncio.run(lose_serving(entry.port, silence, after_s=AFTER_S))

        lost = await entry.place.call(lose)
        for number in range(1, 4):
            await _ip(switch, f"link set p{number} master br0")  # so that all can say goodbye
    return loss_section(TITLE, lost, given_s=3.0, late_s=3.0)


class Namespace(Place):
    """A network namespace, by the process that holds it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.prefix = ("nsenter", "-t", str(pid), "-n")

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function in a thread that is in the namespace meanwhile."""
        return await asyncio.to_thread(self._within, function)

    def _within(self, function: Callable[[], T]) -> T:
        before = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        try:
            _enter(f"/proc/{self.pid}/ns/net")
            try:
                return function()
            finally:
                _enter(f"/proc/self/fd/{before}")
        finally:
            os.close(before)


def _enter(path: str) -> None:
    space = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(space, CLONE_NEWNET) != 0:
            raise MycoswarmError(f"cannot enter the network namespace {path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(space)


@asynccontextmanager
async def _namespace() -> AsyncIterator[Namespace]:
    holder = await start_child(["unshare", "--net", "sleep", "infinity"])
    try:

        async def is_made() -> bool:
            return _space_of(str(holder.pid)) not in (None, _space_of("self"))

        await until(is_made, "no network namespace was made", seconds=5.0)
        yield Namespace(holder.pid)
    finally:
        await end_child(holder)


def _space_of(process: str) -> int | None:
    try:
        return Path(f"/proc/{process}/ns/net").stat().st_ino
    except OSError:  # it is being started
        return None


@asynccontextmanager
async def _node(home: Path, switch: Namespace, number: int) -> AsyncIterator[SwarmNode]:
    """A machine on the switch, with a language model unless it is the first."""
    async with AsyncExitStack() as running:
        space = await running.enter_async_context(_namespace())
        await _ip(
            switch,
            f"link add p{number} type veth peer name eth0 netns {space.pid}",
            f"link set p{number} master br0",
            f"link set p{number} up",
        )
        address = f"{PREFIX}.{number}"
        await _ip(space, "link set lo up", f"address add {address}/24 dev eth0", "link set eth0 up")
        model = 0
        if number > 1:
            model = await running.enter_async_context(engine(first_s=THINKS_S, place=space))
        yield SwarmNode(home / f"node{number}", address=address, ports=(7334, 7335, 7336), engine=model, place=space)


async def _ip(space: Namespace, *commands: str) -> None:
    argv = [*space.prefix, "ip", "-batch", "-"]
    done = await asyncio.to_thread(
        subprocess.run, argv, input="\n".join(commands).encode(), capture_output=True, check=False
    )
    if done.returncode != 0:
        raise MycoswarmError(f"ip {commands}: {done.stderr.decode(errors='replace').strip()}")
