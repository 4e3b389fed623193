"""What one entry node bounds: tasks under way, those remembered, tries, hops, and streams that nobody reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
import pytest

from swarm.capability import Capability, Member
from swarm.circuit import FIRST_S
from swarm.dispatch import LEFT_ALONE_S, MAX_ATTEMPTS, NO_NODE_PAUSE_S, Dispatcher
from swarm.membership import BACK_S, DEAD_S
from swarm.peer import Peer
from swarm.routing import RoutingSection
from swarm.simulation.clock import run_virtual
from swarm.task import (
    MAX_HOPS,
    Accepted,
    Ended,
    Finished,
    Lost,
    Order,
    Piece,
    Placed,
    Refused,
    Restarted,
    event_bytes,
    read_events,
)
from swarm.task_record import MAX_LIVE, REMEMBER_S, REMEMBER_TASKS, TaskRecord, TooManyTasks
from swarm.transport import OVER_AT_ONCE, Execution, Receiver
from swarm.worker import Worker
from tests.swarm.token_engine import TokenEngine, ask

Answers = Callable[[str, Order, Receiver], None]


def dispatching(answers: Answers, scenario: Callable[[Dispatcher], Coroutine[Any, Any, None]], *nodes: str) -> None:
    """A dispatcher whose `nodes` answer each order as `answers` does."""

    async def main() -> None:
        members = [Member(node, node, capabilities=(Capability("generate", "m"),)) for node in nodes or ("b",)]
        await scenario(
            Dispatcher("a", routing=RoutingSection(), members=lambda: members, execute_at=_executing(answers))
        )

    run_virtual(main())


def _executing(answers: Answers) -> Callable[[str, Order, Receiver], Execution]:
    def execute_at(node: str, order: Order, receiver: Receiver) -> Execution:
        asyncio.get_running_loop().call_soon(answers, node, order, receiver)
        return OVER_AT_ONCE

    return execute_at


def accepts(node: str, order: Order, receiver: Receiver) -> None:
    receiver.accepted(Accepted(node, order.model))


def does(node: str, order: Order, receiver: Receiver) -> None:
    accepts(node, order, receiver)
    receiver.over(Finished("done"))


def dies(node: str, order: Order, receiver: Receiver) -> None:
    accepts(node, order, receiver)
    receiver.over(Lost("silent"))


async def ended(task: TaskRecord) -> None:
    assert task.runner is not None
    await asyncio.wait([task.runner])


def test_tasks_under_way_are_bounded() -> None:
    async def scenario(dispatcher: Dispatcher) -> None:
        tasks = [dispatcher.submit(ask()) for _ in range(MAX_LIVE)]
        with pytest.raises(TooManyTasks, match=f"{MAX_LIVE} tasks under way"):
            dispatcher.submit(ask())
        dispatcher.cancel(tasks[0])
        await ended(tasks[0])
        dispatcher.submit(ask())
        await dispatcher.close()

    dispatching(accepts, scenario)


def test_tasks_that_ended_are_remembered_for_a_while_and_so_many() -> None:
    async def scenario(dispatcher: Dispatcher) -> None:
        first = dispatcher.submit(ask(key="first"))
        await ended(first)
        assert dispatcher.submit(ask(key="first")) is first
        for _ in range(REMEMBER_TASKS):
            await ended(dispatcher.submit(ask()))
        assert dispatcher.tasks.by_id(first.id) is None
        assert dispatcher.submit(ask(key="first")) is not first
        assert len(list(dispatcher.tasks)) == REMEMBER_TASKS + 1
        await asyncio.sleep(REMEMBER_S)
        last = dispatcher.submit(ask())
        await ended(last)
        assert list(dispatcher.tasks) == [last]

    dispatching(does, scenario)


@pytest.mark.parametrize(("final", "asked"), [(True, 1), (False, 2)], ids=["wrong task", "failing engine"])
def test_task_that_is_wrong_itself_is_tried_on_no_other_node(final: bool, asked: int) -> None:
    tried: list[str] = []

    def answers(node: str, order: Order, receiver: Receiver) -> None:
        tried.append(node)
        accepts(node, order, receiver)
        receiver.over(Finished("failed", "no such voice", final=final))

    async def scenario(dispatcher: Dispatcher) -> None:
        task = dispatcher.submit(ask())
        await ended(task)
        assert (task.state, task.error, len(tried)) == ("failed", "no such voice", asked)

    dispatching(answers, scenario, "b", "c")


@pytest.mark.parametrize(("lost", "state"), [(1, "done"), (100, "failed")], ids=["comes back", "stays away"])
def test_new_task_waits_a_moment_for_the_only_node_that_lives_but_cannot_be_reached(lost: int, state: str) -> None:
    tried: list[float] = []

    def answers(node: str, order: Order, receiver: Receiver) -> None:
        tried.append(asyncio.get_running_loop().time())
        if len(tried) <= lost:
            receiver.over(Lost("silent"))
        else:
            does(node, order, receiver)

    async def scenario(dispatcher: Dispatcher) -> None:
        task = dispatcher.submit(ask())
        await ended(task)
        assert task.state == state
        assert FIRST_S <= tried[1] - tried[0] < 2 * FIRST_S
        assert task.ended_at is not None
        assert task.ended_at - task.submitted_at < BACK_S + NO_NODE_PAUSE_S[1]

    dispatching(answers, scenario)


@pytest.mark.parametrize(
    ("heard_ago_s", "back_after_s", "state", "ended_after_s"),
    [
        (DEAD_S, 1.0, "done", (1.0, 2.0)),
        (DEAD_S, 100.0, "failed", (BACK_S, BACK_S + NO_NODE_PAUSE_S[1])),
        (DEAD_S + BACK_S, 1.0, "failed", (0.0, 0.1)),
    ],
    ids=["comes back", "stays away", "long dead"],
)
def test_new_task_waits_a_moment_for_the_only_node_that_died_just_now(
    heard_ago_s: float, back_after_s: float, state: str, ended_after_s: tuple[float, float]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(100.0)
        began = loop.time()

        def members() -> list[Member]:
            back = loop.time() - began >= back_after_s
            node = Member("b", "b", "alive" if back else "dead", (Capability("generate", "m"),))
            hub = Member("h", "h", roles=("hub",))
            return [msgspec.structs.replace(node, heard_at=began - heard_ago_s), hub]

        def answers(node: str, order: Order, receiver: Receiver) -> None:
            if node == "b":
                does(node, order, receiver)
            else:
                receiver.over(Refused("not_here", "nobody known here can generate"))

        dispatcher = Dispatcher("a", routing=RoutingSection(), members=members, execute_at=_executing(answers))
        task = dispatcher.submit(ask())
        await ended(task)
        assert task.state == state
        assert task.ended_at is not None
        assert ended_after_s[0] <= task.ended_at - task.submitted_at < ended_after_s[1]

    run_virtual(main())


def test_task_under_which_nodes_die_is_given_up() -> None:
    died: list[str] = []

    def answers(node: str, order: Order, receiver: Receiver) -> None:
        died.append(node)
        dies(node, order, receiver)

    async def scenario(dispatcher: Dispatcher) -> None:
        task = dispatcher.submit(ask(deadline_s=600.0))
        await ended(task)
        assert (task.state, task.attempts, len(died)) == ("failed", MAX_ATTEMPTS, MAX_ATTEMPTS)
        assert task.error == f"{MAX_ATTEMPTS} nodes were lost or failed at it"

    dispatching(answers, scenario, *"bcdefghijkl")


@pytest.mark.parametrize(("priority", "left"), [("immediate", "cancelled"), ("background", "waiting")])
def test_only_a_task_for_which_somebody_waits_ends_when_its_last_reader_left(priority: str, left: str) -> None:
    async def scenario(dispatcher: Dispatcher) -> None:
        task = dispatcher.submit(ask(priority=priority, deadline_s=600.0))
        with dispatcher.reading(task):
            with dispatcher.reading(task):
                pass  # one of two left
            await asyncio.sleep(2 * LEFT_ALONE_S)
        await asyncio.sleep(LEFT_ALONE_S - 1.0)
        assert task.state == "waiting"
        with dispatcher.reading(task):  # came back in time
            await asyncio.sleep(2.0)
        assert task.state == "waiting"
        await asyncio.sleep(LEFT_ALONE_S + 1.0)
        assert task.state == left
        await dispatcher.close()

    dispatching(accepts, scenario)


def test_answer_is_numbered_on_over_a_restart() -> None:
    tries: list[str] = []

    def answers(node: str, order: Order, receiver: Receiver) -> None:
        accepts(node, order, receiver)
        receiver.data(event_bytes(order.first_number, Piece(text="x")))
        tries.append(node)
        receiver.over(Lost("silent") if len(tries) == 1 else Finished("done"))

    async def scenario(dispatcher: Dispatcher) -> None:
        task = dispatcher.submit(ask())
        await ended(task)
        events = read_events(task.log.at(0))
        assert [number for number, _ in events] == [1, 2, 3, 4, 5, 6]
        assert [type(event) for _, event in events] == [Placed, Piece, Restarted, Placed, Piece, Ended]
        assert sorted(tries) == ["b", "c"]

    dispatching(answers, scenario, "b", "c")


class Passing:
    """A transport that notes what it is asked to pass on."""

    def __init__(self) -> None:
        self.passed: list[tuple[str, Order]] = []

    def beat(self, node: str, beat: object) -> None:
        pass

    def execute_at(self, node: str, order: Order, receiver: Receiver) -> Execution:
        self.passed.append((node, order))
        return OVER_AT_ONCE


class Heard:
    """A receiver that keeps how it ended."""

    def __init__(self) -> None:
        self.end: Any = None

    def accepted(self, accepted: Accepted) -> None:
        pass

    def data(self, events: bytes) -> None:
        pass

    def over(self, over: Any) -> None:
        self.end = over


@pytest.mark.parametrize(
    ("hops_left", "path", "passed_to"),
    [
        (MAX_HOPS, (), ["gpu"]),
        (1, ("entry",), ["gpu"]),
        (0, ("entry",), []),
        (MAX_HOPS, ("gpu", "entry"), []),  # it was there before: it goes to nobody twice
        (MAX_HOPS, tuple("vwxyz"), []),  # whatever the number says, the way behind it is too long
    ],
)
def test_order_is_passed_on_within_its_hops_and_never_in_a_circle(
    hops_left: int, path: Sequence[str], passed_to: list[str]
) -> None:
    async def scenario() -> None:
        transport = Passing()
        worker = Worker("hub", [])
        hub = Peer("hub", name="hub", incarnation=1, worker=worker, transport=transport)
        gpu = Peer("gpu", name="gpu", incarnation=1, worker=Worker("gpu", [TokenEngine()]), transport=transport)
        hub.heard(gpu._next_beat())
        heard = Heard()
        order = Order("t", ask(), "generate", "", 9.0, hops_left=hops_left, path=tuple(path))
        hub.execute_for("entry", order, heard)
        assert [node for node, _ in transport.passed] == passed_to
        for _, onward in transport.passed:
            assert onward.hops_left == hops_left - 1
            assert onward.path[-1] == "hub"
            assert "entry" in onward.path
        if not passed_to:
            assert isinstance(heard.end, Refused)
            assert heard.end.reason == "not_here"

    run_virtual(scenario())


def test_request_that_may_not_travel_stays_here() -> None:
    asked: list[str] = []

    def answers(node: str, order: Order, receiver: Receiver) -> None:
        asked.append(node)
        does(node, order, receiver)

    async def scenario(dispatcher: Dispatcher) -> None:
        task = dispatcher.submit(msgspec.structs.replace(ask(), hops_left=0))
        await ended(task)
        assert isinstance(task.refused, Refused)
        assert asked == []

    dispatching(answers, scenario)
