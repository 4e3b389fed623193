import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import psutil
import pytest
from wyoming.event import Event

from swarm.engine_process import EngineProcess
from swarm.errors import EngineError, EngineUnavailable

ODD_ENGINE = [sys.executable, str(Path(__file__).with_name("odd_engine.py"))]
SOON = 20.0


@asynccontextmanager
async def odd_engine(*arguments: str, backoff_s: tuple[float, ...] = (0.0, 60.0)) -> AsyncIterator[EngineProcess]:
    process = EngineProcess([*ODD_ENGINE, *arguments], "odd engine", backoff_s=backoff_s)
    try:
        yield process
    finally:
        await process.close()


async def echo(process: EngineProcess, text: str = "hello") -> str:
    answer = await process.request(Event("echo", {"text": text}), timeout_s=SOON)
    return str(answer.data["text"])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_answers_a_question_with_data_and_payload() -> None:
    async def main() -> None:
        async with odd_engine() as process:
            sent = Event("echo", {"text": "grüße", "list": [1, 2]}, b"\x00\n\xff" * 50_000)
            answer = await process.request(sent, timeout_s=SOON)
            assert (answer.data, answer.payload) == (sent.data, sent.payload)

    asyncio.run(main())


def test_streams_answers_in_order_up_to_the_last() -> None:
    async def main() -> None:
        async with odd_engine() as process, process.conversation() as conversation:
            count = Event("count", {"to": 5})
            answers = [answer async for answer in conversation.stream(count, last="done", timeout_s=SOON)]
            assert [answer.type for answer in answers] == ["number"] * 5 + ["done"]
            assert [answer.data["number"] for answer in answers[:-1]] == [0, 1, 2, 3, 4]

    asyncio.run(main())


def test_what_a_library_prints_does_not_reach_the_events() -> None:
    async def main() -> None:
        async with odd_engine() as process:
            answer = await process.request(Event("chatter", {"text": "x"}), timeout_s=SOON)
            assert answer.data == {"text": "x"}

    asyncio.run(main())


def test_an_answered_error_keeps_the_process() -> None:
    async def main() -> None:
        async with odd_engine() as process:
            await process.start()
            pid = process.pid
            with pytest.raises(EngineError, match="cannot do that") as failure:
                await process.request(Event("fail"), timeout_s=SOON)
            assert failure.value.hint == "do something else"
            with pytest.raises(EngineError, match="KeyError: 'oops'"):
                await process.request(Event("bug"), timeout_s=SOON)
            assert await echo(process) == "hello"
            assert process.pid == pid

    asyncio.run(main())


def test_a_missed_deadline_kills_the_process_and_the_next_request_starts_clean() -> None:
    async def main() -> None:
        async with odd_engine() as process:
            await process.start()
            pid = process.pid
            assert pid is not None
            with pytest.raises(EngineError, match=r"odd engine did not answer within 0\.1 s"):
                await process.request(Event("hang"), timeout_s=0.1)
            assert await echo(process) == "hello"
            assert process.pid != pid
            await until(lambda: not psutil.pid_exists(pid))

    asyncio.run(main())


def test_being_killed_again_and_again_is_no_crash() -> None:
    async def main() -> None:
        async with odd_engine(backoff_s=(60.0,)) as process:
            for _ in range(3):
                with pytest.raises(EngineError, match="did not answer"):
                    await process.request(Event("hang"), timeout_s=0.05)
            assert await echo(process) == "hello"

    asyncio.run(main())


def test_a_child_that_takes_no_input_is_killed() -> None:
    async def main() -> None:
        async with odd_engine() as process:
            with pytest.raises(EngineError, match="took no input"):
                async with process.conversation() as conversation:
                    await conversation.tell(Event("hang"))
                    await conversation.tell(Event("echo", payload=bytes(5_000_000)), timeout_s=0.1)
            assert await echo(process) == "hello"

    asyncio.run(main())


@pytest.mark.parametrize(("event", "how"), [("crash", "died of SIGSEGV"), ("exit", "ended with exit status 7")])
def test_a_crash_fails_the_request_under_way_and_not_the_next(event: str, how: str) -> None:
    async def main() -> None:
        async with odd_engine() as process:
            for _ in range(3):
                with pytest.raises(EngineError, match=f"odd engine {how}"):
                    await process.request(Event(event), timeout_s=SOON)
                assert await echo(process) == "hello"

    asyncio.run(main())


def test_a_crash_while_idle_is_repaired_before_anybody_asks() -> None:
    async def main() -> None:
        async with odd_engine() as process:
            assert await echo(process) == "hello"
            first = process.pid
            psutil.Process(first).kill()
            await until(lambda: process.pid not in (None, first))
            assert await echo(process) == "hello"

    asyncio.run(main())


@pytest.mark.parametrize("payload_bytes", [0, 100_000])
def test_a_cancelled_answer_restarts_the_child_in_the_background(payload_bytes: int) -> None:
    async def main() -> None:
        async with odd_engine() as process:
            await process.start()
            first = process.pid
            reading = asyncio.Event()

            async def read() -> None:
                async with process.conversation() as conversation:
                    count = Event("count", {"to": 1_000_000, "bytes": payload_bytes})
                    async with aclosing(conversation.stream(count, last="done", timeout_s=SOON)) as answers:
                        async for _ in answers:
                            reading.set()
                            await asyncio.Event().wait()

            task = asyncio.create_task(read())
            await reading.wait()
            task.cancel()
            await asyncio.wait([task])
            await until(lambda: process.pid not in (None, first))
            assert await echo(process, "clean") == "clean"

    asyncio.run(main())


def test_a_conversation_left_with_nothing_due_keeps_the_process() -> None:
    async def main() -> None:
        async with odd_engine() as process:
            with pytest.raises(ZeroDivisionError):
                async with process.conversation() as conversation:
                    await conversation.ask(Event("echo"), timeout_s=SOON)
                    pid = process.pid
                    raise ZeroDivisionError
            assert await echo(process) == "hello"
            assert process.pid == pid

    asyncio.run(main())


def test_users_take_turns() -> None:
    async def main() -> None:
        async with odd_engine() as process:
            texts = [str(number) for number in range(20)]
            assert await asyncio.gather(*(echo(process, text) for text in texts)) == texts

    asyncio.run(main())


def test_waiting_for_a_turn_is_bounded() -> None:
    async def main() -> None:
        async with odd_engine() as process, process.conversation():
            with pytest.raises(EngineError, match="odd engine is busy"):
                async with process.conversation(wait_s=0.05):
                    pass

    asyncio.run(main())


def test_giving_up_while_the_child_starts_leaves_it_to_the_next_user() -> None:
    async def main() -> None:
        async with odd_engine() as process:
            impatient = asyncio.create_task(process.start())
            await asyncio.sleep(0)
            impatient.cancel()
            await asyncio.wait([impatient])
            assert await echo(process) == "hello"

    asyncio.run(main())


def test_repeated_crashes_are_not_repeated_at_once() -> None:
    async def main() -> None:
        async with odd_engine("--exit", backoff_s=(0.0, 60.0)) as process:
            with pytest.raises(
                EngineError, match="exit status 3; this was crash 2 in a row, the next start is in 60 s"
            ):
                await process.start()
            with pytest.raises(EngineError, match="next start is in 60 s"):
                await process.start()

    asyncio.run(main())


def test_serves_again_after_the_wait(tmp_path: Path) -> None:
    async def main() -> None:
        repaired = tmp_path / "repaired"
        async with odd_engine("--exit-unless", str(repaired), backoff_s=(0.0, 0.05)) as process:
            with pytest.raises(EngineError, match="exit status 3"):
                await process.start()
            repaired.touch()
            async with asyncio.timeout(SOON):
                while True:
                    try:
                        assert await echo(process) == "hello"
                        break
                    except EngineError:
                        await asyncio.sleep(0.02)

    asyncio.run(main())


def test_a_missing_library_makes_the_engine_unavailable() -> None:
    async def main() -> None:
        async with odd_engine("--missing-library") as process:
            for _ in range(2):
                with pytest.raises(EngineUnavailable, match="No module named 'no_such_library'"):
                    await process.start()

    asyncio.run(main())


def test_a_missing_program_makes_the_engine_unavailable() -> None:
    async def main() -> None:
        process = EngineProcess(["no-such-program-anywhere"], "ghost")
        with pytest.raises(EngineUnavailable, match="cannot start ghost"):
            await process.start()
        await process.close()

    asyncio.run(main())


def test_a_child_that_never_gets_ready_is_given_up() -> None:
    async def main() -> None:
        process = EngineProcess([*ODD_ENGINE, "--never-ready"], "odd engine", start_timeout_s=0.3, backoff_s=(60.0,))
        with pytest.raises(EngineError, match=r"not ready within 0\.3 s"):
            await process.start()
        await process.close()

    asyncio.run(main())


def test_an_event_beyond_the_bound_is_refused() -> None:
    async def main() -> None:
        async with odd_engine() as process:
            with pytest.raises(EngineError, match="what is no event"):
                await process.request(Event("big"), timeout_s=SOON)
            assert await echo(process) == "hello"

    asyncio.run(main())


def test_close_ends_the_child_and_the_request_under_way() -> None:
    async def main() -> None:
        async with odd_engine() as process:
            await process.start()
            pid = process.pid
            assert pid is not None
            request = asyncio.create_task(process.request(Event("hang"), timeout_s=SOON))
            await asyncio.sleep(0)
            await process.close()
            with pytest.raises(EngineError):
                await request
            assert not psutil.pid_exists(pid)
            with pytest.raises(EngineError, match="was closed"):
                await echo(process)
            await process.close()

    asyncio.run(main())


def test_the_child_ends_when_its_input_ends() -> None:
    child = subprocess.Popen(ODD_ENGINE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin and child.stdout
    assert b'"ready"' in child.stdout.readline()
    child.stdin.close()
    assert child.wait(SOON) == 0
    child.stdout.close()
