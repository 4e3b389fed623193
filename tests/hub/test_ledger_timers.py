"""Hubs that share their timers: real ledgers, virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hub.ledger_timers import LedgerTimers
from hub.timer_book import OWNER_CHECK_S, RING_EVERY_S
from hub.timers import Timers
from swarm.capability import Member
from swarm.errors import StorageError
from swarm.ledger.ledger import Ledger
from tests.hub.test_timers import MemoryStore, VirtualClock
from tests.swarm.ledger.nodes import Swarm, meet
from tests.swarm.plain_swarm import until


class Hub:
    """One of several hubs, whose times pass together."""

    def __init__(self, ledger: Ledger, clock: VirtualClock) -> None:
        self.ledger = ledger
        self.role = "hub"
        self.alive: dict[str, str] = {}
        """State of the other hubs, by id."""
        self.before = MemoryStore()
        self.rang: list[str] = []
        self.shared = LedgerTimers(ledger, self._members, before=self.before)
        self.shared._begun -= 1000.0  # it heard the others long since
        self.timers = Timers(self.shared, clock, sharing=self.shared)
        self.running = asyncio.create_task(self.timers.run(self._announce))

    async def end(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    def _members(self) -> list[Member]:
        here = Member(node=self.ledger.node, name="here", roles=(self.role,), here=True)
        others = [
            Member(node=node, name="other", roles=(self.role,), state=state)  # type: ignore[arg-type]
            for node, state in self.alive.items()
        ]
        return [here, *others]

    async def _announce(self, satellite: str, text: str) -> bool:
        self.rang.append(text)
        return True

    def has(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.timers.all()) == count


@asynccontextmanager
async def hubs(swarm: Swarm, clock: VirtualClock, count: int = 2) -> AsyncIterator[list[Hub]]:
    first = await swarm.found()
    ledgers = [first, *[await swarm.hub(first) for _ in range(count - 1)]]
    for ledger in ledgers:
        await meet(first, ledger) if ledger is not first else None
    made = [Hub(ledger, clock) for ledger in ledgers]
    for hub in made:
        hub.alive = {other.ledger.node: "alive" for other in made if other is not hub}
    try:
        yield made
    finally:
        for hub in made:
            await hub.end()


async def all_meet(*every: Hub) -> None:
    for giver in every:
        for taker in every:
            if giver is not taker:
                await meet(giver.ledger, taker.ledger)


def scenario(folder: Path, test: Callable[[Swarm, VirtualClock], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Swarm(folder) as swarm:
            await test(swarm, VirtualClock())

    asyncio.run(main())


def test_timer_set_at_one_hub_is_known_at_all_and_rings_at_that_one(tmp_path: Path) -> None:
    async def test(swarm: Swarm, clock: VirtualClock) -> None:
        async with hubs(swarm, clock) as [one, two]:
            await one.timers.start(60.0, name="tea")
            await meet(one.ledger, two.ledger)
            await until(two.has(1))
            await clock.advance(60 + RING_EVERY_S)
            assert len(one.rang) >= 1 and two.rang == []
            assert await two.timers.silence("") == 1
            await meet(two.ledger, one.ledger)
            await until(lambda: not one.timers._book.ids())

    scenario(tmp_path, test)


def test_timer_of_a_hub_that_died_rings_at_exactly_one_other(tmp_path: Path) -> None:
    async def test(swarm: Swarm, clock: VirtualClock) -> None:
        async with hubs(swarm, clock, 3) as [one, two, three]:
            await one.timers.start(60.0, name="tea")
            await one.timers.start(90.0, name="eggs")
            await all_meet(one, two, three)
            for hub in (two, three):
                await until(hub.has(2))
                hub.alive[one.ledger.node] = "dead"
            await one.end()
            await clock.advance(65.0)
            assert sorted(map(len, (two.rang, three.rang))) == [0, 1]
            assert one.rang == []

    scenario(tmp_path, test)


def test_of_satellites_that_are_left_without_a_hub_one_rings_a_timer(tmp_path: Path) -> None:
    async def test(swarm: Swarm, clock: VirtualClock) -> None:
        async with hubs(swarm, clock, 4) as [hub, *satellites]:
            for name in ("tea", "eggs", "rice"):
                await hub.timers.start(60.0, name=name)
            await all_meet(hub, *satellites)
            for each in satellites:
                await until(each.has(3))
                each.role = "edge"
                each.alive[hub.ledger.node] = "dead"
            await hub.end()
            await clock.advance(61.0)
            assert sum(len(each.rang) for each in satellites) == 3

    scenario(tmp_path, test)


def test_hub_takes_over_a_timer_that_its_owner_did_not_live_to_ring(tmp_path: Path) -> None:
    async def test(swarm: Swarm, clock: VirtualClock) -> None:
        async with hubs(swarm, clock) as [one, two]:
            await one.timers.start(60.0, name="tea")
            await meet(one.ledger, two.ledger)
            await until(two.has(1))
            await one.end()
            await clock.advance(61.0)
            assert two.rang == []
            two.alive[one.ledger.node] = "dead"
            await clock.advance(OWNER_CHECK_S)
            assert len(two.rang) == 1

    scenario(tmp_path, test)


def test_change_and_cancel_at_one_hub_reach_the_others(tmp_path: Path) -> None:
    async def test(swarm: Swarm, clock: VirtualClock) -> None:
        async with hubs(swarm, clock) as [one, two]:
            kept = await one.timers.start(60.0)
            assert kept is not None and kept.saved
            await meet(one.ledger, two.ledger)
            await until(two.has(1))
            assert await two.timers.change(kept.timer.id, 30.0)
            await meet(two.ledger, one.ledger)
            await until(lambda: one.timers.all()[0][1] == pytest.approx(90.0))
            await two.timers.cancel(kept.timer.id)
            await meet(two.ledger, one.ledger)
            await until(one.has(0))
            await clock.advance(100.0)
            assert one.rang == two.rang == []

    scenario(tmp_path, test)


def test_clock_that_is_set_at_one_hub_moves_no_timer_of_another(tmp_path: Path) -> None:
    async def test(swarm: Swarm, clock: VirtualClock) -> None:
        async with hubs(swarm, clock) as [one, two]:
            await one.end()
            own = VirtualClock(wall=clock.wall() - 3600.0)  # a board that has not got the time yet
            board = Hub(two.ledger, own)
            try:
                await one.timers.start(600.0)
                await meet(one.ledger, board.ledger)
                await until(board.has(1))
                own.set_wall(3600.0)
                await own.advance(31.0)
                assert board.timers.all()[0][1] == pytest.approx(600.0 - 31.0)
                assert board.ledger.timers.snapshot() == one.ledger.timers.snapshot()
            finally:
                await board.end()

    scenario(tmp_path, test)


def test_timers_of_before_joining_come_along(tmp_path: Path) -> None:
    async def test(swarm: Swarm, clock: VirtualClock) -> None:
        ledger = await swarm.found()
        hub = Hub(ledger, clock)
        hub.before.rows["a"] = {"id": "a", "duration_s": 60.0, "ends_at": clock.wall() + 60.0, "name": "tea"}
        try:
            await until(hub.has(1))
            assert hub.before.rows == {}
            assert ledger.timers.get("a")["hub"] == ledger.node
        finally:
            await hub.end()

    scenario(tmp_path, test)


def test_timer_counts_before_the_ledger_has_come(tmp_path: Path) -> None:
    async def test(swarm: Swarm, clock: VirtualClock) -> None:
        first = await swarm.found()
        hub = Hub(await swarm.open(), clock)
        hub.before.rows["a"] = {"id": "a", "duration_s": 60.0, "ends_at": clock.wall() + 60.0}
        try:
            kept = await hub.timers.start(30.0)
            assert kept is not None and not kept.saved
            await until(hub.has(2))
            await first.enrol(hub.ledger.node, name="hub", roles=("hub",))
            await first.put("timers", "b", {"id": "b", "duration_s": 60.0, "ends_at": clock.wall() + 60.0})
            await meet(first, hub.ledger)
            await until(hub.has(3))
            assert hub.before.rows == {}
            await clock.advance(61.0)
            assert len(hub.rang) >= 2
        finally:
            await hub.end()

    scenario(tmp_path, test)


def test_timer_that_is_cancelled_while_the_disk_is_full_does_not_come_back(tmp_path: Path) -> None:
    async def test(swarm: Swarm, clock: VirtualClock) -> None:
        async with hubs(swarm, clock) as [one, two]:
            kept = await one.timers.start(60.0)
            assert kept is not None

            async def full(timer_id: str) -> None:
                raise StorageError("disk full")

            one.shared.delete_timer = full  # type: ignore[method-assign]
            await one.timers.cancel(kept.timer.id)
            await meet(one.ledger, two.ledger)
            await two.timers.start(90.0)
            await meet(two.ledger, one.ledger)
            await until(lambda: [timer.duration_s for timer, _ in one.timers.all()] == [90.0])

    scenario(tmp_path, test)
