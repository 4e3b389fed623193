"""A house with everything real: Mosquitto, Home Assistant, a node in a process of its own, devices that are clients."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from swarm.bench.home_assistant import HomeAssistant, State
from tests.whole.background import LoopThread, OwnMosquitto, loop_thread, virtual_flat
from tests.whole.running_node import RunningNode, Sections

T = TypeVar("T")
Part = Literal["home assistant", "broker", "node"]
PATIENCE_S = 60.0


class House:
    """A context; inside of it all parts are up, and each can be ended and started again."""

    def __init__(
        self, venv: Path, folder: Path, *, sections: Sections | None = None, more: str = "", websocket: bool = False
    ) -> None:
        """`sections` go into our node's configuration, `more` is YAML for Home Assistant's; `websocket`: our node knows
        what only Home Assistant knows, too."""
        self.home_assistant = HomeAssistant(venv, folder / "home-assistant", more=more)
        self.broker = OwnMosquitto(folder)
        self.node: RunningNode
        self._thread: LoopThread
        self._folder = folder / "node"
        self._sections = sections or {}
        self._websocket = websocket
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as ending:
            self._thread = ending.enter_context(loop_thread())
            ending.callback(self.broker.kill)
            self.broker.start()
            ending.enter_context(virtual_flat(self.broker.port))
            ending.callback(lambda: self.run(self.home_assistant.end()))
            self.run(self.home_assistant.start())
            self.run(self.home_assistant.add_mqtt(self.broker.port))
            self.node = self._node()
            ending.callback(self.node.end)
            self.node.start(when="listening for the commands of")
            self._ending = ending.pop_all()
        return self

    def _node(self) -> RunningNode:
        """Made once Home Assistant has a token to give."""
        sections = {**self._sections, "bus": {"broker": self.broker.url, **self._sections.get("bus", {})}}
        if self._websocket:
            sections["home_assistant"] = {"url": self.home_assistant.url, "token": self.home_assistant.token}
        return RunningNode(self._folder, sections=sections)

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def run(self, work: Coroutine[Any, Any, T], *, seconds: float = 2 * PATIENCE_S) -> T:
        """What `work` on Home Assistant results in."""
        return self._thread.run(work, seconds=seconds)

    # ---- Home Assistant, as a test asks it

    def sees(self, entity_id: str, wanted: str | Callable[[State], object]) -> State:
        """Home Assistant's state of an entity, once it is as wanted."""
        return self.run(self.home_assistant.wait_for_state(entity_id, wanted, seconds=PATIENCE_S))

    def calls(self, domain: str, service: str, **data: object) -> None:
        """Have Home Assistant do something."""
        self.run(self.home_assistant.call_service(domain, service, **data))

    # ---- what breaks

    def cut(self, part: Part) -> None:
        """End it as a power cut does."""
        if part == "home assistant":
            self.run(self.home_assistant.kill())
        elif part == "broker":
            self.broker.kill()
        else:
            self.node.signal(signal.SIGKILL)
            self.node.wait()

    def bring_back(self, part: Part) -> None:
        """Start it, as soon as the one before it began to run."""
        if part == "home assistant":
            self.run(self.home_assistant.start())
        elif part == "broker":
            self.broker.start()
        else:
            self.node.start(when="the node home is up")
