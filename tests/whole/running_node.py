"""A node as people run it: `python -m swarm up` in a process of its own, with a configuration and a state folder."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
import psutil

from swarm.audio import write_wav
from swarm.client import Answer, NodeClient, SpokenAnswer
from swarm.errors import NodeUnreachable
from tests.buses import free_port

START_S = 40.0
"""A start takes 4 s, on a busy machine more."""
T = TypeVar("T")
Sections = Mapping[str, Mapping[str, object]]

SILENT: Sections = {
    "people": {"port": 0},
    "satellite": {"microphone": "none", "speaker": "none"},
    "language_model": {"url": ""},
}
"""No sound card, no language model, any port."""


class RunningNode:
    """One node's process. `folder` holds `config.toml`, `state/` and `log`, which has what it printed, too."""

    def __init__(
        self, folder: Path, *, demo_home: bool = False, sections: Sections | None = None, prelude: str = ""
    ) -> None:
        """`sections` are laid over `SILENT`; `prelude` is Python that runs in the node's process before it begins."""
        self.folder = folder
        self.state = folder / "state"
        self.config = folder / "config.toml"
        self.log = folder / "log"
        self.bus_port = free_port()
        own: Sections = {"node": {"name": "home", "state_dir": str(self.state)}, "bus": {"port": self.bus_port}}
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(_toml(own, SILENT, sections or {}))
        self._demo_home = demo_home
        self._program = program(prelude)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0

    def launch(self) -> Self:
        """Start the process, and do not wait for anything."""
        self._log_begins = self.log.stat().st_size if self.log.exists() else 0
        arguments = ["up", *(["--demo-home"] if self._demo_home else []), "--config", str(self.config)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._program, *arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        return self

    def start(self, *, when: str = "") -> Self:
        """Start it and wait until the log says `when`; as it comes, until commands are answered."""
        self.launch()
        self.wait_for_log(when or ("Ctrl-C ends it" if self._demo_home else r"the node home is up"))
        return self

    # ---- asking it

    def client(self) -> NodeClient:
        address = json.loads((self.state / "node.json").read_bytes())
        return NodeClient(address["url"], timeout_s=60.0)

    @property
    def voice_url(self) -> str:
        return f"{self.client().url.replace('http', 'ws', 1)}/api/voice"

    def ask(self, text: str, *, area: str = "") -> Answer:
        *_, answer = self.client().ask(text, area=area)
        assert isinstance(answer, Answer)
        return answer

    def ask_audio(self, recording: bytes, *, wake: bool = True) -> SpokenAnswer:
        """`recording` is 16 kHz pcm, or a whole file when it begins like one."""
        wav = recording if recording[:4] == b"RIFF" else write_wav(recording)
        return self.client().ask_audio(wav, wake=wake)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the command line, such as `ask`."""
        command, *rest = arguments
        return subprocess.run(
            [sys.executable, "-m", "swarm", command, "--config", str(self.config), *rest],
            capture_output=True,
            text=True,
            timeout=60,
        )

    def state_of(self, name: str) -> dict[str, Any]:
        """The state of the device that people call so; empty when there is none."""
        return next((each["state"] for each in self.client().entities() if each["entity"]["name"] == name), {})

    # ---- its process

    @property
    def process(self) -> psutil.Process:
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def family(self) -> list[psutil.Process]:
        """The node and everything that it started, and what those started."""
        return [self.process, *self.process.children(recursive=True)]

    def child(self, *words: str) -> psutil.Process:
        """The child whose command line has all these words; waits for one that is being started."""

        def found() -> psutil.Process | None:
            for each in self.process.children(recursive=True):
                try:
                    line = " ".join(each.cmdline())
                except psutil.Error:
                    continue
                # A child that sets itself up still has the words of what it will be among its arguments.
                if "-I -S -c" not in line and all(word in line for word in words):
                    return each
            return None

        child = wait_until(found, f"no child {words}")
        assert child is not None
        return child

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, *, seconds: float = 20.0) -> int:
        """The exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def end(self) -> int | None:
        """End it if it runs; its exit code."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        return self._process.returncode

    # ---- its log

    def log_text(self) -> str:
        """What it printed since it was last started."""
        with self.log.open("rb") as file:
            file.seek(self._log_begins)
            return file.read().decode(errors="replace")

    def wait_for_log(self, pattern: str, *, seconds: float = START_S) -> re.Match[str]:
        assert self._process is not None
        process = self._process

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.log_text())
            assert match or process.poll() is None, f"the node ended with {process.poll()}:\n{self.log_text()[-3000:]}"
            return match

        match = wait_until(found, lambda: f"{pattern!r} is not in the log:\n{self.log_text()[-3000:]}", seconds=seconds)
        assert match is not None
        return match


@contextmanager
def running_node(
    folder: Path, *, demo_home: bool = False, sections: Sections | None = None, when: str = "", prelude: str = ""
) -> Iterator[RunningNode]:
    """A node for the length of a block; at its end it must end well, and must have failed at nothing unforeseen."""
    node = RunningNode(folder, demo_home=demo_home, sections=sections, prelude=prelude)
    try:
        yield node.start(when=when)
        assert node.end() == 0, node.log_text()[-3000:]
        assert_no_surprise(node)
    finally:
        node.end()


def assert_no_surprise(node: RunningNode) -> None:
    """Whatever went wrong, the node foresaw it: no traceback in its log, no task that failed unseen."""
    text = node.log_text()
    for sign in ("Traceback (most recent call last)", "never retrieved", "was destroyed but it is pending"):
        assert sign not in text, text[max(0, text.find(sign) - 1500) : text.find(sign) + 4000]


def wait_until(condition: Callable[[], T], complaint: str | Callable[[], str] = "", *, seconds: float = 20.0) -> T:
    """What `condition` returns as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, complaint() if callable(complaint) else complaint or "it did not come true"
        time.sleep(0.02)
    return value


async def until(condition: Callable[[], T], complaint: str | Callable[[], str] = "", *, seconds: float = 20.0) -> T:
    """`wait_until` beside a loop that goes on: what a satellite of this process sends is sent meanwhile."""
    return await asyncio.to_thread(wait_until, condition, complaint, seconds=seconds)


def program(prelude: str) -> list[str]:
    """Python's arguments for a node's process that runs `prelude` first."""
    return ["-c", f"{prelude}\nfrom swarm.cli import main\nmain()"] if prelude else ["-m", "swarm"]


def reachable(node: RunningNode) -> bool:
    try:
        node.client().status()
    except (NodeUnreachable, FileNotFoundError):
        return False
    return True


def _toml(*layers: Sections) -> str:
    merged: dict[str, dict[str, object]] = {}
    for layer in layers:
        for section, keys in layer.items():
            merged.setdefault(section, {}).update(keys)
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in keys.items())
        for section, keys in merged.items()
    )


def _value(value: object) -> str:
    """As TOML writes it; what is no table it writes like JSON."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key} = {_value(each)}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return msgspec.json.encode(value).decode()
