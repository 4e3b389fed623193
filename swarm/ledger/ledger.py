"""The ledger as the rest of the node uses it: from one event loop, which it never blocks.

One thread writes. What waits for it is written together: one transaction, one signature, one wait for the disk (group
commit). When `append` returns, the operation is on disk and in the views. A second thread reads, for other nodes and
for snapshots. Views change in the event loop, a few operations at a time, so that a large batch holds nothing up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from swarm.certificates import NodeId
from swarm.ledger import roster_changes
from swarm.ledger.entries import Entries, Remove, View, removals
from swarm.ledger.errors import LedgerError
from swarm.ledger.hybrid_time import HybridClock
from swarm.ledger.journal import Draft, Effects, Journal, Signer, Taken
from swarm.ledger.operation import (
    MAX_PAYLOAD_BYTES,
    Lane,
    LogId,
    OperationId,
    encode_payload,
)
from swarm.ledger.roster import Roster
from swarm.ledger.run import Evidence, Run
from swarm.ledger.snapshot import make_snapshot
from swarm.ledger.storage import Storage, open_storage
from swarm.ledger.writing import Outcome, WritingThread, settle
from swarm.task import Privacy

APPLY_AT_ONCE = 256
"""Operations that views take in between two turns of the event loop: about half a millisecond."""
SNAPSHOT_EVERY = 20_000
"""Operations that a start has to read again at most, once it was stopped in good order; 0.2 s."""

VIEWS: tuple[Callable[[], View], ...] = tuple(
    partial(Entries, name) for name in ("settings", "timers", "jobs", "rules", "updates")
)

_log = logging.getLogger(__name__)
T = TypeVar("T")
Changed = Callable[[frozenset[str]], None]


class Ledger:
    """`open`, then anything, then `close`; or `async with`. Belongs to one event loop."""

    def __init__(
        self,
        path: Path,
        signer: Signer,
        swarm_id: str,
        *,
        views: Sequence[Callable[[], View]] = VIEWS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`signer` is the node's `Identity`; the swarm's id proves the founder; `clock` gives seconds since 1970."""
        self.path = path
        self.swarm_id = swarm_id
        self.node: NodeId = signer.node_id
        self._signer = signer
        self._make_views = tuple(views)
        self._clock = clock
        self._roster = Roster()
        self._views: dict[str, View] = {}
        self._subscribers: list[Changed] = []
        self._waiting: deque[tuple[Effects, list[Outcome]]] = deque()  # bounded by what waits for the thread
        self._draining = False
        self._writing: WritingThread | None = None
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="ledger-read")
        self._reader: Storage | None = None
        self._since_snapshot = 0
        self._snapshot_task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read everything there is. Raises `LedgerError`, `DamagedLedger`."""
        self._loop = asyncio.get_running_loop()
        journal, effects = await asyncio.to_thread(self._load)
        self._take_in(effects)
        self._writing = WritingThread(journal, self._deliver)

    async def close(self) -> None:
        """Write what waits and end."""
        if self._writing is None:
            return
        if self._snapshot_task is not None:
            await asyncio.wait({self._snapshot_task})
        if self._since_snapshot:
            with suppress(LedgerError):  # it only saves time
                await self._save_snapshot()
        writing, self._writing = self._writing, None
        await writing.close()
        while self._waiting:
            self._drain()
        await asyncio.to_thread(self._reading.shutdown)
        if self._reader is not None:
            self._reader.close()

    async def __aenter__(self) -> Ledger:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ---- what there is

    @property
    def roster(self) -> Roster:
        """Who belongs to the swarm; another object after each change."""
        return self._roster

    @property
    def settings(self) -> Entries:
        """Settings by name."""
        return self.entries("settings")

    @property
    def timers(self) -> Entries:
        """Timers by id."""
        return self.entries("timers")

    @property
    def jobs(self) -> Entries:
        """Background and batch jobs by id."""
        return self.entries("jobs")

    def entries(self, name: str) -> Entries:
        """A view of that kind. Ask each time: after a revocation it may be another object."""
        view = self._views[name]
        assert isinstance(view, Entries)
        return view

    def view(self, name: str) -> View:
        """Any view."""
        return self._views[name]

    def subscribe(self, changed: Changed) -> Callable[[], None]:
        """Call `changed` in the event loop after each change, with the names of the views; returns what ends that."""
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed) if changed in self._subscribers else None

    # ---- writing

    async def append(self, kind: str, payload: object, *, lane: Lane = "home") -> OperationId:
        """Write an operation of this node; on disk and in the views when this returns.

        `kind` is a view's name, a dot and what happened; `payload` what msgspec can encode, `MAX_PAYLOAD_BYTES` at
        most. Raises `LedgerError`, `NotEntitled`; `TypeError` for a payload that cannot be encoded. If it is cancelled
        the operation may have been written or not.
        """
        encoded = encode_payload(payload)
        if len(encoded) > MAX_PAYLOAD_BYTES:
            raise LedgerError(f"an operation of {len(encoded)} bytes; one may have {MAX_PAYLOAD_BYTES}")
        return await self._thread.append(Draft(lane, kind, encoded))

    async def put(self, view: str, key: str, value: object, *, lane: Lane = "home") -> None:
        """Write an entry of a view in place of whatever is there now. Raises as `append`."""
        replaces, removed = removals(self.entries(view).writes(key), lane)
        await self._remove(view, key, removed)
        await self.append(f"{view}.put", {"key": key, "value": value, "replaces": replaces}, lane=lane)

    async def remove(self, view: str, key: str) -> None:
        """Remove an entry, for good; one that is not there is no error. Raises as `append`."""
        await self._remove(view, key, removals(self.entries(view).writes(key), None)[1])

    async def _remove(self, view: str, key: str, removed: list[tuple[Lane, tuple[OperationId, ...]]]) -> None:
        for lane, tags in removed:
            await self.append(f"{view}.remove", Remove(key, tags), lane=lane)

    async def found(
        self,
        authority: str,
        *,
        name: str,
        roles: Sequence[str] = ("hub",),
        accepts: Sequence[Privacy] = ("private", "home", "shared"),
    ) -> None:
        """Begin the swarm's roster with this node, which has the founding authority (PEM). Raises `LedgerError`."""
        await self._thread.append(roster_changes.founding(name, roles, accepts, authority))

    async def enrol(
        self, node: NodeId, *, name: str, roles: Sequence[str] = (), accepts: Sequence[Privacy] = ("home", "shared")
    ) -> None:
        """Let a node in, or change how it is called and what it may be given. Raises `LedgerError`, `NotEntitled`."""
        await self._thread.append(roster_changes.enrolment(node, name, roles, accepts))

    async def grant(self, node: NodeId, authority: str) -> None:
        """Let a hub admit others by its own authority (PEM). Raises `LedgerError`, `NotEntitled`."""
        await self._thread.append(roster_changes.grant(node, authority))

    async def revoke(self, node: NodeId, *, reason: str = "") -> None:
        """Believe a node no more; only what it wrote before counts. Raises `LedgerError`, `NotEntitled`."""
        await self._thread.append(roster_changes.revocation(node, reason))

    async def leave(self) -> None:
        """This node's last word. Raises `LedgerError`, `NotEntitled`."""
        await self._thread.append(roster_changes.leaving())

    async def report_fork(self, evidence: Evidence) -> None:
        """Tell all that a node gave one number to two operations. Raises `LedgerError`."""
        await self._thread.append(roster_changes.fork(evidence))

    # ---- for sync

    async def take(self, runs: Sequence[Run], asked: frozenset[LogId]) -> Taken:
        """Check and store runs of another node. Raises `MalformedMessage`, `LedgerError`."""

        def do(journal: Journal) -> tuple[Taken, Effects]:
            return journal.take(runs, asked)

        return await self._thread.ask(do)

    async def read(self, question: Callable[[Storage], T]) -> T:
        """Ask the stored logs, in the thread that only reads. Raises `LedgerError`."""

        def do() -> T:
            if self._reader is None:
                self._reader = open_storage(self.path, self.swarm_id, reader=True)
            return question(self._reader)

        return await self._loop.run_in_executor(self._reading, do)

    async def verify(self) -> int:
        """Check every stored operation against its signature; their number. Takes seconds. Raises `DamagedLedger`."""
        return await self.read(lambda storage: storage.check_all())

    # ---- how it works

    @property
    def _thread(self) -> WritingThread:
        if self._writing is None:
            raise LedgerError(f"the ledger {self.path} is not open")
        return self._writing

    def _load(self) -> tuple[Journal, Effects]:
        storage = open_storage(self.path, self.swarm_id)
        try:
            journal = Journal(storage, self._signer, self.swarm_id, self._make_views, HybridClock(self._clock))
            return journal, journal.load()
        except BaseException:
            storage.close()
            raise

    def _deliver(self, effects: Effects, outcomes: list[Outcome]) -> None:
        self._waiting.append((effects, outcomes))
        if not self._draining:
            self._draining = True
            self._drain()

    def _drain(self) -> None:
        """Take in what was delivered, a part of it at a time: other things happen in this loop."""
        changed: set[str] = set()
        left = APPLY_AT_ONCE
        while self._waiting and left > 0:
            effects, outcomes = self._waiting[0]
            changed |= self._take_in(effects)
            operations = effects.operations[:left]
            del effects.operations[:left]
            left -= len(operations) + 1
            for operation in operations:
                view = self._views.get(operation.kind.partition(".")[0])
                if view is not None:
                    view.apply(operation)
                    changed.add(view.name)
            self._since_snapshot += len(operations)
            if not effects.operations:
                self._waiting.popleft()
                for outcome in outcomes:
                    settle(outcome)
        if self._waiting:
            self._loop.call_soon(self._drain)
        else:
            self._draining = False
        if changed:
            for each in tuple(self._subscribers):
                each(frozenset(changed))
        if self._since_snapshot >= SNAPSHOT_EVERY and self._snapshot_task is None and self._writing is not None:
            self._since_snapshot = 0
            self._snapshot_task = asyncio.create_task(self._snapshot_in_background(), name="ledger snapshot")

    def _take_in(self, effects: Effects) -> set[str]:
        """All but the operations."""
        changed: set[str] = set()
        if effects.roster is not None:
            self._roster, effects.roster = effects.roster, None
            changed.add("roster")
        if effects.views is not None:
            self._views = {view.name: view for view in effects.views}
            changed |= self._views.keys()
            effects.views = None
        return changed

    async def _snapshot_in_background(self) -> None:
        try:
            await self._save_snapshot()
        except LedgerError as error:
            _log.warning("no snapshot: %s", error.for_log())
        finally:
            self._snapshot_task = None

    async def _save_snapshot(self) -> None:
        self._since_snapshot = 0
        limits = await self._thread.ask(lambda journal: (journal.targets(), Effects()))
        contents = await self.read(lambda storage: make_snapshot(storage, self._make_views, limits))

        def save(journal: Journal) -> tuple[None, Effects]:
            journal.storage.save_snapshot(limits, contents)
            return None, Effects()

        await self._thread.ask(save)
