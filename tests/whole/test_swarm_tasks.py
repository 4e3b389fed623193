"""What is asked at one machine is done by the best, and survives the death of whoever does it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fake_ollama import FakeOllama
from tests.whole.background import fake_ollama
from tests.whole.running_node import wait_until
from tests.whole.swarm_machines import WORKER, Machine, machines, one_swarm
from tests.whole.test_language_model import WHISPER, question

QUESTION = "tell me a joke"
ANSWER = "the answer is forty two."
RULE = """
[[routing.rule]]
type = "announce"
needs = "synthesize"
timeout_s = 20
"""


@contextmanager
def home(folder: Path) -> Iterator[tuple[Machine, list[Machine], list[FakeOllama]]]:
    """A hub without a language model, and two workers with one each."""
    with fake_ollama() as one, fake_ollama() as two:
        models = [one, two]
        sections = [[WORKER, {"language_model": {"url": model.url}}] for model in models]
        with machines(folder, ("hub", []), ("left", sections[0]), ("right", sections[1])) as [hub, left, right]:
            one_swarm(hub, left, right)
            wait_until(lambda: [has_model(each) for each in hub.view()].count(True) == 2)
            yield hub, [left, right], models


def has_model(node: Any) -> bool:
    return any(offered.kind == "generate" for offered in node.capabilities)


def go_on(model: FakeOllama) -> None:
    loop = model.go_on._loop  # type: ignore[attr-defined] # of the thread in which it waits, None before
    loop.call_soon_threadsafe(model.go_on.set) if loop else model.go_on.set()


@asynccontextmanager
async def api(machine: Machine) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=machine.client().url, timeout=aiohttp.ClientTimeout(total=30)) as http:
        yield http


async def events(response: aiohttp.ClientResponse) -> list[tuple[int, dict[str, Any]]]:
    assert response.status == 200, await response.text()
    return events_of(await response.text())


def events_of(text: str) -> list[tuple[int, dict[str, Any]]]:
    blocks = text.split("\n\n")
    lines = [block.split("\ndata: ") for block in blocks if block.startswith("id: ")]
    return [(int(head[4:]), json.loads(body)) for head, body in lines]


def generate(**fields: object) -> dict[str, object]:
    return {"type": "generate", "payload": {"prompt": QUESTION}, **fields}


def test_question_at_a_hub_without_a_model_is_answered_by_a_machine_with_one(tmp_path: Path) -> None:
    with home(tmp_path) as (hub, workers, models):
        assert hub.did("ask", QUESTION).strip() == ANSWER
        assert sum(len(model.chats) for model in models) == 1
        [task] = json.loads(hub.did("tasks", "--json"))
        names = {each.node: each.name for each in hub.view()}
        assert (task["type"], task["state"]) == ("chat", "done")
        assert names[task["node"]] in ("left", "right")
        why = hub.did("why", task["task"])
        assert "hub: does not generate" in why
        assert workers[0].did("ask", QUESTION).strip() == ANSWER
        assert [each["type"] for each in json.loads(workers[0].did("tasks", "--json"))] == ["ask"]


def test_killed_before_the_first_word_another_machine_answers(tmp_path: Path) -> None:
    with home(tmp_path) as (hub, workers, models):
        for model in models:
            model.hold_after = 0
        said: list[str] = []
        asking = threading.Thread(target=lambda: said.append(hub.did("ask", QUESTION)))
        asking.start()
        serving = _serving(models)
        workers[serving].signal(signal.SIGKILL)
        workers[serving].wait()
        for model in models:
            go_on(model)
        asking.join(30.0)
        assert [each.strip() for each in said] == [ANSWER]
        [task] = json.loads(hub.did("tasks", "--json"))
        assert (task["state"], task["attempts"]) == ("done", 1)


def test_killed_in_the_middle_the_stream_says_that_it_begins_anew(tmp_path: Path) -> None:
    with home(tmp_path) as (hub, workers, models):
        for model in models:
            model.hold_after = 2

        async def check() -> list[tuple[int, dict[str, Any]]]:
            async with api(hub) as http:
                asked = await http.post("/api/tasks", json=generate())
                receipt = await asked.json()
                assert asked.status == 202, receipt
                stream = await http.get(f"/api/tasks/{receipt['task']}/stream")
                heard = b""
                while heard.count(b'"piece"') < 2:
                    heard += await stream.content.readany()
                workers[_serving(models)].signal(signal.SIGKILL)
                for model in models:
                    go_on(model)
                return events_of((heard + await stream.read()).decode())

        heard = asyncio.run(check())
        kinds = [event["event"] for _, event in heard]
        assert kinds == ["placed", "piece", "piece", "restarted", "placed", *["piece"] * 5, "ended"]
        assert heard[-1][1]["outcome"] == "done"
        numbers = [number for number, _ in heard]
        assert numbers == sorted(set(numbers))
        after = "".join(event.get("text", "") for _, event in heard[4:])
        assert after == ANSWER


def _serving(models: list[FakeOllama]) -> int:
    wait_until(lambda: any(model.held.is_set() for model in models))
    return next(index for index, model in enumerate(models) if model.held.is_set())


def test_task_api_at_a_machine_that_does_not_do_the_task(tmp_path: Path) -> None:
    with home(tmp_path) as (hub, _, _):

        async def check() -> None:
            async with api(hub) as http:
                body = gzip.compress(json.dumps(generate()).encode())
                headers = {"Content-Encoding": "gzip", "Accept": "text/event-stream", "Idempotency-Key": "k1"}
                streamed = await http.post("/api/tasks", data=body, headers=headers)
                heard = await events(streamed)
                assert "".join(event.get("text", "") for _, event in heard) == ANSWER
                task = streamed.headers["X-Task-Id"]
                rest = await events(
                    await http.get(f"/api/tasks/{task}/stream", headers={"Last-Event-ID": str(heard[2][0])})
                )
                assert rest == heard[3:]
                again = await (await http.post("/api/tasks", json=generate(), headers={"Idempotency-Key": "k1"})).json()
                assert again["task"] == task
                async with http.ws_connect(f"/api/tasks/{task}/stream") as socket:
                    told = [json.loads(message.data) async for message in socket]
                assert [(each["number"], each["event"]) for each in told] == heard
                status = await (await http.get(f"/api/tasks/{task}")).json()
                assert status["state"] == "done"
                assert any("chosen" in line for line in status["why"])
                assert [each["task"] for each in await (await http.get("/api/tasks")).json()] == [task]

        asyncio.run(check())


def test_cancel_reaches_the_model_on_the_other_machine(tmp_path: Path) -> None:
    with home(tmp_path) as (hub, _, models):
        for model in models:
            model.hold_after = 1

        async def check() -> None:
            async with api(hub) as http:
                receipt = await (await http.post("/api/tasks", json=generate())).json()
                serving = await asyncio.to_thread(_serving, models)
                ended = await (await http.delete(f"/api/tasks/{receipt['task']}")).json()
                assert ended["state"] == "cancelled"
                await asyncio.to_thread(wait_until, models[serving].hung_up.is_set)

        asyncio.run(check())


def test_speech_is_made_by_whichever_machine(tmp_path: Path) -> None:
    with machines(tmp_path, ("hub", []), ("worker", [WORKER])) as [hub, worker]:
        one_swarm(hub, worker)

        async def check() -> None:
            async with api(worker) as http:
                spoken = await http.post(
                    "/api/tasks",
                    json={"type": "synthesize", "payload": {"text": "hello"}},
                    headers={"Accept": "text/event-stream"},
                )
                pieces = [event for _, event in await events(spoken) if event["event"] == "piece"]
                assert pieces[0]["value"]["rate"] > 8000
                assert sum(len(base64.b64decode(each["audio"])) for each in pieces) > 8000

        asyncio.run(check())


def test_speech_is_recognized_by_the_machine_that_can(tmp_path: Path) -> None:
    hears = {"speech": {"whisper_model": str(WHISPER)}}
    with machines(tmp_path, ("hub", []), ("ear", [WORKER, hears])) as [hub, ear]:
        one_swarm(hub, ear)

        async def check() -> None:
            async with api(hub) as http:
                payload = {"audio": base64.b64encode(question()).decode(), "language": "en"}
                body = {"type": "transcribe", "payload": payload, "deadline_s": 60}
                heard = await events(await http.post("/api/tasks", json=body, headers={"Accept": "text/event-stream"}))
                assert "".join(event.get("text", "") for _, event in heard) == "Tell me a joke."

        asyncio.run(check())


@pytest.mark.parametrize(
    ("task", "status", "complaint"),
    [
        ({"type": "dream"}, 422, "no rule for a task of type dream"),
        ({"type": "generate", "payload": {}}, 503, "no node of this swarm can generate"),
        ({"type": "generate", "payload": {}, "model": "gone"}, 503, "no node of this swarm can generate by gone"),
        ({"type": "plan", "payload": {}}, 503, "no node of this swarm can generate by a small or larger model"),
        ({"typ": "generate"}, 400, "not a task"),
    ],
)
def test_task_that_nobody_can_do_is_refused_with_a_reason(
    lonely: Machine, task: dict[str, object], status: int, complaint: str
) -> None:
    async def check() -> None:
        async with api(lonely) as http:
            answer = await http.post("/api/tasks", json=task)
            body = await answer.json()
            assert (answer.status, complaint in body["error"]) == (status, True), body
            assert body["hint"] or status == 400

    asyncio.run(check())


def test_routing_table_of_the_configuration_is_used(lonely: Machine) -> None:
    async def check() -> None:
        async with api(lonely) as http:
            body = {"type": "announce", "payload": {"text": "dinner"}}
            heard = await events(await http.post("/api/tasks", json=body, headers={"Accept": "text/event-stream"}))
            assert heard[-1][1]["outcome"] == "done"

    asyncio.run(check())


def test_payload_that_makes_no_sense_fails_the_task_only(lonely: Machine) -> None:
    async def check() -> None:
        async with api(lonely) as http:
            for payload in (None, {}, {"text": 5}, [1], {"text": "a" * 6000}):
                answer = await http.post(
                    "/api/tasks",
                    json={"type": "synthesize", "payload": payload},
                    headers={"Accept": "text/event-stream"},
                )
                ended = (await events(answer))[-1][1]
                assert ended["outcome"] == "failed"
                assert "cannot be done with this payload" in ended["error"]

    asyncio.run(check())


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A worker that belongs to no swarm."""
    with machines(tmp_path_factory.mktemp("lonely"), ("lonely", [WORKER])) as [machine]:
        with machine.config.open("a") as config:
            config.write(RULE)
        yield machine.start()
