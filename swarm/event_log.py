"""The events of one task as bytes, kept so that readers may come late, come again, or read slowly."""

from __future__ import annotations

import asyncio

from swarm.errors import MycoswarmError

MAX_LOG_BYTES = 8 * 1024 * 1024
"""One task's answer: a book of text, or two minutes of speech."""


class AnswerTooLong(MycoswarmError):
    """The events of a task exceed the bound."""


class EventLog:
    """Append-only; only whole events are appended. Belongs to one event loop."""

    def __init__(self, limit_bytes: int = MAX_LOG_BYTES) -> None:
        self.finished = False
        """Nothing more will come."""
        self._data = bytearray()
        self._shown = 0
        """Bytes that readers are woken for."""
        self._limit = limit_bytes
        self._waiting: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._data)

    def append(self, events: bytes, *, wake: bool = True) -> None:
        """Add whole events. Without `wake`, readers get them with the next ones. Raises `AnswerTooLong`."""
        if len(self._data) + len(events) > self._limit:
            raise AnswerTooLong(f"the answer exceeds {self._limit // 1024**2} MB", hint="ask for less at once")
        self._data += events
        if wake:
            self._shown = len(self._data)
            self._wake()

    def finish(self, last: bytes = b"") -> None:
        """Add the last event, whatever the bound says, and let readers end."""
        self._data += last
        self._shown = len(self._data)
        self.finished = True
        self._wake()

    def nudge(self) -> None:
        """Let readers look up though there is nothing new: they get nothing."""
        self._wake()

    async def read(self, position: int) -> bytes:
        """Everything from byte `position` on, as soon as there is something; empty when the log is `finished` and all
        was read, or after a `nudge`."""
        if self._shown <= position and not self.finished:
            await self._something_new()
        return self.at(position) if self._shown > position else b""

    def at(self, position: int) -> bytes:
        """Everything from byte `position` on that is there now."""
        with memoryview(self._data) as view:
            return bytes(view[position:])

    def last_number(self) -> int:
        """Number of the last event; 0 when there is none."""
        begin = self._data.rfind(b"id: ", 0, self._data.rfind(b"\ndata: ") + 1)
        # Nothing inside an event's JSON can follow a line break, so the last line that begins so is an event's first.
        while begin > 0 and self._data[begin - 1] != 0x0A:
            begin = self._data.rfind(b"id: ", 0, begin)
        return int(self._data[begin + 4 : self._data.index(b"\n", begin)]) if begin >= 0 else 0

    def position_after(self, number: int) -> int:
        """Where the events after `number` begin; 0 for a number that never was."""
        mark = b"id: %d\ndata: " % number
        begin = 0 if self._data.startswith(mark) else self._data.find(b"\n" + mark) + 1
        if begin == 0 and not self._data.startswith(mark):
            return 0
        return self._data.index(b"\n\n", begin) + 2

    async def _something_new(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiting:  # the reader gave up waiting
                self._waiting.remove(waiter)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
