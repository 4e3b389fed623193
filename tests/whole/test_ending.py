"""How a node ends, and that nothing of it is left; and a second one that would be in its way."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from swarm.messages import SpeechStarted
from tests.whole.room import room_at
from tests.whole.running_node import RunningNode, assert_no_surprise, running_node, wait_until

PROMPT_S = 10.0
"""What the node is allowed for its end, everything included. It takes a tenth of that, but not where it waits for a
processor; systemd, which waits 90 s, would never have to kill it."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    node = RunningNode(tmp_path, demo_home=True)
    try:
        # While it speaks its first command to itself: everything is running.
        yield node.start(when="listening to recording")
    finally:
        node.end()


def gone(family: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(family, timeout=PROMPT_S)
    assert alive == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_ends_promptly_and_leaves_nothing(node: RunningNode, number: signal.Signals) -> None:
    family = node.family()
    assert len(family) >= 4, family  # node, broker, recognizer, synthesizer
    node.signal(number)
    assert node.wait(seconds=PROMPT_S) == 0
    gone(family)
    assert_no_surprise(node)
    assert not (node.state / "node.json").exists()


def test_told_to_end_in_the_middle_of_an_answer_it_ends_promptly(node: RunningNode) -> None:
    async def check() -> None:
        async with room_at(node.voice_url, "kitchen") as speaking, room_at(node.voice_url, "bed") as listening:
            speaking.command("what can you do")
            await speaking.until_seen(SpeechStarted)
            listening.satellite.listen()
            node.signal(signal.SIGTERM)
            assert await asyncio.to_thread(node.wait, seconds=PROMPT_S) == 0

    family = node.family()
    asyncio.run(check())
    gone(family)
    assert_no_surprise(node)


def test_killed_it_leaves_nothing(node: RunningNode) -> None:
    family = node.family()
    node.signal(signal.SIGKILL)
    assert node.wait() == -signal.SIGKILL
    gone(family)


def test_told_to_end_while_it_starts_it_ends(tmp_path: Path) -> None:
    node = RunningNode(tmp_path)
    try:
        node.launch()
        wait_until(lambda: node.process.children())
        family = node.family()
        node.signal(signal.SIGTERM)
        assert node.wait() in (0, -signal.SIGTERM)
        gone(family)
    finally:
        node.end()


def test_second_node_on_the_same_port_says_so_and_does_not_disturb_the_first(node: RunningNode, tmp_path: Path) -> None:
    port = int(node.client().url.rpartition(":")[2])
    other = RunningNode(tmp_path / "other", sections={"people": {"port": port}}).launch()
    assert other.wait() == 1
    assert f"error: cannot listen on 127.0.0.1:{port}: Address already in use" in other.log_text()
    assert "people.port" in other.log_text()
    assert "Traceback" not in other.log_text()
    assert node.ask("what time is it").outcome == "done"


def test_second_node_on_the_same_state_folder_says_so_and_does_not_disturb_the_first(node: RunningNode) -> None:
    address = (node.state / "node.json").read_bytes()
    broker = (node.state / "mosquitto.conf").read_bytes()
    second = subprocess.run(
        [sys.executable, "-m", "swarm", "up", "--config", str(node.config)], capture_output=True, text=True, timeout=20
    )
    assert second.returncode == 1
    assert f"error: another mycoswarm node keeps its state in {node.state}" in second.stderr
    assert "Traceback" not in second.stderr
    assert (node.state / "node.json").read_bytes() == address
    assert (node.state / "mosquitto.conf").read_bytes() == broker
    assert node.ask("what time is it").outcome == "done"


def test_taken_broker_port_is_told(tmp_path: Path) -> None:
    with running_node(tmp_path / "one") as one:
        other = RunningNode(tmp_path / "other", sections={"bus": {"port": one.bus_port}}).launch()
        assert other.wait() == 1
        assert f"error: port {one.bus_port} for the broker is taken" in other.log_text()
