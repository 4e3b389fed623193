"""A machine that belongs to no swarm yet speaks by its own node."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from provisioning.first_boot.machine import Machine
from provisioning.first_boot.telling import Telling, spoken_digits
from tests.hosts import ROOT
from tests.whole.running_node import RunningNode, wait_until


def test_code_is_spoken_by_the_running_node(tmp_path: Path) -> None:
    node = RunningNode(tmp_path / "node").start()
    silence, microphone = os.pipe()
    command = [sys.executable, "-m", "swarm", "listen", "--config", str(node.config), "--name", "home"]
    ear = subprocess.Popen(command, stdin=silence, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    machine = Machine(tmp_path / "root")
    machine.ask.mkdir(parents=True)

    async def tell() -> None:
        async with Telling(machine, node.state, satellite="home") as telling:
            telling.tell("code", "The code is 123 456.", speech=f"The code is {spoken_digits('123 456')}.")
            await telling.spoken()

    try:
        wait_until(lambda: "home" in node.client().status().satellites)
        asyncio.run(tell())
        assert ear.stdout is not None
        assert "The code is 1 2 3, 4 5 6." in ear.stdout.readline()
    finally:
        ear.kill()
        ear.wait()
        os.close(microphone)
        os.close(silence)
        node.end()
