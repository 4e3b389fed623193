"""Parts of a test that need an event loop, each in a thread of its own: the tests themselves wait for processes."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hub.home.virtual_flat import VirtualFlat
from swarm.broker import BrokerAddress, find_mosquitto, mosquitto_configuration
from tests.buses import free_port
from tests.fake_ollama import FakeOllama
from tests.whole.running_node import wait_until

T = TypeVar("T")


@contextmanager
def loop_thread() -> Iterator[LoopThread]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield LoopThread(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class LoopThread:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def run(self, work: Coroutine[Any, Any, T], *, seconds: float = 20.0) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)


@contextmanager
def fake_ollama() -> Iterator[FakeOllama]:
    """A language model server; its attributes may be changed between two questions."""
    with loop_thread() as thread:
        server = FakeOllama()
        thread.run(server.__aenter__())
        try:
            yield server
        finally:
            thread.loop.call_soon_threadsafe(server.go_on.set)
            thread.run(server.__aexit__())


@contextmanager
def virtual_flat(port: int, *, silent: frozenset[str] = frozenset()) -> Iterator[VirtualFlat]:
    with loop_thread() as thread:
        flat = VirtualFlat(BrokerAddress("127.0.0.1", port), silent=silent)

        async def run() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await flat.run()

        running = asyncio.run_coroutine_threadsafe(run(), thread.loop)
        try:
            wait_until(flat.ready.is_set)
            yield flat
        finally:
            running.cancel()
            thread.run(asyncio.sleep(0.5))  # devices say goodbye; their clients end in threads of their own


class OwnMosquitto:
    """A broker that the test starts and ends."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._configuration = folder / "own-mosquitto.conf"
        self._configuration.write_text(mosquitto_configuration(self.port))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = find_mosquitto()
        assert program is not None
        self._process = subprocess.Popen([program, "-c", str(self._configuration)], stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
