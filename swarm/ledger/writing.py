"""The thread that writes: one after the other, and together what waits together."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from swarm.errors import MycoswarmError
from swarm.ledger.errors import LedgerError
from swarm.ledger.journal import Draft, Effects, Journal
from swarm.ledger.operation import MAX_RUN_BYTES, MAX_RUN_OPERATIONS, OperationId

MAX_WAITING = 4096
"""Operations that wait for the thread; beyond, whoever writes waits for room."""
MAX_WAIT_S = 30.0
"""For that room."""

T = TypeVar("T")
Outcome = tuple["asyncio.Future[Any]", Any]
"""Who waits, and what for; an exception is raised there."""


@dataclass(frozen=True)
class _Job:
    work: Draft | Callable[[Journal], tuple[Any, Effects]] | None
    """None ends the thread."""
    done: asyncio.Future[Any]

    @property
    def groups(self) -> bool:
        """Whether it may be written together with others. A change of the roster may not: whether the next one is
        allowed depends on it."""
        return isinstance(self.work, Draft) and self.work.lane != "roster"

    @property
    def size(self) -> int:
        return len(self.work.payload) if isinstance(self.work, Draft) and isinstance(self.work.payload, bytes) else 0


class WritingThread:
    """Owns an open `Journal`. Belongs to one event loop."""

    def __init__(self, journal: Journal, deliver: Callable[[Effects, list[Outcome]], None]) -> None:
        """`deliver` is called in the event loop, in the order of writing."""
        self._journal = journal
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()  # bounded by `_room`, and by few who `ask`
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._open = True
        self._thread = threading.Thread(target=self._work, name="ledger-write", daemon=True)
        self._thread.start()

    async def append(self, draft: Draft) -> OperationId:
        """Write it. Raises `LedgerError`."""
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._room.acquire()
        except TimeoutError as error:
            path = self._journal.storage.path
            raise LedgerError(f"the ledger {path} is too slow: {MAX_WAITING} operations wait for it") from error
        try:
            written = await self._submit(draft)
            assert isinstance(written, OperationId)
            return written
        finally:
            self._room.release()

    async def ask(self, do: Callable[[Journal], tuple[T, Effects]]) -> T:
        """Do something between two operations. Raises what it raises."""
        answer: T = await self._submit(do)
        return answer

    async def close(self) -> None:
        """Write what waits and end."""
        self._open = False
        self._jobs.put(_Job(None, self._loop.create_future()))
        await asyncio.to_thread(self._thread.join)

    async def _submit(self, work: Draft | Callable[[Journal], tuple[Any, Effects]]) -> Any:
        if not self._open:
            raise LedgerError(f"the ledger {self._journal.storage.path} is closed")
        done = self._loop.create_future()
        self._jobs.put(_Job(work, done))
        return await done

    # ---- in the thread

    def _work(self) -> None:
        held: _Job | None = None
        while (job := held or self._jobs.get()).work is not None:
            batch, size, held = [job], job.size, None
            while job.groups and held is None and len(batch) < MAX_RUN_OPERATIONS and not self._jobs.empty():
                following = self._jobs.get()
                if following.groups and size + following.size <= MAX_RUN_BYTES // 2:
                    batch.append(following)
                    size += following.size
                else:
                    held = following
            effects, outcomes = self._written(batch) if isinstance(job.work, Draft) else self._asked(job)
            with suppress(RuntimeError):  # the event loop has ended: nobody waits any more
                self._loop.call_soon_threadsafe(self._deliver, effects, outcomes)
        self._journal.storage.close()

    def _written(self, batch: list[_Job]) -> tuple[Effects, list[Outcome]]:
        drafts = [job.work for job in batch if isinstance(job.work, Draft)]
        try:
            written, effects = self._journal.append(drafts)
        except Exception as error:  # noqa: BLE001 whatever it is, those who wait must hear of it, and the thread live
            return Effects(), [(job.done, _known(error)) for job in batch]
        return effects, [(job.done, each) for job, each in zip(batch, written, strict=True)]

    def _asked(self, job: _Job) -> tuple[Effects, list[Outcome]]:
        assert callable(job.work)
        try:
            answer, effects = job.work(self._journal)
        except Exception as error:  # noqa: BLE001 as above
            return Effects(), [(job.done, _known(error))]
        return effects, [(job.done, answer)]


def _known(error: Exception) -> Exception:
    if isinstance(error, MycoswarmError):
        return error
    unexpected = LedgerError(f"the ledger failed: {type(error).__name__}: {error}", hint="please report it")
    unexpected.__cause__ = error
    return unexpected


def settle(outcome: Outcome) -> None:
    """Wake who waits."""
    done, result = outcome
    if done.done():
        return  # it was cancelled
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)
