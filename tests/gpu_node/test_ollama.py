import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from gpu_node.engines.ollama import OllamaGenerator
from swarm.engine import ChatMessage
from swarm.errors import EngineError, EngineUnavailable
from tests.fake_ollama import FakeOllama

QUESTION = [ChatMessage("system", "Be brief."), ChatMessage("user", "What is the answer?")]
SOON = 20.0


@asynccontextmanager
async def generator(
    url: str, model: str = "", *, stall_s: float = SOON, load_s: float = SOON
) -> AsyncIterator[OllamaGenerator]:
    made = OllamaGenerator(url, model, stall_s=stall_s, load_s=load_s)
    try:
        yield made
    finally:
        await made.close()


async def ask(asked: OllamaGenerator, timeout_s: float = SOON) -> list[str]:
    return [part async for part in asked.generate(QUESTION, timeout_s=timeout_s)]


def test_streams_the_answer_of_the_only_model() -> None:
    async def main() -> None:
        async with FakeOllama() as server, generator(server.url) as asked:
            assert await asked.available() == "tiny:latest"
            assert asked.why_unavailable == ""
            assert "".join(await ask(asked)) == "the answer is forty two."
            (chat,) = server.chats
            assert chat["model"] == "tiny:latest"
            assert chat["messages"] == [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "What is the answer?"},
            ]

    asyncio.run(main())


def test_words_arrive_before_the_answer_is_over() -> None:
    async def main() -> None:
        async with FakeOllama(hold_after=2) as server, generator(server.url) as asked:
            parts = asked.generate(QUESTION, timeout_s=SOON)
            assert [await anext(parts), await anext(parts)] == ["the", " answer"]
            assert not server.go_on.is_set()
            server.go_on.set()
            assert [part async for part in parts] == [" is", " forty", " two."]

    asyncio.run(main())


def test_closing_the_answer_early_hangs_up() -> None:
    async def main() -> None:
        async with FakeOllama(hold_after=1) as server, generator(server.url) as asked:
            parts = asked.generate(QUESTION, timeout_s=SOON)
            assert await anext(parts) == "the"
            await parts.aclose()
            async with asyncio.timeout(SOON):
                await server.hung_up.wait()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("models", "wanted", "found"),
    [
        (["a:latest", "b:7b"], "b:7b", "b:7b"),
        (["a:latest", "b:7b"], "a", "a:latest"),
        (["a:latest"], "", "a:latest"),
    ],
)
def test_the_configured_model_is_taken_with_or_without_its_tag(models: Sequence[str], wanted: str, found: str) -> None:
    async def main() -> None:
        async with FakeOllama(models=models) as server, generator(server.url, wanted) as asked:
            assert await asked.available() == found
            await ask(asked)
            assert server.chats[0]["model"] == found

    asyncio.run(main())


@pytest.mark.parametrize(
    ("models", "wanted", "reason"),
    [
        ([], "", "has no model\n  ollama pull MODEL"),
        (
            ["a:latest", "b:7b"],
            "",
            "has 2 models and none is chosen\n  set language_model.model to one of: a:latest, b:7b",
        ),
        (["a:latest"], "c", "has no model c\n  it has: a:latest"),
    ],
)
def test_no_model_is_swapped_or_guessed(models: Sequence[str], wanted: str, reason: str) -> None:
    async def main() -> None:
        async with FakeOllama(models=models) as server, generator(server.url, wanted) as asked:
            assert await asked.available() is None
            assert asked.why_unavailable.endswith(reason)
            with pytest.raises(EngineUnavailable):
                await ask(asked)
            assert not server.chats

    asyncio.run(main())


def test_a_look_is_remembered_for_a_few_seconds() -> None:
    now = 100.0

    async def main() -> None:
        nonlocal now
        async with FakeOllama() as server:
            asked = OllamaGenerator(server.url, clock=lambda: now)
            await asyncio.gather(*(asked.available() for _ in range(10)))
            assert server.looks == 1
            server.models.clear()
            now += 2.9
            assert await asked.available() == "tiny:latest"
            now += 0.2
            assert await asked.available() is None
            await asked.close()

    asyncio.run(main())


def test_no_server_is_unavailable_with_a_reason() -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            async with generator(f"http://127.0.0.1:{unused.getsockname()[1]}") as asked:
                assert await asked.available() is None
                assert "cannot be reached" in asked.why_unavailable

    asyncio.run(main())


def test_a_server_that_never_answers_is_given_up() -> None:
    async def main() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            async with generator(f"http://127.0.0.1:{silent.getsockname()[1]}") as asked:
                assert await asked.available() is None
                assert "did not answer within 0.5 s" in asked.why_unavailable

    asyncio.run(main())


@pytest.mark.parametrize("host", ["8.8.8.8", "[2606:4700::1111]", "100.64.0.1"])
def test_a_server_outside_the_lan_is_not_asked(host: str) -> None:
    async def main() -> None:
        async with generator(f"http://{host}:11434") as asked:
            assert await asked.available() is None
            assert "outside the LAN" in asked.why_unavailable
            with pytest.raises(EngineUnavailable, match="outside the LAN"):
                await ask(asked)

    asyncio.run(main())


@pytest.mark.parametrize(
    "url", ["", "localhost:11434", "ftp://192.168.1.2", "http://", "http://:11434", "http://[::1", "http://a:99999"]
)
def test_what_is_no_address_of_a_server_is_refused_at_once(url: str) -> None:
    with pytest.raises(EngineUnavailable, match="is not the address of an Ollama server"):
        OllamaGenerator(url)


@pytest.mark.parametrize("mode", ["html", "other_json"])
def test_another_programs_answer_is_a_clear_error(mode: str) -> None:
    async def main() -> None:
        async with FakeOllama() as server, generator(server.url) as asked:
            await asked.available()
            server.mode = mode  # type: ignore[assignment]
            with pytest.raises(EngineError, match="not Ollama's JSON"):
                await ask(asked)
            assert await asked.available() is None
            assert "not Ollama's JSON" in asked.why_unavailable

    asyncio.run(main())


def test_an_error_of_the_server_is_passed_on() -> None:
    async def main() -> None:
        async with FakeOllama("error") as server, generator(server.url) as asked:
            with pytest.raises(EngineError, match=r"error \(500\): .*model runner has crashed"):
                await ask(asked)

    asyncio.run(main())


def test_a_connection_that_dies_mid_answer_is_an_error_after_the_words_that_came() -> None:
    async def main() -> None:
        async with FakeOllama("die") as server, generator(server.url) as asked:
            heard = []
            with pytest.raises(EngineError, match="broke"):
                async for part in asked.generate(QUESTION, timeout_s=SOON):
                    heard.append(part)
            assert heard == ["the", " answer"]

    asyncio.run(main())


def test_an_answer_that_ends_without_its_end_is_an_error() -> None:
    async def main() -> None:
        async with FakeOllama("cut") as server, generator(server.url) as asked:
            with pytest.raises(EngineError, match="stopped in the middle"):
                await ask(asked)

    asyncio.run(main())


def test_a_stall_ends_the_answer() -> None:
    async def main() -> None:
        async with FakeOllama("stall") as server, generator(server.url, stall_s=0.1) as asked:
            with pytest.raises(EngineError, match=r"sent nothing for 0\.1 s"):
                await ask(asked)
            async with asyncio.timeout(SOON):
                await server.hung_up.wait()

    asyncio.run(main())


def test_the_first_word_may_take_longer_than_the_others() -> None:
    async def main() -> None:
        async with (
            FakeOllama("stall", hold_after=0) as server,
            generator(server.url, stall_s=0.05, load_s=0.3) as asked,
        ):
            with pytest.raises(EngineError, match=r"sent nothing for 0\.3 s"):
                await ask(asked)

    asyncio.run(main())


def test_the_whole_answer_has_a_deadline() -> None:
    async def main() -> None:
        async with FakeOllama(hold_after=3) as server, generator(server.url) as asked:
            with pytest.raises(EngineError, match=r"not finished its answer after 0\.2 s"):
                await ask(asked, timeout_s=0.2)

    asyncio.run(main())


def test_an_endless_answer_is_cut() -> None:
    async def main() -> None:
        async with FakeOllama(words=["word " * 100] * 100) as server, generator(server.url) as asked:
            assert 20_000 <= len("".join(await ask(asked))) < 21_000

    asyncio.run(main())


def test_neither_proxy_nor_account_key_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("OLLAMA_API_KEY", "secret")

    async def main() -> None:
        async with FakeOllama() as server, generator(server.url) as asked:
            assert await ask(asked)
            assert server.headers
            assert all("authorization" not in headers for headers in server.headers)

    asyncio.run(main())


def test_a_redirect_is_not_followed() -> None:
    async def main() -> None:
        async with (
            FakeOllama() as elsewhere,
            FakeOllama("redirect", redirect_to=elsewhere.url) as server,
            generator(server.url) as asked,
        ):
            assert await asked.available() is None
            assert "(307)" in asked.why_unavailable
            assert not elsewhere.looks

    asyncio.run(main())
