"""How soon a machine that comes is used, and what becomes of tasks when one is lost."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec

from swarm.bench.report import Measurement, Section
from swarm.bench.swarm_load import QUESTION, Answered, Client, http_request, node_target
from swarm.bench.swarm_nodes import SwarmNode, engine, folder, swarm_of
from swarm.errors import MycoswarmError
from swarm.task import Placed, read_events

RATE = 20.0
THINKS_S = 1.0
"""How long the engine takes to its first token."""
BEFORE_S = 1.5
"""Of tasks before the loss; longer than one takes, so that the number under way is what it will stay."""
LISTED = 1000


async def measure_coming(*, times: int, tell: Callable[[str], None]) -> Section:
    """A fresh machine joins; one that belongs to the swarm starts. Raises `MycoswarmError`."""
    tell("machines that come")
    joins, used, started = [], [], []
    async with folder() as home, engine() as port:
        first = SwarmNode(home / "first")
        async with swarm_of(first):
            for number in range(times):
                fresh = SwarmNode(home / f"fresh{number}")
                token = (await first.did("invite")).strip()
                began = time.perf_counter()
                await fresh.did("join", token)
                joins.append(time.perf_counter() - began)
            coming = SwarmNode(home / "coming", engine=port)
            await coming.did("join", (await first.did("invite")).strip())
            for _ in range(times):
                announced_s, started_s = await _until_used(first, coming)
                used.append(announced_s)
                started.append(started_s)
    return Section(
        "Machines that come",
        (
            Measurement("`mycoswarm join` of a fresh machine, longest", max(joins), "s", most=5, of=times),
            Measurement("used after its announcement, longest", 1000 * max(used), "ms", most=1000, of=times),
            Measurement("used after the start of its process, longest", max(started), "s", of=times),
        ),
        (
            "Loopback. Used: another node's question, asked every 10 ms from before the start on, is answered by it. "
            "Its announcement is the moment in which it listens and says so.",
        ),
    )


async def _until_used(first: SwarmNode, coming: SwarmNode) -> tuple[float, float]:
    """Seconds until it answers, since it was announced and since its process began."""
    target = node_target("the first node", first.port)
    client = await Client.connect(first.port)
    try:
        began = time.time()
        await coming.launch()
        while (await client.ask(target.request)).status != 200:
            if time.time() - began > 60:
                raise MycoswarmError("a node that belongs to the swarm was not used within 60 s of its start")
            await asyncio.sleep(0.01)
        used = time.time()
        announced = (coming.state / "node.json").stat().st_mtime
    finally:
        client.close()
        await coming.end()
    while any(each.name == coming.name and each.state == "alive" for each in await first.view()):  # noqa: ASYNC110 the node is polled
        await asyncio.sleep(0.01)
    return max(0.0, used - announced), used - began


@dataclass
class Lost:
    """What became of the tasks around the loss of a node."""

    tasks: int
    moved: int
    """Were with the lost node, and ended elsewhere."""
    failed: int
    late_s: float
    """The most that one which moved took longer than it would have taken, begun at the loss."""
    given_s: float
    """After the loss, until the last task was given to the lost node."""


async def measure_kill(*, tell: Callable[[str], None]) -> Section:
    """SIGKILL of the node that does most of the tasks. Raises `MycoswarmError`."""
    tell("a node is killed")
    async with folder() as home, engine(first_s=THINKS_S) as one, engine(first_s=THINKS_S) as two:
        entry = SwarmNode(home / "entry")
        workers = [SwarmNode(home / "left", engine=one), SwarmNode(home / "right", engine=two)]
        async with swarm_of(entry, *workers):
            await entry.sees(*workers, models=True)
            names = {each.node: each.name for each in await entry.view()}

            async def kill(node: str) -> None:
                await next(each for each in workers if each.name == names[node]).kill()

            lost = await lose_serving(entry.port, kill, after_s=2.0)
    return loss_section("The serving node is killed (SIGKILL)", lost, given_s=1.0, late_s=1.0)


def loss_section(title: str, lost: Lost, *, given_s: float, late_s: float) -> Section:
    """With what was promised."""
    return Section(
        title,
        (
            Measurement("last task given to it, after the loss", 1000 * lost.given_s, "ms", most=1000 * given_s),
            Measurement(
                "tasks before their first byte end elsewhere, late by at most",
                1000 * lost.late_s,
                "ms",
                most=1000 * late_s,
                of=lost.moved,
            ),
            Measurement("tasks that failed", lost.failed, "", most=0, of=lost.tasks),
        ),
        (
            f"{RATE:g} tasks a second at a third node; each has its first token after {THINKS_S:g} s. Late: beyond a "
            "whole run that begins at the loss, or with the task if that came later.",
        ),
    )


async def lose_serving(port: int, lose: Callable[[str], Coroutine[Any, Any, None]], *, after_s: float) -> Lost:
    """Ask the node at `port`, meanwhile `lose` the node (its id) that does most, and go on for `after_s`."""
    loop = asyncio.get_running_loop()
    target = node_target("the entry node", port)
    asked: list[asyncio.Task[_Asked]] = []

    async def one() -> _Asked:
        client = await Client.connect(port)
        try:
            began = time.perf_counter()
            return _Asked(began, await client.ask(target.request, token=target.token))
        finally:
            client.close()

    async def ask_for(seconds: float) -> None:
        began = loop.time()
        for number in range(round(seconds * RATE)):
            await asyncio.sleep(max(0.0, began + number / RATE - loop.time()))
            asked.append(loop.create_task(one()))

    try:
        await ask_for(BEFORE_S)
        serving = await _serving(port)
        lost_at = time.perf_counter()
        losing = loop.create_task(lose(serving))
        await ask_for(after_s)
        await losing
        results = await asyncio.gather(*asked)
    finally:
        for each in asked:
            each.cancel()
    attempts = {each["task"]: each["attempts"] for each in await _listed(port)}
    return _judged(results, attempts, lost_at)


class _Asked(msgspec.Struct, frozen=True):
    began: float
    answered: Answered

    @property
    def ended(self) -> float:
        return self.began + self.answered.total_s


def _judged(results: list[_Asked], attempts: dict[str, int], lost_at: float) -> Lost:
    whole = [each for each in results if each.answered.status == 200 and b'"outcome":"done"' in each.answered.body]
    moved = [each for each in whole if attempts.get(_task_of(each.answered), 0)]
    stayed = [each.answered.total_s for each in whole if each not in moved]
    if not moved or not stayed:
        raise MycoswarmError("the node that was lost had no task, or all of them", hint="measure again")
    usual_s = statistics.median(stayed)
    return Lost(
        tasks=len(results),
        moved=len(moved),
        failed=len(results) - len(whole),
        late_s=max(0.0, *(each.ended - max(each.began, lost_at) - usual_s for each in moved)),
        given_s=max(0.0, *(each.began - lost_at for each in moved)),
    )


def _task_of(answered: Answered) -> str:
    """Its id, from the event that says where it was placed."""
    begin = answered.body.index(b"id: ")
    [(_, placed)] = read_events(answered.body[begin : answered.body.index(b"\n\n", begin) + 2])
    assert isinstance(placed, Placed)
    return placed.task


async def _serving(port: int) -> str:
    """The node that does most of the tasks."""
    nodes = [str(each["node"]) for each in await _listed(port) if each["state"] in ("waiting", "running")]
    if not nodes:
        raise MycoswarmError(f"no task is under way: {QUESTION}", hint="measure again")
    return statistics.mode(nodes)


async def _listed(port: int) -> list[dict[str, Any]]:
    client = await Client.connect(port)
    try:
        answered = await client.ask(http_request("GET", f"/api/tasks?limit={LISTED}", port=port))
        return list(answered.json())
    finally:
        client.close()
