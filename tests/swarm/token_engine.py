"""A language model that says `w0  w1  w2  …`, four characters a word; has a set speed; can be stalled and broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from swarm.errors import EngineError
from swarm.task import Piece, SizeClass, TaskRequest


class TokenEngine:
    """A `swarm.worker.TaskEngine`; the payload is `{"words": 20}`."""

    kind = "generate"

    def __init__(
        self,
        model: str = "tiny",
        *,
        size: SizeClass = "tiny",
        slots: int = 2,
        first_s: float = 0.0,
        word_s: float = 0.0,
        load_s: float = 0.0,
        hold_after: int | None = None,
        break_after: int | None = None,
    ) -> None:
        self.model = model
        self.size: SizeClass = size
        self.slots = slots
        self.first_s = first_s
        self.word_s = word_s
        self.load_s = load_s
        self.hold_after = hold_after
        self.break_after = break_after
        self.warm = load_s == 0.0
        self.go_on = asyncio.Event()
        self.held = asyncio.Event()
        self.started = 0
        self.running = 0
        self.most_at_once = 0
        self.cancelled = 0
        self.order: list[str] = []
        """Keys of the tasks in the order in which they began."""

    async def run(self, request: TaskRequest) -> AsyncGenerator[Piece, None]:
        words = words_of(request)
        self.order.append(request.key)
        self.started += 1
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        done = False
        try:
            if not self.warm:
                await asyncio.sleep(self.load_s)
                self.warm = True
            if self.first_s:
                await asyncio.sleep(self.first_s)
            for number in range(words):
                if number == self.hold_after:
                    self.held.set()
                    await self.go_on.wait()
                if number == self.break_after:
                    raise EngineError("the model broke", hint="mend it")
                if self.word_s and number:
                    await asyncio.sleep(self.word_s)
                yield Piece(text=f"w{number:<3}")
            done = True
        finally:
            self.running -= 1
            if not done:
                self.cancelled += 1


def words_of(request: TaskRequest) -> int:
    payload = msgspec.json.decode(request.payload)
    return int(payload["words"]) if isinstance(payload, dict) else 5


def ask(words: int = 5, **fields: object) -> TaskRequest:
    """A request for so many words; `fields` as in `TaskRequest`."""
    return msgspec.convert(
        {"type": "chat", **fields, "payload": msgspec.Raw(b'{"words":%d}' % words)}, TaskRequest, strict=True
    )


def expected(words: int) -> str:
    return "".join(f"w{number:<3}" for number in range(words))
