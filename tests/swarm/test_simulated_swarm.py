"""Fifty nodes and a thousand tasks on a virtual clock, while daemons are killed, packets lost and switches fail."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from random import Random

import pytest

from swarm.membership import BEAT_S
from swarm.peer import Peer
from swarm.placement import TRIES
from swarm.simulation.clock import run_virtual
from swarm.simulation.network import SimulatedNetwork
from swarm.task import Ended, Piece, Restarted, TaskRequest, read_events
from swarm.worker import TaskEngine, Worker
from tests.swarm.token_engine import TokenEngine, ask, expected, words_of

NODES, TASKS, ARRIVALS_S = 50, 1000, 60.0


class Machine:
    """A machine whose daemon can be killed and started."""

    def __init__(self, swarm: SimulatedSwarm, number: int, engines: list[TaskEngine] | None = None) -> None:
        """Without `engines` the number says what it can do."""
        self.given = engines
        self.id = f"node{number:02}"
        self.number = number
        self.swarm = swarm
        self.incarnation = 0
        self.killed = asyncio.Event()
        self.start()

    def engines(self) -> list[TaskEngine]:
        if self.given is not None:
            return self.given
        if self.number < 5:
            return [TokenEngine("big", size="medium", slots=4, first_s=0.2, word_s=0.02, load_s=2.0)]
        if self.number < 20:
            return [TokenEngine("little", size="tiny", slots=2, first_s=0.3, word_s=0.08)]
        return []

    def start(self) -> None:
        self.incarnation += 1
        self.killed = asyncio.Event()
        self.engines_now = self.engines()
        self.worker = Worker(self.id, self.engines_now)
        self.peer = Peer(
            self.id,
            name=self.id,
            incarnation=self.incarnation,
            worker=self.worker,
            transport=self.swarm.network.transport(self.id),
            roles=("hub",) if self.number % 10 == 0 else ("worker",),
            addresses=("10.0.0.1:1",),
        )
        self.swarm.network.attach(self.id, self.peer)
        for other in self.swarm.machines:
            if other is not self:
                self.peer.hinted(other.id, ("10.0.0.1:1",))
        self.beating = asyncio.ensure_future(self.peer.run())

    async def kill(self) -> None:
        self.swarm.network.kill(self.id)
        self.killed.set()
        self.beating.cancel()
        await asyncio.gather(self.beating, self.peer.close(), return_exceptions=True)


class SimulatedSwarm:
    def __init__(self, seed: int, tasks: int = TASKS, nodes: int = NODES) -> None:
        self.tasks = tasks
        self.random = Random(seed)
        self.network = SimulatedNetwork(self.random, delay_s=(0.0005, 0.02), loss=0.03)
        self.machines: list[Machine] = []
        for number in range(nodes):
            self.machines.append(Machine(self, number))
        self.outcomes: Counter[str] = Counter()
        self.restarts = 0
        self.kills = 0

    async def run(self) -> None:
        await asyncio.sleep(2 * BEAT_S)
        clients = []
        troubles = asyncio.ensure_future(self.troubles())
        for number in range(self.tasks):
            clients.append(asyncio.ensure_future(self.client(number)))
            await asyncio.sleep(self.random.expovariate(TASKS / ARRIVALS_S))
        outcomes = await asyncio.gather(*clients)
        self.outcomes.update(outcomes)
        troubles.cancel()
        self.network.loss = 0.0
        self.network.heal()
        await asyncio.sleep(10.0)
        for machine in self.machines:
            assert machine.peer.dispatcher.tasks.live() == (), f"{machine.id} still has tasks"
            for engine in machine.engines_now:
                assert isinstance(engine, TokenEngine)
                assert engine.running == 0, f"{machine.id} works for nobody"
                assert engine.most_at_once <= engine.slots
        alive = [m for m in self.machines if not m.killed.is_set()]
        for machine in alive:  # nobody dead is believed to live, nobody living is believed dead
            seen = {member.node for member in machine.peer.members() if member.state == "alive"}
            assert seen == {each.id for each in alive}, machine.id
        for machine in self.machines:
            if not machine.killed.is_set():
                await machine.kill()

    async def troubles(self) -> None:
        while True:
            await asyncio.sleep(self.random.expovariate(1 / 1.5))
            if self.random.random() < 0.15:
                self.network.part(m.id for m in self.random.sample(self.machines, NODES // 3))
                await asyncio.sleep(self.random.uniform(0.5, 8.0))
                self.network.heal()
                continue
            machine = self.random.choice([m for m in self.machines if not m.killed.is_set()])
            self.kills += 1
            await machine.kill()
            asyncio.get_running_loop().call_later(self.random.uniform(0.5, 10.0), machine.start)

    async def client(self, number: int) -> str:
        """A program that asks any node it finds, and asks another one when that dies; with one key all the time."""
        request = ask(
            self.random.randint(1, 40),
            key=f"task{number}",
            priority=self.random.choices(("immediate", "background", "batch"), (8, 1, 1))[0],
            deadline_s=40.0,
            model="big" if self.random.random() < 0.1 else "",
            prefix=f"talk{number % 30}" if number % 3 == 0 else "",
        )
        loop = asyncio.get_running_loop()
        give_up = loop.time() + 60.0
        while loop.time() < give_up:
            machine = self.random.choice(self.machines)
            if machine.killed.is_set():
                await asyncio.sleep(0.05)
                continue
            outcome = await self.follow(machine, request)
            if outcome is not None:
                return outcome
            await asyncio.sleep(self.random.uniform(0.05, 0.5))
        return "refused"

    async def follow(self, machine: Machine, request: TaskRequest) -> str | None:
        """The outcome; None when it was refused or the entry node died, so that it must be asked for again."""
        task = machine.peer.dispatcher.submit(request)
        killed = asyncio.ensure_future(machine.killed.wait())
        data = b""
        try:
            with machine.peer.dispatcher.reading(task):
                while not task.log.finished or len(data) < len(task.log):
                    reading = asyncio.ensure_future(task.log.read(len(data)))
                    await asyncio.wait([killed, reading], return_when=asyncio.FIRST_COMPLETED)
                    if machine.killed.is_set():
                        reading.cancel()
                        return None
                    data += reading.result()
        finally:
            killed.cancel()
        if task.refused is not None:
            return None
        return self.check(request, data)

    def check(self, request: TaskRequest, data: bytes) -> str:
        events = read_events(data)
        assert [number for number, _ in events] == list(range(1, len(events) + 1))
        ends = [event for _, event in events if isinstance(event, Ended)]
        assert len(ends) == 1
        assert events[-1][1] is ends[0]
        text = ""
        for _, event in events:
            if isinstance(event, Restarted):
                text, self.restarts = "", self.restarts + 1
            elif isinstance(event, Piece):
                text += event.text
        if ends[0].outcome == "done":
            assert text == expected(words_of(request))
        return ends[0].outcome


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_task_ends_once_or_is_reported_failed(seed: int) -> None:
    async def scenario() -> SimulatedSwarm:
        swarm = SimulatedSwarm(seed)
        await swarm.run()
        return swarm

    began = time.process_time()
    swarm = run_virtual(scenario())
    print(
        seed,
        dict(swarm.outcomes),
        f"{swarm.kills} kills, {swarm.restarts} restarts, {time.process_time() - began:.1f} s",
    )
    assert sum(swarm.outcomes.values()) == TASKS
    assert swarm.outcomes["done"] >= 0.97 * TASKS
    assert swarm.kills >= 15
    assert swarm.restarts >= 5


def test_a_seed_gives_the_same_run_every_time() -> None:
    async def scenario() -> tuple[object, ...]:
        swarm = SimulatedSwarm(7, tasks=100)
        await swarm.run()
        return swarm.outcomes, swarm.kills, swarm.restarts, asyncio.get_running_loop().time()

    assert run_virtual(scenario()) == run_virtual(scenario())


def _served_beside(known: TokenEngine, new: TokenEngine, *, tasks: int = 20) -> tuple[int, list[str]]:
    """How many of so many tasks, one after the other, a machine serves that joins beside one that is known; and how
    each ended."""

    async def scenario() -> tuple[int, list[str]]:
        swarm = SimulatedSwarm(5, nodes=0)
        swarm.network.loss = 0.0
        outcomes: list[str] = []

        async def join(number: int, engines: list[TaskEngine]) -> None:
            swarm.machines.append(Machine(swarm, number, engines))
            await asyncio.sleep(2 * BEAT_S)

        async def ask_at_the_entry(key: str) -> None:
            outcome = await swarm.follow(swarm.machines[0], ask(20, key=key, deadline_s=60.0))
            assert outcome is not None
            outcomes.append(outcome)
            await asyncio.sleep(2 * BEAT_S)  # until the entry has heard what it took

        await join(0, [])
        await join(1, [known])
        for number in range(3):
            await ask_at_the_entry(f"known{number}")
        before = known.started
        await join(2, [new])
        for number in range(tasks):
            await ask_at_the_entry(f"new{number}")
        assert known.started - before + new.started >= tasks
        for machine in swarm.machines:
            await machine.kill()
        return new.started, outcomes

    return run_virtual(scenario())


def test_fast_machine_that_joins_beside_a_slow_one_soon_serves_nearly_all() -> None:
    slow, fast = TokenEngine(first_s=1.0, word_s=0.5), TokenEngine(first_s=0.1, word_s=0.02, load_s=8.0)
    served, outcomes = _served_beside(slow, fast)
    assert served == 20
    assert set(outcomes) == {"done"}


def test_slow_machine_that_joins_beside_a_fast_one_serves_one_task_and_no_more() -> None:
    slow, fast = TokenEngine(first_s=1.0, word_s=0.5), TokenEngine(first_s=0.5, word_s=0.1)
    served, outcomes = _served_beside(fast, slow)
    assert served == 1
    assert set(outcomes) == {"done"}


def test_slow_machine_is_not_tried_at_all_where_answers_come_within_a_second() -> None:
    slow, fast = TokenEngine(first_s=1.0, word_s=0.5), TokenEngine(first_s=0.1, word_s=0.02)
    served, _ = _served_beside(fast, slow)
    assert served == 0


def test_machine_too_slow_for_the_deadline_costs_one_task() -> None:
    stuck, fast = TokenEngine(first_s=300.0), TokenEngine(first_s=0.5, word_s=0.1)
    served, outcomes = _served_beside(fast, stuck)
    assert served == 1
    assert sorted(outcomes) == [*["done"] * 22, "expired"]


def test_machine_that_fails_at_everything_costs_no_task_and_is_left_alone() -> None:
    broken, fast = TokenEngine(break_after=0), TokenEngine(first_s=0.5, word_s=0.1)
    served, outcomes = _served_beside(fast, broken)
    assert served == TRIES
    assert set(outcomes) == {"done"}
