"""The swarm's benchmark: its engine, its client, its judgement. Its numbers are not tested."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from gpu_node.engines.ollama import OllamaGenerator
from swarm.bench.swarm_engine import MODEL, TOKENS, serve
from swarm.bench.swarm_hop import measure_hop
from swarm.bench.swarm_load import Answered, Client, Target, first_tokens, http_request, ollama_target, openai_target
from swarm.bench.swarm_load import per_second as answers_per_second
from swarm.bench.swarm_losses import _Asked, _judged, measure_coming
from swarm.bench.swarm_nodes import free_port
from swarm.cli import main
from swarm.engine import ChatMessage
from swarm.errors import MycoswarmError
from swarm.task import Ended, Placed, event_bytes


async def serving(first_s: float = 0.0) -> tuple[int, "asyncio.Task[None]"]:
    port = free_port()
    server = asyncio.create_task(serve(port, first_s))
    while True:
        try:
            (await Client.connect(port)).close()
        except MycoswarmError:
            await asyncio.sleep(0.01)
        else:
            return port, server


def test_engine_says_the_same_as_ollama_and_as_an_openai_style_server() -> None:
    async def check() -> None:
        port, server = await serving()
        asked = OllamaGenerator(f"http://127.0.0.1:{port}")
        said = [part async for part in asked.generate([ChatMessage("user", "hi")], timeout_s=10)]
        assert await asked.available() == MODEL
        await asked.close()
        assert tuple(said) == TOKENS
        client = await Client.connect(port)
        answered = await client.ask(openai_target("it", port).request)
        lines = [line for line in answered.body.split(b"\n") if line.startswith(b"data: {")]
        deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in lines]
        assert tuple(delta["content"] for delta in deltas[:-1]) == TOKENS
        assert (await client.ask(http_request("GET", "/nothing", port=port))).status == 404
        client.close()
        server.cancel()

    asyncio.run(check())


def test_first_tokens_and_rates_are_those_of_the_engine() -> None:
    async def check() -> None:
        port, server = await serving(first_s=0.05)
        first_s = await first_tokens(ollama_target(port), number=10, rate=100)
        assert len(first_s) == 10
        assert min(first_s) >= 0.05
        assert 0 < await answers_per_second(ollama_target(port), clients=4, seconds=0.3) < 4 / 0.05
        server.cancel()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("path", "token", "complaint"),
    [("/nothing", b" word", "status 404"), ("/v1/models", b" word", "sent 0 tokens instead of 20")],
)
def test_an_answer_that_is_none_ends_the_measurement(path: str, token: bytes, complaint: str) -> None:
    async def check() -> None:
        port, server = await serving()
        target = Target("it", port, http_request("GET", path, port=port), token)
        with pytest.raises(MycoswarmError, match=complaint):
            await first_tokens(target, number=2, rate=100)
        with pytest.raises(MycoswarmError, match="nobody listens"):
            await first_tokens(Target("it", free_port(), b"", b""), number=1, rate=100)
        server.cancel()

    asyncio.run(check())


def asked(task: str, began: float, took: float, outcome: str = "done") -> _Asked:
    events = event_bytes(1, Placed(task, "n", "m")) + event_bytes(2, Ended(outcome))  # type: ignore[arg-type]
    return _Asked(began, Answered(200, 0.0, took, b"%x\r\n%b\r\n0\r\n\r\n" % (len(events), events)))


def test_lateness_counts_from_the_loss_or_from_the_task_when_that_came_later() -> None:
    lost_at = 10.0
    results = [
        asked("stays", 9.0, 1.0),
        asked("stays too", 9.5, 1.0),
        asked("moves", 9.5, 1.75),  # ends at 11.25; begun anew at the loss it would have ended at 11
        asked("given late", 10.5, 1.5),
        asked("fails", 9.9, 0.2, "failed"),
    ]
    lost = _judged(results, {"moves": 1, "given late": 1, "fails": 1}, lost_at)
    assert (lost.tasks, lost.moved, lost.failed) == (5, 2, 1)
    assert lost.late_s == pytest.approx(0.5)
    assert lost.given_s == pytest.approx(0.5)
    with pytest.raises(MycoswarmError, match="had no task"):
        _judged(results[:2], {}, lost_at)


def test_machines_that_come_and_a_hop_are_measured_on_real_nodes() -> None:
    async def check() -> None:
        coming = await measure_coming(times=1, tell=lambda _: None)
        hop = await measure_hop(questions=8, seconds=0.3, litellm=None, tell=lambda _: None)
        for section in (coming, hop):
            assert all(each.value is not None and each.value >= 0 for each in section.measurements)
        assert "--with-litellm" in hop.notes[-1]

    asyncio.run(check())


def test_command_says_what_it_does() -> None:
    told = CliRunner().invoke(main, ["bench", "swarm", "--help"])
    assert told.exit_code == 0
    assert "--with-litellm" in told.output
    assert "--write" in told.output
