"""`mycoswarm bench home`: everything that BENCHMARKS.md says of large homes, and of Home Assistant beside."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hub.home.virtual_devices import VirtualDevice
from swarm.bench.corpus import NOT_COMMANDS, spread
from swarm.bench.home_changes import measure_changes
from swarm.bench.home_commands import Asked, Command, ask, commands_for
from swarm.bench.home_devices import HomeOnBroker, home_on_broker, large_home
from swarm.bench.node import BenchNode
from swarm.bench.report import Measurement, Report, Section, load_now, new_report, percentile
from swarm.bench.swarm_nodes import folder
from swarm.broker import Broker
from swarm.config import BusSection
from swarm.errors import MycoswarmError, NodeUnreachable

TITLE = "Home"
BOUND_S = 3600.0
START_S = 120.0
LOOK_S = 0.1


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    ordinary: tuple[int, int]
    """Entities and rooms of a home."""
    large: tuple[int, int]
    commands: int
    others: int
    minutes: float
    """Of state changes."""
    spoken: int
    """Commands in real time beside Home Assistant, twice 5 s each."""


FULL = Size(ordinary=(60, 6), large=(2000, 65), commands=200, others=100, minutes=10.0, spoken=20)
QUICK = Size(ordinary=(60, 6), large=(2000, 65), commands=60, others=30, minutes=0.5, spoken=5)


async def bench_home(size: Size, tell: Callable[[str], None], *, home_assistant: Path | None = None) -> Report:
    """Measure; `tell` gets progress, a line at a time; `home_assistant` is the virtual environment of one to compare
    with. Raises `MycoswarmError`."""
    load = load_now()
    try:
        async with asyncio.timeout(BOUND_S):
            sections = [await _measure_home(size.ordinary, size, tell), *await _measure_large(size, tell)]
            if home_assistant is not None:
                from swarm.bench.home_beside import measure_beside

                sections.append(await measure_beside(home_assistant, size.spoken, tell))
    except TimeoutError:
        raise MycoswarmError(f"the measurement was not done within {BOUND_S / 60:.0f} minutes") from None
    return new_report(TITLE, sections, load=load)


async def _measure_home(home: tuple[int, int], size: Size, tell: Callable[[str], None]) -> Section:
    tell(f"a home of {home[0]} entities")
    async with _home(*home) as (house, node, devices):
        with _listening(home[0]) as listening:
            async with node.program("up"):
                await listening.wait()
                asked = [await ask(node, house, each) for each in commands_for(devices, size.commands)]
    return Section(
        f"A home of {home[0]} entities in {home[1]} rooms",
        (
            *_publishing(asked, most=15),
            *_understanding("commands", asked, most=None),
        ),
        (_ASKED,),
    )


async def _measure_large(size: Size, tell: Callable[[str], None]) -> list[Section]:
    count, rooms = size.large
    tell(f"a home of {count} entities")
    async with _home(count, rooms) as (house, node, devices):
        commands = commands_for(devices, size.commands)
        with _listening(count) as listening:
            began = time.monotonic()
            async with node.program("up") as process:
                known_s = await _knows(node, count) - began
                await _does(node, house, commands[0])
                does_s = time.monotonic() - began
                tell(f"knew them after {known_s:.1f} s, obeyed after {does_s:.1f} s")
                listens_s = await listening.wait() - began
                asked = [await ask(node, house, each) for each in commands]
                others = [await ask(node, house, Command(each)) for each in spread(NOT_COMMANDS, size.others)]
                resident = _resident_mb(process.pid)
                tell(f"state changes, for {size.minutes:g} minutes")
                changes = await measure_changes(node, house, process.pid, minutes=size.minutes, tell=tell)
    large = Section(
        f"A home of {count} entities in {rooms} rooms",
        (
            Measurement("from the start of the program to the first command done", does_s, "s", most=3),
            Measurement("… to all entities known", known_s, "s"),
            Measurement("… to all commands heard by the engine of the package", listens_s, "s"),
            Measurement("resident memory of the hub, its engines' processes apart", resident, "MB", most=120),
            *_understanding("commands", asked, most=40),
            *_understanding("what is no command", others, most=None),
            *_publishing(asked, most=None),
        ),
        (
            "All announcements and states were with Mosquitto, retained, before the program started. "
            f"Memory after {len(asked) + len(others)} questions.",
        ),
    )
    return [large, changes]


_ASKED = (
    "Typed at the people's port, so that the transcript is there at once. To the device: from the question sent to its "
    "command received by another process, with HTTP and Mosquitto. The step to the intent is that of the trace."
)


def _publishing(asked: list[Asked], *, most: float | None) -> list[Measurement]:
    times = [each.commanded_ms for each in asked if each.commanded_ms is not None]
    missed = [each for each in asked if each.wants_command and each.commanded_ms is None]
    return [
        Measurement("transcript to the command at the device, p50", percentile(times, 50), "ms", most, of=len(times)),
        Measurement("transcript to the command at the device, p95", percentile(times, 95), "ms", of=len(times)),
        Measurement("commands that did not reach their device", len(missed), most=0, of=len(asked)),
    ]


def _understanding(what: str, asked: list[Asked], *, most: float | None) -> list[Measurement]:
    times = [each.intent_ms for each in asked]
    return [
        Measurement(f"{what}: step to the intent, p50", percentile(times, 50), "ms", of=len(times)),
        Measurement(f"{what}: step to the intent, p95", percentile(times, 95), "ms", most, of=len(times)),
    ]


@asynccontextmanager
async def _home(entities: int, rooms: int) -> AsyncIterator[tuple[HomeOnBroker, BenchNode, tuple[VirtualDevice, ...]]]:
    """The devices on a broker of their own, and a node that was not started yet."""
    devices = large_home(entities, rooms)
    async with folder() as place:
        broker = Broker(BusSection(), place, own=None)
        await broker.start()
        try:
            async with home_on_broker(broker.address, devices) as house:
                node = BenchNode(place)
                node.configure(f'[bus]\nbroker = "mqtt://127.0.0.1:{broker.address.port}"\n')
                yield house, node, devices
        finally:
            await broker.close()


async def _knows(node: BenchNode, count: int) -> float:
    """When it knew that many entities."""

    async def knows() -> bool:
        try:
            return (await node.status()).entities >= count
        except NodeUnreachable:
            return False

    await _until(knows, f"the node did not know {count} entities")
    return time.monotonic()


async def _does(node: BenchNode, house: HomeOnBroker, command: Command) -> None:
    async def does() -> bool:
        return (await ask(node, house, command, timeout_s=0.0)).outcome == "done"

    await _until(does, f"the node did not do {command.text!r}")


async def _until(condition: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Asked seldom: the node that starts is not to be kept from it."""
    try:
        async with asyncio.timeout(START_S):
            while not await condition():  # noqa: ASYNC110 another process is waited for
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise MycoswarmError(f"{otherwise} within {START_S:g} s") from None


class _Listening(logging.Handler):
    """Reads in the node's log when its engine took the commands of all entities."""

    def __init__(self, count: int) -> None:
        super().__init__(logging.INFO)
        self._wanted = f"listening for the commands of {count} devices"
        self._heard = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """A line of the log."""
        if self._wanted in record.getMessage():
            self._heard.set()

    async def wait(self) -> float:
        """When that was. Raises `MycoswarmError`."""
        try:
            async with asyncio.timeout(START_S):
                await self._heard.wait()
        except TimeoutError:
            raise MycoswarmError(f"the node was not {self._wanted} within {START_S:g} s") from None
        return time.monotonic()


@contextmanager
def _listening(count: int) -> Iterator[_Listening]:
    # What a child prints on its standard error is logged there.
    logger, heard = logging.getLogger("swarm.child"), _Listening(count)
    level = logger.level
    logger.addHandler(heard)
    logger.setLevel(logging.INFO)
    try:
        yield heard
    finally:
        logger.setLevel(level)
        logger.removeHandler(heard)


def _resident_mb(pid: int) -> float:
    import psutil

    try:
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    except psutil.Error as error:
        raise MycoswarmError(f"the memory of the node cannot be told: {error}") from error
