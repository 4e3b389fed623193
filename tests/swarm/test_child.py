from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from swarm.child import end_child, start_child
from tests.buses import until

STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from swarm.child import start_child\n"
        "async def main():\n"
        "    child = await start_child(['sleep', '600'])\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())

        async def scenario() -> None:
            await until(lambda: psutil.Process(pid).name() == "sleep")
            os.kill(parent.pid, signal.SIGKILL)
            await until(lambda: gone(pid))

        asyncio.run(scenario())


def test_end_child_asks_first_and_the_child_may_end_by_itself() -> None:
    async def scenario() -> int | None:
        polite = STUBBORN.replace("signal.SIG_IGN", "lambda *_: exit(7)")
        child = await start_child([sys.executable, "-c", polite], stdout=asyncio.subprocess.PIPE)
        assert child.stdout is not None
        await child.stdout.readline()
        await end_child(child)
        return child.returncode

    assert asyncio.run(scenario()) == 7


def test_end_child_kills_what_does_not_listen_and_may_be_called_twice() -> None:
    async def scenario() -> int | None:
        child = await start_child([sys.executable, "-c", STUBBORN], stdout=asyncio.subprocess.PIPE)
        assert child.stdout is not None
        await child.stdout.readline()
        await end_child(child, grace_s=0.05)
        await end_child(child)
        return child.returncode

    assert asyncio.run(scenario()) == -signal.SIGKILL


def test_output_that_nobody_read_does_not_hold_up_the_end() -> None:
    async def scenario() -> int | None:
        flood = "import sys, time; sys.stdout.write('x' * 1_000_000); sys.stdout.flush(); time.sleep(600)"
        child = await start_child([sys.executable, "-c", flood], stdout=asyncio.subprocess.PIPE)
        await asyncio.wait_for(end_child(child, grace_s=5.0), 15)
        return child.returncode

    assert asyncio.run(scenario()) == -signal.SIGTERM


def test_what_a_child_says_on_stderr_is_logged_in_bounded_lines(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        words = "import sys; say = sys.stderr.write; say('hello\\n'); say('y' * 100_000); say('\\nbye')"
        child = await start_child([sys.executable, "-c", words])
        await child.wait()
        await until(lambda: any("bye" in record.getMessage() for record in caplog.records))

    with caplog.at_level(logging.INFO, "swarm.child"):
        asyncio.run(scenario())
    assert "hello" in caplog.text
    assert all(len(record.getMessage()) < 1100 for record in caplog.records)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        asyncio.run(start_child(["no-such-program"]))
