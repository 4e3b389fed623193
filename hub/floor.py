"""Who has the floor at one satellite: one speaks at a time, in the order in which they came. Who interrupts ends the
turn of the one who speaks, and comes before all who only wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Turn:
    """One speaker's time."""

    def __init__(self, *, interrupts: bool) -> None:
        self.interrupts = interrupts
        self.begins = asyncio.Event()
        self.over = asyncio.Event()
        """Somebody interrupted."""

    async def speak(self, speech: Coroutine[Any, Any, T]) -> T | None:
        """What `speech` returns; None when somebody interrupted, and then it was cancelled."""
        speaking = asyncio.ensure_future(speech)
        interrupted = asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait((speaking, interrupted), return_when=asyncio.FIRST_COMPLETED)
            return speaking.result() if speaking.done() else None
        finally:
            interrupted.cancel()
            if not speaking.done():
                speaking.cancel()
                await asyncio.wait({speaking})


class Floor:
    """Of one satellite. All belongs to one event loop."""

    def __init__(self) -> None:
        self._speaker: Turn | None = None
        self._waiting: deque[Turn] = deque()

    @asynccontextmanager
    async def turn(self, *, interrupt: bool = False) -> AsyncIterator[Turn]:
        """The caller's turn, which lasts as long as the context."""
        own = Turn(interrupts=interrupt)
        if interrupt:
            if self._speaker is not None:
                self._speaker.over.set()
            self._waiting.insert(sum(each.interrupts for each in self._waiting), own)
        else:
            self._waiting.append(own)
        try:
            self._next()
            await own.begins.wait()
            yield own
        finally:
            if self._speaker is own:
                self._speaker = None
            else:
                self._waiting.remove(own)
            self._next()

    def _next(self) -> None:
        if self._speaker is None and self._waiting:
            self._speaker = self._waiting.popleft()
            self._speaker.begins.set()
