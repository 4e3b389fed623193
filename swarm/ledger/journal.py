"""What the writing thread does: continue this node's logs, take in runs of others, and tell what views make of both.

Nothing here waits for anything but the disk, and everything is called from one thread. Views belong to the event loop;
this side only knows how far each log was handed to them (`applied`). When a revocation shows that too much was handed
out, views are built again from the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from swarm.certificates import NodeId
from swarm.errors import MalformedMessage
from swarm.ledger.entries import View
from swarm.ledger.errors import LedgerError, NotEntitled
from swarm.ledger.hybrid_time import HybridClock
from swarm.ledger.operation import (
    LANES,
    MAX_LOGS,
    MAX_LOGS_OF_ONE,
    MAX_RUN_BYTES,
    MAX_RUN_OPERATIONS,
    Lane,
    LogId,
    Operation,
    OperationId,
    bounds_of,
    chain,
    decode_body,
    encode_body,
    signed_bytes,
)
from swarm.ledger.roster import Member, Roster, founds, resolve
from swarm.ledger.run import CheckedRun, Run, check_run
from swarm.ledger.snapshot import replay, restored
from swarm.ledger.storage import Head, Storage


class Signer(Protocol):
    """This node's key; `swarm.identity.Identity` is one."""

    @property
    def node_id(self) -> NodeId:
        """Its id."""

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo in DER."""

    def sign(self, data: bytes) -> bytes:
        """Ed25519 signature."""


@dataclass(frozen=True)
class Draft:
    """An operation of this node that is not yet written."""

    lane: Lane
    kind: str
    payload: bytes | Callable[[Journal], bytes]
    """A function is asked when its turn has come: what it finds is then still so. It raises `LedgerError`."""


@dataclass
class Effects:
    """What views have to take in, in this order."""

    roster: Roster | None = None
    """The new one, if it may have changed."""
    views: list[View] | None = None
    """Take these instead of those before."""
    operations: list[Operation] = field(default_factory=list)


@dataclass
class Taken:
    """What became of runs of another node."""

    operations: int = 0
    """Stored now."""
    refused: dict[LogId, str] = field(default_factory=dict)
    """Logs that cannot be taken, whoever offers them, and why."""
    forked: dict[LogId, int] = field(default_factory=dict)
    """Logs that differ from what is stored, at this position or before."""


class Journal:
    """The state that goes with an open `Storage`."""

    def __init__(
        self, storage: Storage, signer: Signer, swarm_id: str, views: Sequence[Callable[[], View]], clock: HybridClock
    ) -> None:
        """Reads all heads and the whole roster. Raises `LedgerError`."""
        self.storage = storage
        self.heads: dict[LogId, Head] = storage.heads()
        self.roster = Roster()
        self._signer = signer
        self.swarm_id = swarm_id
        self._make_views = views
        self._clock = clock
        self._epoch = storage.epoch()
        self._roster_operations: list[Operation] = []
        self._applied: dict[LogId, int] = {}
        for head in self.heads.values():
            if head.log.lane == "roster":
                self._roster_operations += self._read(head, 0)
            if head.log.origin == signer.node_id and head.position:
                clock.follow(self._read(head, head.position - 1)[0].time)
        self.roster = resolve(swarm_id, self._roster_operations)

    @property
    def node(self) -> NodeId:
        """This node."""
        return self._signer.node_id

    def logs_of(self, node: NodeId) -> list[Head]:
        """All logs of one node."""
        return [head for log, head in self.heads.items() if log.origin == node]

    def own_log(self, lane: Lane) -> LogId:
        """Where this node writes."""
        return LogId(self.node, self._epoch, lane)

    def next_sequence(self, lane: Lane) -> int:
        """Of the next operation of this node in that lane."""
        head = self.heads.get(self.own_log(lane))
        return 1 if head is None else head.position + 1

    def require_member(self) -> Member:
        """This node as the roster has it. Raises `NotEntitled` when it may not write."""
        member = self.roster.members.get(self.node)
        if member is not None and not member.frozen:
            return member
        if member is not None:
            raise NotEntitled(
                f"this node, {self.node}, gave one number to two operations and is believed no more",
                hint="its disk was copied or set back: revoke it, and let it join again",
            )
        if self.roster.is_revoked(self.node):
            raise NotEntitled(f"this node, {self.node}, was revoked or has left", hint="let it join again")
        raise NotEntitled(
            f"this node, {self.node}, is not in the roster",
            hint="it has to join first, and to hear of it from the node that let it in",
        )

    # ---- views

    def load(self) -> Effects:
        """Views of everything that is stored, from the snapshot on if it is of use."""
        return self._rebuilt(*restored(self.storage, self._make_views, self.targets()))

    def _rebuilt(self, applied: Mapping[LogId, int] | None = None, views: Sequence[View] | None = None) -> Effects:
        targets = self.targets()
        views = [make() for make in self._make_views] if views is None else views
        try:
            replay(self.storage, views, applied or {}, targets)
        except MalformedMessage as error:
            raise self.storage.damaged(str(error)) from error
        self._applied = targets
        return Effects(roster=self.roster, views=list(views))

    def targets(self) -> dict[LogId, int]:
        """How far each log counts, of what is here."""
        return {log: self._target(log) for log in self.heads if log.lane != "roster"}

    def _target(self, log: LogId) -> int:
        head = self.heads.get(log)
        if log.lane == "roster" or head is None:
            return 0
        return min(self.roster.limit(log), head.position)

    def _effects(self, stored: Iterable[Sequence[Operation]]) -> Effects:
        """`stored` is by log what was just written. Roster operations must be in the roster already."""
        effects = Effects()
        runs = [run for run in stored if run]
        if any(run[0].id.log.lane == "roster" for run in runs):
            effects.roster = self.roster = resolve(self.swarm_id, self._roster_operations)
            targets = self.targets()
            if any(self._applied.get(log, 0) > target for log, target in targets.items()):
                return self._rebuilt()
            for log, target in targets.items():
                if target > (position := self._applied.get(log, 0)):
                    effects.operations += self._read(self.heads[log], position, target)
                    self._applied[log] = target
            return effects
        for run in runs:
            log = run[0].id.log
            target = self._target(log)
            if target > self._applied.get(log, 0):
                effects.operations += [each for each in run if each.id.sequence <= target]
                self._applied[log] = target
        return effects

    # ---- this node's operations

    def append(self, drafts: Sequence[Draft]) -> tuple[list[OperationId | LedgerError], Effects]:
        """Write these in one go, on disk when this returns; for each its id, or why it cannot be.

        Raises `LedgerError` when nothing could be written.
        """
        outcomes: list[OperationId | LedgerError] = []
        bodies: dict[LogId, list[bytes]] = {}
        operations: dict[LogId, list[Operation]] = {}
        for draft in drafts:
            try:
                log, body = self._written(draft, {each: len(found) for each, found in bodies.items()})
            except LedgerError as error:
                outcomes.append(error)
                continue
            at = self._position(log) + len(bodies.setdefault(log, [])) + 1
            operation = decode_body(log, at, body)
            bodies[log].append(body)
            operations.setdefault(log, []).append(operation)
            outcomes.append(operation.id)
        if not bodies:
            return outcomes, Effects()
        heads: list[Head] = []
        with self.storage.transaction():
            for log, new in bodies.items():
                head = self.heads.get(log) or self.storage.begin_log(log, self._signer.public_key)
                hash_ = chain(head.hash, new)
                signature = self._signer.sign(signed_bytes(head.position + len(new), hash_))
                heads.append(self.storage.append(head, new, hash_, signature))
        self._wrote(heads, operations.values())
        return outcomes, self._effects(operations.values())

    def _written(self, draft: Draft, pending: Mapping[LogId, int]) -> tuple[LogId, bytes]:
        payload = draft.payload if isinstance(draft.payload, bytes) else draft.payload(self)
        if draft.lane != "roster":
            self.require_member()
        body = encode_body(self._clock.next(), draft.kind, payload)
        log = self.own_log(draft.lane)
        head = self.heads.get(log)
        most, most_bytes = bounds_of(draft.lane)
        if head is not None and (
            head.position + pending.get(log, 0) >= most or head.size + MAX_RUN_BYTES + len(body) > most_bytes
        ):
            if len(self.logs_of(self.node)) + len(LANES) > MAX_LOGS_OF_ONE:
                raise LedgerError(f"the {log} is full, and this node has as many logs as one may have")
            self._epoch = self.storage.new_epoch()
            log = self.own_log(draft.lane)
        try:
            decode_body(log, 1, body)
        except MalformedMessage as error:
            raise LedgerError(str(error)) from error
        return log, body

    def _position(self, log: LogId) -> int:
        head = self.heads.get(log)
        return 0 if head is None else head.position

    def _wrote(self, heads: Iterable[Head], operations: Iterable[Sequence[Operation]]) -> None:
        for head in heads:
            self.heads[head.log] = head
        for run in operations:
            if run and run[0].id.log.lane == "roster":
                self._roster_operations += run

    # ---- others' operations

    def take(self, runs: Iterable[Run], asked: frozenset[LogId]) -> tuple[Taken, Effects]:
        """Store what continues the logs here, all of it or nothing, on disk when this returns.

        Raises `MalformedMessage` for a run that its origin did not sign, cannot be read, or was not asked for;
        `LedgerError`.
        """
        taken = Taken()
        checked = [check_run(run) for run in runs]
        for each in checked:
            if each.log not in asked:
                raise MalformedMessage(f"a run of the {each.log} was not asked for")
        heads: dict[LogId, Head] = {}
        stored: dict[LogId, list[Operation]] = {}
        with self.storage.transaction():
            for each in checked:
                head = heads.get(each.log) or self.heads.get(each.log)
                reason = self._why_not(each, head, heads)
                if reason:
                    taken.refused[each.log] = reason
                    continue
                position = 0 if head is None else head.position
                if each.run.first > position + 1:
                    raise MalformedMessage(f"a run of the {each.log} leaves out {position + 1} to {each.run.first - 1}")
                if each.run.last <= position:
                    continue  # it came by another way since
                head = head or self.storage.begin_log(each.log, each.run.key)
                known = position - each.run.first + 1
                if chain(each.run.previous, each.run.bodies[:known]) != head.hash:
                    taken.forked[each.log] = position
                    continue
                bodies = each.run.bodies[known:]
                heads[each.log] = self.storage.append(head, bodies, each.hash, each.run.signature)
                stored.setdefault(each.log, []).extend(each.operations[known:])
                taken.operations += len(bodies)
        self._wrote(heads.values(), stored.values())
        for operations in stored.values():
            self._clock.follow(max(each.time for each in operations))
        if any((log.origin, log.epoch) == (self.node, self._epoch) for log in stored):
            # Others know more of our own log than we did: this disk was set back.
            self._epoch = self.storage.new_epoch()
        return taken, self._effects(stored.values())

    def _why_not(self, run: CheckedRun, head: Head | None, new: Mapping[LogId, Head]) -> str:
        log = run.log
        limit = self.roster.limit(log)
        if not limit and not (log.lane == "roster" and run.run.first == 1 and founds(self.swarm_id, run.operations[0])):
            return "its origin is not in the roster"
        if head is None:
            every = self.heads.keys() | new.keys()
            if len(every) >= MAX_LOGS or sum(each.origin == log.origin for each in every) >= MAX_LOGS_OF_ONE:
                return "there are too many logs"
        most, most_bytes = bounds_of(log.lane)
        size = 0 if head is None else head.size
        if run.run.last > most or size + sum(map(len, run.run.bodies)) > most_bytes:
            return f"it has more than {most} operations or {most_bytes} bytes"
        if len(run.run.bodies) > MAX_RUN_OPERATIONS:
            return "it is no run"
        return ""

    # ---- reading back

    def _read(self, head: Head, after: int, last: int | None = None) -> list[Operation]:
        end = head.position if last is None else last
        return [self._decoded(head.log, at, body) for at, body in self.storage.each_body(head, after + 1, end)]

    def _decoded(self, log: LogId, sequence: int, body: bytes) -> Operation:
        try:
            return decode_body(log, sequence, body)
        except MalformedMessage as error:
            raise self.storage.damaged(str(error)) from error
