"""The task API over real HTTP on loopback, through links to other nodes, while nodes are killed."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from swarm.membership import Beat
from swarm.routing import RoutingSection, Rule
from swarm.task import Ended, Order, Piece, Placed, Restarted, TaskEvent, TaskRequest, read_events
from swarm.task_api import messages_of
from swarm.transport import Execution, Receiver
from tests.swarm.plain_swarm import TaskNode, link_to, now, until
from tests.swarm.token_engine import TokenEngine, ask, expected

SSE = {"Accept": "text/event-stream"}
Scenario = Callable[[aiohttp.ClientSession], Coroutine[Any, Any, None]]


def http(scenario: Scenario) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            await scenario(session)

    asyncio.run(main())


def body(request: TaskRequest) -> bytes:
    return msgspec.json.encode(request)


async def events_of(response: aiohttp.ClientResponse) -> list[tuple[int, TaskEvent]]:
    assert response.status == 200, await response.text()
    return read_events(await response.read())


def text_of(events: list[tuple[int, TaskEvent]]) -> str:
    """What a client shows: pieces before a restart are void."""
    text = ""
    for _, event in events:
        text = "" if isinstance(event, Restarted) else text + event.text if isinstance(event, Piece) else text
    return text


def test_question_at_a_node_without_engines_is_answered_by_another_and_streamed() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with TaskNode("a") as a, TaskNode("b", [TokenEngine()]) as b:
            await a.meet(b)
            async with session.post(f"{a.url}/api/tasks", data=body(ask(4)), headers=SSE) as response:
                assert response.content_type == "text/event-stream"
                events = await events_of(response)
            task = response.headers["X-Task-Id"]
            assert [number for number, _ in events] == [1, 2, 3, 4, 5, 6]
            assert events[0][1] == Placed(task, "b", "tiny")
            assert events[-1][1] == Ended("done")
            assert text_of(events) == expected(4)
            async with session.get(f"{a.url}/api/tasks/{task}") as response:
                status = await response.json()
            assert (status["state"], status["node"], status["events"]) == ("done", "b", 6)
            assert status["why"][0].startswith("b: chosen, tiny in ")
            assert status["why"][1] == "a: does not generate"

    http(scenario)


def test_receipt_status_stream_and_list() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        engine = TokenEngine(hold_after=2)
        async with TaskNode("a", [engine]) as a:
            async with session.post(f"{a.url}/api/tasks", data=body(ask(4))) as response:
                assert response.status == 202
                receipt = await response.json()
                assert response.headers["Location"] == f"/api/tasks/{receipt['task']}"
            assert (receipt["node"], receipt["model"]) == ("a", "tiny")
            await engine.held.wait()
            async with session.get(f"{a.url}/api/tasks") as response:
                assert [(each["task"], each["state"]) for each in await response.json()] == [
                    (receipt["task"], "running")
                ]
            engine.go_on.set()
            async with session.get(f"{a.url}/api/tasks/{receipt['task']}/stream") as response:
                assert text_of(await events_of(response)) == expected(4)

    http(scenario)


def test_stream_is_resumed_by_number_after_the_client_left() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        engine = TokenEngine(hold_after=3)
        async with TaskNode("a") as a, TaskNode("b", [engine]) as b:
            await a.meet(b)
            response = await session.post(f"{a.url}/api/tasks", data=body(ask(6)), headers=SSE)
            seen = b""
            while b"w2" not in seen:
                seen += await response.content.readany()
            response.close()
            engine.go_on.set()
            url = f"{a.url}/api/tasks/{response.headers['X-Task-Id']}/stream"
            last = read_events(seen)[-1][0]
            async with session.get(url, headers={"Last-Event-ID": str(last)}) as response:
                rest = await events_of(response)
            assert [number for number, _ in rest] == list(range(last + 1, 9))
            assert text_of(read_events(seen) + rest) == expected(6)
            async with session.get(url, params={"after": "7"}) as response:
                assert await events_of(response) == [(8, Ended("done"))]
            assert engine.started == 1

    http(scenario)


def test_websocket_carries_the_same_events_and_can_cancel() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        engine = TokenEngine(hold_after=2)
        async with TaskNode("a") as a, TaskNode("b", [engine]) as b:
            await a.meet(b)
            async with session.post(f"{a.url}/api/tasks", data=body(ask(4))) as response:
                task = (await response.json())["task"]
            async with session.ws_connect(f"{a.url}/api/tasks/{task}/stream") as socket:
                got = [json.loads((await socket.receive()).data) for _ in range(3)]
                assert [each["number"] for each in got] == [1, 2, 3]
                assert got[2]["event"] == {"event": "piece", "text": "w1  "}
                await socket.send_str("cancel")
                assert json.loads((await socket.receive()).data) == {
                    "number": 4,
                    "event": {"event": "ended", "outcome": "cancelled"},
                }
                assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            await until(lambda: engine.cancelled == 1)
            async with session.ws_connect(f"{a.url}/api/tasks/{task}/stream?after=3") as socket:
                assert json.loads((await socket.receive()).data)["number"] == 4

    http(scenario)


def test_delete_cancels_down_to_the_engine_of_another_node() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        engine = TokenEngine(hold_after=1)
        async with TaskNode("a") as a, TaskNode("b", [engine]) as b:
            await a.meet(b)
            async with session.post(f"{a.url}/api/tasks", data=body(ask())) as response:
                task = (await response.json())["task"]
            await engine.held.wait()
            async with session.delete(f"{a.url}/api/tasks/{task}") as response:
                assert (await response.json())["state"] == "cancelled"
            await until(lambda: engine.cancelled == 1 and engine.running == 0)

    http(scenario)


def test_full_swarm_answers_503_with_an_estimate_and_the_reasons() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        engine = TokenEngine(slots=1, hold_after=0)
        async with (
            TaskNode("a") as a,
            TaskNode("b", [engine], waiting={"immediate": 0, "batch": 0, "background": 0}) as b,
        ):
            await a.meet(b)
            async with session.post(f"{a.url}/api/tasks", data=body(ask())) as response:
                assert response.status == 202
            for headers in (SSE, {}):
                async with session.post(f"{a.url}/api/tasks", data=body(ask()), headers=headers) as response:
                    assert response.status == 503
                    refusal = await response.json()
                    assert int(response.headers["Retry-After"]) >= refusal["retry_after_s"] > 0
                    assert refusal["error"] == "all nodes that generate are full"
                    assert "b: is full" in refusal["why"]

    http(scenario)


def test_same_key_is_the_same_task_and_another_content_a_conflict() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        engine = TokenEngine()
        async with TaskNode("a", [engine]) as a:
            url, keyed = f"{a.url}/api/tasks", {"Idempotency-Key": "k1"}
            tasks = []
            for _ in range(2):
                async with session.post(url, data=body(ask(3)), headers=keyed) as response:
                    tasks.append((await response.json())["task"])
            assert tasks[0] == tasks[1]
            async with session.post(url, data=body(ask(3)), headers={**keyed, **SSE}) as response:
                assert text_of(await events_of(response)) == expected(3)
            assert engine.started == 1
            async with session.post(url, data=body(ask(4)), headers=keyed) as response:
                assert response.status == 409

    http(scenario)


def test_same_key_at_another_entry_finds_the_run_that_is_under_way() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        engine = TokenEngine(hold_after=2)
        async with TaskNode("b", [engine]) as b, TaskNode("c") as c:
            async with TaskNode("a") as a:
                await a.meet(b)
                await c.meet(b)
                async with session.post(f"{a.url}/api/tasks", data=body(ask(5, key="k"))) as response:
                    assert response.status == 202
                await engine.held.wait()
                stream = asyncio.ensure_future(
                    session.post(f"{c.url}/api/tasks", data=body(ask(5, key="k")), headers=SSE)
                )
                await stream
            engine.go_on.set()
            assert text_of(await events_of(await stream)) == expected(5)
            assert engine.started == 1

    http(scenario)


@pytest.mark.parametrize(
    ("sent", "headers", "status", "said"),
    [
        (b"", {}, 400, "not a task"),
        (b"[]", {}, 400, "not a task"),
        (b'{"type": "chat", "priority": "urgent"}', {}, 400, "urgent"),
        (b'{"type": "chat", "hops_left": 99}', {}, 400, "hops_left"),
        (b'{"type": "dance"}', {}, 422, "no rule for a task of type dance"),
        (b'{"type": "transcribe"}', {}, 503, "no node of this swarm can transcribe"),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400, ""),
        (b"\x1f\x8b" + b"x" * 40, {"Content-Encoding": "gzip"}, 400, ""),
        (b'{"type": "chat", "payload": "' + b"x" * 17_000_000 + b'"}', {}, 413, "larger than 16 MB"),
        (b"{}", {"Idempotency-Key": "k" * 300}, 400, ""),
    ],
)
def test_bad_submissions_are_refused_with_a_reason(
    sent: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with TaskNode("a", [TokenEngine()]) as a:
            async with session.post(f"{a.url}/api/tasks", data=sent, headers=headers) as response:
                assert response.status == status, await response.text()
                assert said in await response.text()
            async with session.get(f"{a.url}/api/tasks/nope/stream") as response:
                assert response.status == 404

    http(scenario)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_bodies_are_read_and_bombs_refused(encoding: str) -> None:
    def compressed(data: bytes) -> bytes:
        return zlib.compress(data, wbits=31 if encoding == "gzip" else 15)

    async def scenario(session: aiohttp.ClientSession) -> None:
        headers = {"Content-Encoding": encoding}
        bomb = compressed(b'{"type": "chat", "payload": "' + bytes(300 * 1024**2))
        async with TaskNode("a", [TokenEngine()]) as a:
            url = f"{a.url}/api/tasks"
            async with session.post(url, data=compressed(body(ask(3))), headers={**headers, **SSE}) as response:
                assert text_of(await events_of(response)) == expected(3)
            tracemalloc.start()
            try:
                async with session.post(url, data=bomb, headers=headers) as response:
                    assert response.status == 413
                assert tracemalloc.get_traced_memory()[1] < 40 * 1024**2
            finally:
                tracemalloc.stop()

    http(scenario)


# ---- several nodes


def test_engine_that_fails_before_the_first_piece_is_replaced_without_a_word() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        good = TokenEngine(word_s=0.01)
        async with TaskNode("a", [TokenEngine(break_after=0)]) as a, TaskNode("b", [good]) as b:
            await a.meet(b)
            async with session.post(f"{a.url}/api/tasks", data=body(ask(3)), headers=SSE) as response:
                events = await events_of(response)
            assert text_of(events) == expected(3)
            assert not any(isinstance(event, Restarted) for _, event in events)

    http(scenario)


def test_failure_of_the_only_engine_is_told() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with TaskNode("a", [TokenEngine(break_after=2)]) as a:
            async with session.post(f"{a.url}/api/tasks", data=body(ask(3)), headers=SSE) as response:
                events = await events_of(response)
            assert events[-1][1] == Ended("failed", "the model broke", "mend it")

    http(scenario)


def test_deadline_is_kept_and_stops_the_engine_of_the_other_node() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        engine = TokenEngine(hold_after=1)
        async with TaskNode("a") as a, TaskNode("b", [engine]) as b:
            await a.meet(b)
            async with session.post(f"{a.url}/api/tasks", data=body(ask(deadline_s=0.2)), headers=SSE) as response:
                end = (await events_of(response))[-1][1]
            assert isinstance(end, Ended)
            assert end.outcome == "expired"
            await until(lambda: engine.running == 0)

    http(scenario)


def test_node_that_knows_only_a_hub_is_served_through_it() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        engine = TokenEngine()
        async with TaskNode("new") as new, TaskNode("hub") as hub, TaskNode("gpu", [engine], roles=("gpu",)) as gpu:
            await hub.meet(gpu)
            await new.meet(hub)
            async with session.post(f"{new.url}/api/tasks", data=body(ask(3)), headers=SSE) as response:
                events = await events_of(response)
            assert text_of(events) == expected(3)
            assert isinstance(events[0][1], Placed)
            assert events[0][1].node == "gpu"
            no_hops = msgspec.structs.replace(ask(3), hops_left=1)
            async with session.post(f"{new.url}/api/tasks", data=body(no_hops), headers=SSE) as response:
                assert response.status == 503

    http(scenario)


def test_private_task_goes_to_no_hub_that_is_not_marked_for_such(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with TaskNode("new") as new, TaskNode("hub") as hub:
            told: list[Order] = []
            pass_on = hub.peer.execute_for

            def noting(peer: str, order: Order, receiver: Receiver) -> Execution:
                told.append(order)
                return pass_on(peer, order, receiver)

            monkeypatch.setattr(hub.peer, "execute_for", noting)
            await new.meet(hub)
            for privacy, orders in (("private", 0), ("home", 1)):
                async with session.post(f"{new.url}/api/tasks", data=body(ask(3, privacy=privacy))) as response:
                    assert response.status == 503
                assert len(told) == orders

    http(scenario)


def test_what_tasks_ask_in_all_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        monkeypatch.setattr("swarm.task_record.MAX_LIVE_BYTES", 30)
        async with TaskNode("a", [TokenEngine(hold_after=0)]) as a:
            url, statuses, tasks = f"{a.url}/api/tasks", [], []
            for _ in range(3):
                async with session.post(url, data=body(ask(3))) as response:
                    statuses.append(response.status)
                    tasks.append((await response.json()).get("task"))
            assert statuses == [202, 202, 503]
            async with session.delete(f"{url}/{tasks[0]}"):
                pass
            async with session.post(url, data=body(ask(3))) as response:
                assert response.status == 202

    http(scenario)


def test_stand_in_that_a_person_allowed_is_named_in_the_stream() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        routing = RoutingSection((Rule("chat", model="big", fallback_models=("tiny",)),))
        async with TaskNode("a", routing=routing) as a, TaskNode("b", [TokenEngine()]) as b:
            await a.meet(b)
            async with session.post(f"{a.url}/api/tasks", data=body(ask()), headers=SSE) as response:
                placed = (await events_of(response))[0][1]
            assert isinstance(placed, Placed)
            assert (placed.model, placed.instead_of) == ("tiny", "big")
            async with session.post(f"{a.url}/api/tasks", data=body(ask(model="other"))) as response:
                assert response.status == 503

    http(scenario)


def test_broken_connection_costs_nothing_when_the_node_lives() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        engine = TokenEngine(hold_after=3)
        async with TaskNode("a") as a, TaskNode("b", [engine]) as b:
            await a.meet(b)
            response = await session.post(f"{a.url}/api/tasks", data=body(ask(6)), headers=SSE)
            await engine.held.wait()
            link = a.transport._links["b"]
            assert link.wire.connection is not None
            link.wire.connection.abort()
            engine.go_on.set()
            events = await events_of(response)
            assert text_of(events) == expected(6)
            assert not any(isinstance(event, Restarted) for _, event in events)
            assert [number for number, _ in events] == list(range(1, 9))
            assert engine.started == 1

    http(scenario)


def test_node_is_used_right_after_it_is_announced_and_not_after_it_left() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with TaskNode("a") as a:
            async with TaskNode("b", [TokenEngine()]) as b:
                began = now()
                a.peer.hinted("b", (b.address,))
                await until(lambda: a.peer.membership.state("b", now()) == "alive")
                assert now() - began < 5.0
                async with session.post(f"{a.url}/api/tasks", data=body(ask()), headers=SSE) as response:
                    assert text_of(await events_of(response)) == expected(5)
            await until(lambda: a.peer.membership.state("b", now()) == "dead")
            async with session.post(f"{a.url}/api/tasks", data=body(ask()), headers=SSE) as response:
                assert response.status == 503

    http(scenario)


def test_peer_that_speaks_as_another_loses_its_link() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with TaskNode("a") as a:
            for record in (bytes(9), b"\x03" + bytes(4) + (2).to_bytes(4, "big") + b"{}"):
                async with link_to(a.address, "rogue") as link:
                    link.set_protocol(asyncio.Protocol())
                    link.write(record)
                    await until(link.is_closing)
            async with session.get(f"{a.url}/v1/link") as response:
                assert response.status == 403
            async with session.get(f"{a.url}/v1/link", headers={"X-Node": "b"}) as response:
                assert response.status == 426
            assert a.peer.membership.members(now()) == ()

    http(scenario)


# ---- killed processes


@asynccontextmanager
async def process(node: str, **options: object) -> AsyncIterator[tuple[subprocess.Popen[str], str]]:
    """A node in a process of its own, and its address."""
    program = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-m", "tests.swarm.plain_swarm", json.dumps({"node": node, **options})],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        port = await asyncio.to_thread(program.stdout.readline)
        yield program, f"127.0.0.1:{port.strip()}"
    finally:
        program.kill()
        program.wait()
        assert program.stdout is not None
        program.stdout.close()


@pytest.mark.parametrize("first_byte", [False, True])
def test_kill_of_the_serving_process_is_survived(first_byte: bool) -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        # The process is the faster one by what it measured, so it is chosen first; the other one stands by.
        slow = TokenEngine()
        async with (
            TaskNode("a") as a,
            TaskNode("b", [slow]) as b,
            process("c", first_s=0.0 if first_byte else 60.0, word_s=60.0) as (killed, address),
        ):
            a.peer.hinted("c", (address,))
            await until(lambda: a.peer.membership.state("c", now()) == "alive")
            response = asyncio.ensure_future(session.post(f"{a.url}/api/tasks", data=body(ask(4)), headers=SSE))
            await until(lambda: a.transport._links["c"].end.orders == 1)
            if first_byte:
                await until(lambda: next(iter(a.peer.dispatcher.tasks)).state == "running")
            else:
                await until(lambda: next(iter(a.peer.dispatcher.tasks)).state == "waiting")
            await a.meet(b)
            killed.send_signal(signal.SIGKILL)
            began = now()
            events = await events_of(await response)
            late_s = now() - began
            assert text_of(events) == expected(4)
            restarts = [event for _, event in events if isinstance(event, Restarted)]
            assert len(restarts) == (1 if first_byte else 0)
            assert [number for number, _ in events] == list(range(1, len(events) + 1))
            assert a.peer.membership.state("c", now()) == "dead"
            print(f"moved on after {late_s * 1000:.0f} ms")
            async with session.post(f"{a.url}/api/tasks", data=body(ask(4)), headers=SSE) as again:
                placed = (await events_of(again))[0][1]
            assert isinstance(placed, Placed)
            assert placed.node == "b"

    http(scenario)


def test_stopped_process_is_silent_and_its_tasks_move_on() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with (
            TaskNode("a") as a,
            TaskNode("b", [TokenEngine()]) as b,
            process("c", first_s=60.0) as (stopped, address),
        ):
            a.peer.hinted("c", (address,))
            await until(lambda: a.peer.membership.state("c", now()) == "alive")
            response = asyncio.ensure_future(session.post(f"{a.url}/api/tasks", data=body(ask(4)), headers=SSE))
            await until(lambda: a.transport._links["c"].end.orders == 1)
            await a.meet(b)
            stopped.send_signal(signal.SIGSTOP)
            began = now()
            assert text_of(await events_of(await response)) == expected(4)
            print(f"moved on after {now() - began:.2f} s of silence")
            await until(lambda: a.peer.membership.state("c", now()) == "dead")

    http(scenario)


def test_messages_are_the_events_as_they_are() -> None:
    data = b'id: 3\ndata: {"event":"piece","text":"a\\nb"}\n\n: waiting\n\nid: 4\ndata: {"event":"ended"}\n\n'
    assert messages_of(data) == [
        '{"number":3,"event":{"event":"piece","text":"a\\nb"}}',
        '{"number":4,"event":{"event":"ended"}}',
    ]


def test_wire_values_survive_the_wire() -> None:
    order = Order("t", ask(3, key="k"), "generate", "m", 3.0, path=("a", "b"), fallback_size="tiny")
    assert msgspec.json.decode(msgspec.json.encode(order), type=Order) == order
    beat = Beat("b", 1, 2, capabilities=())
    assert msgspec.json.decode(msgspec.json.encode(beat), type=Beat) == beat
