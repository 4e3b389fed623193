"""`mycoswarm bench swarm`: everything that BENCHMARKS.md says of several machines that work as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from swarm.bench.report import Measurement, Report, Section, load_now, new_report
from swarm.bench.swarm_hop import install_litellm, measure_hop
from swarm.bench.swarm_idle import measure_idle
from swarm.bench.swarm_lan import measure_link
from swarm.bench.swarm_losses import measure_coming, measure_kill
from swarm.bench.swarm_nodes import folder
from swarm.errors import MycoswarmError
from swarm.ledger.bench import measure_appends, measure_join

TITLE = "Swarm"
BOUND_S = 1800.0
"""Of a whole run, which takes a tenth of that on two cores."""
OPERATIONS_S = 30.0
"""For a new node to have all operations of the ledger."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    times: int
    """Machines that join, and starts of one that belongs to the swarm."""
    questions: int
    """For the time to the first token, of each server."""
    load_s: float
    """Of as many questions as possible, for each server."""
    idle_s: float
    operations: int
    """In the ledger that a new node gets."""


FULL = Size(times=5, questions=400, load_s=10.0, idle_s=60.0, operations=100_000)
QUICK = Size(times=2, questions=80, load_s=3.0, idle_s=10.0, operations=10_000)


async def bench_swarm(size: Size, tell: Callable[[str], None], *, with_litellm: bool = False) -> Report:
    """Measure; `tell` gets progress, a line at a time. `with_litellm` installs the LiteLLM proxy, if need be, and
    measures it beside. Raises `MycoswarmError`."""
    litellm = await install_litellm(tell) if with_litellm else None
    load = load_now()
    try:
        async with asyncio.timeout(BOUND_S):
            sections = [
                await measure_coming(times=size.times, tell=tell),
                await measure_kill(tell=tell),
                await measure_link(tell=tell),
                await measure_hop(questions=size.questions, seconds=size.load_s, litellm=litellm, tell=tell),
                await measure_idle(seconds=size.idle_s, tell=tell),
                await _measure_ledger(size.operations, tell),
            ]
    except TimeoutError:
        raise MycoswarmError(f"the measurement was not done within {BOUND_S / 60:.0f} minutes") from None
    return new_report(TITLE, sections, load=load)


async def _measure_ledger(operations: int, tell: Callable[[str], None]) -> Section:
    tell("the ledger")
    async with folder() as home:
        (home / "appends").mkdir()
        appends = await measure_appends(home / "appends")
        join = await measure_join(home / "join", operations=operations)
    whole = operations >= FULL.operations
    return Section(
        "Ledger",
        (
            Measurement(
                f"{operations:,} operations reach a new node",
                join.took_s,
                "s",
                most=OPERATIONS_S if whole else None,
                of=join.operations,
            ),
            Measurement("appends a second, many writers", appends.grouped_per_s, "/s", least=1000),
            Measurement("appends a second, one after the other", appends.singly_per_s, "/s"),
            Measurement("writes that this disk confirms a second (4 kB, fsync)", appends.syncs_per_s, "/s"),
            Measurement("memory of the new node's ledger process, largest", join.resident_mb, "MB"),
            Measurement("opening the new node's ledger again", join.reopened_s, "s"),
        ),
        (
            "An append counts when it is on disk; writers at the same time share one write. The new node is a process "
            "of its own that asks over loopback and checks every signature.",
        ),
    )
