"""A node of the benchmark's own: `mycoswarm up --demo-home` with a state folder that is gone afterwards."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from swarm.child import Stream, end_child, start_child
from swarm.client import NodeClient, Status, find_node
from swarm.errors import MycoswarmError, NodeUnreachable

START_S = 60.0
"""To the end of the command that the node says to itself."""
STOP_S = 5.0
CLIENT_TIMEOUT_S = 10.0
_POLL_S = 0.1


class BenchNode:
    """A running node and how to reach it."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "bench.toml"
        self._state = folder / "state"

    @property
    def client(self) -> NodeClient:
        """Raises `NodeUnreachable`."""
        return find_node(self._state, timeout_s=CLIENT_TIMEOUT_S)

    async def status(self) -> Status:
        """How it is; raises `NodeUnreachable`."""
        return await asyncio.to_thread(self.client.status)

    @asynccontextmanager
    async def program(self, *arguments: str, stdin: Stream = asyncio.subprocess.DEVNULL) -> AsyncIterator[Process]:
        """Another `mycoswarm` with the same configuration."""
        argv = [sys.executable, "-m", "swarm", *arguments, "--config", str(self.config)]
        process = await start_child(argv, stdin=stdin)
        try:
            yield process
        finally:
            await end_child(process, grace_s=STOP_S)

    def configure(self, more: str = "") -> None:
        """Engines of the package only, no sound card, no model, no port that anybody else could use; `more` is TOML of
        further sections."""
        self.config.write_text(
            f'[node]\nname = "bench"\nstate_dir = {str(self._state)!r}\n[people]\nport = 0\n'
            '[satellite]\nmicrophone = "none"\nspeaker = "none"\n[language_model]\nurl = ""\n' + more,
            encoding="utf-8",
        )


@asynccontextmanager
async def bench_node() -> AsyncIterator[BenchNode]:
    """A node that is up and has answered its first command. Raises `MycoswarmError`."""
    with tempfile.TemporaryDirectory(prefix="mycoswarm-bench-") as folder:
        node = BenchNode(Path(folder))
        node.configure()
        async with node.program("up", "--demo-home") as process:
            try:
                async with asyncio.timeout(START_S):
                    await _first_words(node, process)
            except TimeoutError:
                raise MycoswarmError(
                    f"the node to be measured was not ready within {START_S:g} s",
                    hint="mycoswarm up --demo-home tells why",
                ) from None
            yield node


async def _first_words(node: BenchNode, process: Process) -> None:
    while process.returncode is None:
        try:
            if await asyncio.to_thread(node.client.traces, 1):
                return
        except NodeUnreachable:
            pass
        await asyncio.sleep(_POLL_S)
    raise MycoswarmError(
        f"the node to be measured ended with status {process.returncode}", hint="mycoswarm up --demo-home tells why"
    )
