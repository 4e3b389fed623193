"""What a person should know, told by all that the machine has: log, console, LED, speech.

`enrol` and `wifi` say it; root's `show` puts it on the console and the LED, and the running node speaks it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from provisioning.first_boot.asking import ask
from provisioning.first_boot.machine import Machine
from provisioning.first_boot.showing import MAX_TEXT, Shown, State
from swarm.client import find_node
from swarm.errors import MycoswarmError

NODE_COMES_S = 90.0
"""A voice on a small board takes a while to load."""
TRY_S = 2.0

_log = logging.getLogger(__name__)


class Telling:
    """Says a thing once, when it changes. Use as an async context manager; what is still to be spoken ends with it."""

    def __init__(self, machine: Machine, state_dir: Path, *, satellite: str) -> None:
        """`state_dir` is the running node's; `satellite` its own, which speaks; empty: it has none."""
        self._machine = machine
        self._state_dir = state_dir
        self._satellite = satellite
        self._shown: Shown | None = None
        self._speaking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Telling:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        if self._speaking is not None:
            self._speaking.cancel()
            await asyncio.gather(self._speaking, return_exceptions=True)

    def tell(self, state: State, text: str, *, speech: str | None = None) -> None:
        """Show it if it is new, and speak it (`speech` where that sounds otherwise) instead of what waits."""
        shown = Shown(state, text[:MAX_TEXT])
        if shown == self._shown:
            return
        self._shown = shown
        _log.log(logging.ERROR if state == "problem" else logging.INFO, "%s", text)
        try:
            ask(self._machine, "show", shown)
        except OSError as error:
            _log.warning("the console cannot show it: %s", error)
        self.speak(text if speech is None else speech)

    def speak(self, text: str) -> None:
        """Say it by the running node, as soon as there is one that has a speaker."""
        if self._speaking is not None:
            self._speaking.cancel()
        if not text or not self._satellite:
            return
        self._speaking = asyncio.create_task(self._speak(text), name="speaking")

    async def spoken(self) -> None:
        """Wait until it was said, or cannot be."""
        if self._speaking is not None:
            await asyncio.gather(self._speaking, return_exceptions=True)

    async def _speak(self, text: str) -> None:
        ends = time.monotonic() + NODE_COMES_S
        while time.monotonic() < ends:
            try:
                said = await asyncio.to_thread(self._say, text)
            except MycoswarmError:  # no node yet, or none that speaks
                await asyncio.sleep(TRY_S)
                continue
            if any(each["outcome"] == "played" for each in said["reports"]):
                _log.info("said: %s", text)
                return
            await asyncio.sleep(TRY_S)

    def _say(self, text: str) -> dict[str, list[dict[str, str]]]:
        node = find_node(self._state_dir, timeout_s=30.0)
        return node.say({"text": text, "to": self._satellite, "interrupt": True})


def spoken_digits(digits: str) -> str:
    """Digits as they are understood: one by one, in groups."""
    return ", ".join(" ".join(group) for group in digits.split())
