"""Views that merge: sets of entries by key, such as settings, timers and jobs. Pure.

An observed-remove set (Shapiro, Preguiça, Baquero, Zawirski, "Conflict-free Replicated Data Types", 2011): a write
names the writes that it replaces, a removal those that it removes, and nothing else. So what was removed stays removed
on every node, and a write that the removal did not know of stays. Where several writes under one key do not know of
each other, the one with the latest hybrid time shows (last writer wins) until the next write replaces them all. As a
write replaces what its author saw by name, it takes effect whatever the clocks say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Protocol, TypeVar, overload

import msgspec

from swarm.ledger.operation import Lane, LogId, Operation, OperationId, decode_payload, encode_payload

MAX_KEY = 200
MAX_TAGS = 128
"""Writes that one operation replaces or removes; more take several operations."""

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY)]
Tags = Annotated[tuple[OperationId, ...], msgspec.Meta(max_length=MAX_TAGS)]
T = TypeVar("T")


class View(Protocol):
    """A fold over operations. The operations of one log come in order and once; those of different logs in any order,
    and the outcome must not depend on it. What it cannot read, it ignores."""

    name: str
    """Its operations' kinds begin with this and a dot."""
    version: int
    """Of `snapshot`; an older one is not restored but built again."""

    def apply(self, operation: Operation) -> None:
        """Take in one operation."""

    def snapshot(self) -> bytes:
        """Everything, for `restore`; equal for equal operations."""

    def restore(self, snapshot: bytes) -> None:
        """Become what was. Raises `msgspec.DecodeError`."""


class Put(msgspec.Struct, frozen=True, omit_defaults=True):
    """`<view>.put`"""

    key: Key
    value: msgspec.Raw
    replaces: Tags = ()


class Remove(msgspec.Struct, frozen=True, omit_defaults=True):
    """`<view>.remove`"""

    key: Key
    removes: Tags


class Write(msgspec.Struct, frozen=True, array_like=True):
    """One write that nothing replaced yet."""

    tag: OperationId
    time: int
    value: msgspec.Raw


class _Snapshot(msgspec.Struct, array_like=True):
    live: list[tuple[str, list[Write]]]
    buried: list[tuple[OperationId, list[str]]]
    seen: list[tuple[LogId, int]]


class Entries:
    """Values by key. Values are whatever MessagePack holds."""

    version = 1

    def __init__(self, name: str) -> None:
        self.name = name
        self._put, self._remove = f"{name}.put", f"{name}.remove"
        self._live: dict[str, tuple[Write, ...]] = {}
        """The one that shows first."""
        self._seen: dict[LogId, int] = {}
        self._buried: dict[OperationId, set[str]] = {}
        """Writes that were removed before they came, with the key that the removal named."""

    # ---- reading

    @overload
    def get(self, key: str) -> Any: ...
    @overload
    def get(self, key: str, kind: type[T]) -> T | None: ...
    def get(self, key: str, kind: Any = Any) -> Any:
        """The value; None when there is none, or it is no `kind`."""
        writes = self._live.get(key)
        return None if writes is None else decode_payload(writes[0].value, kind)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Keys and values, in no order."""
        for key, writes in self._live.items():
            yield key, decode_payload(writes[0].value, Any)

    def writes(self, key: str) -> tuple[Write, ...]:
        """All writes under the key that do not know of each other, the one that shows first."""
        return self._live.get(key, ())

    def __contains__(self, key: str) -> bool:
        return key in self._live

    def __len__(self) -> int:
        return len(self._live)

    # ---- folding

    def apply(self, operation: Operation) -> None:
        """See `View`."""
        tag = operation.id
        if operation.kind == self._put:
            put = decode_payload(operation.payload, Put)
            buried = self._arrived(tag)
            if put is None:
                return
            self._take_away(put.key, put.replaces)
            if put.key not in buried:
                writes = (*self._live.get(put.key, ()), Write(tag, operation.time, msgspec.Raw(bytes(put.value))))
                self._live[put.key] = tuple(sorted(writes, key=lambda each: (each.time, each.tag), reverse=True))
        elif operation.kind == self._remove:
            remove = decode_payload(operation.payload, Remove)
            self._arrived(tag)
            if remove is not None:
                self._take_away(remove.key, remove.removes)

    def snapshot(self) -> bytes:
        """See `View`."""
        return encode_payload(
            _Snapshot(
                [(key, list(writes)) for key, writes in sorted(self._live.items())],
                [(tag, sorted(keys)) for tag, keys in sorted(self._buried.items())],
                sorted(self._seen.items()),
            )
        )

    def restore(self, snapshot: bytes) -> None:
        """See `View`."""
        read = msgspec.msgpack.decode(snapshot, type=_Snapshot)
        self._live = {
            key: tuple(Write(each.tag, each.time, msgspec.Raw(bytes(each.value))) for each in writes)
            for key, writes in read.live
        }
        self._buried = {tag: set(keys) for tag, keys in read.buried}
        self._seen = dict(read.seen)

    def _arrived(self, tag: OperationId) -> set[str]:
        """Keys under which a removal was here before it."""
        before = self._seen.get(tag.log, 0)
        self._seen[tag.log] = tag.sequence
        if not self._buried:
            return set()
        keys = self._buried.pop(tag, set())
        if self._buried and tag.sequence - before > 1:
            # Tags of what was no write at all: nothing waits for them any more.
            passed = [each for each in self._buried if each.log == tag.log and each.sequence < tag.sequence]
            for each in passed:
                del self._buried[each]
        return keys

    def _take_away(self, key: str, tags: tuple[OperationId, ...]) -> None:
        if not tags:
            return
        gone = set(tags)
        left = tuple(each for each in self._live.get(key, ()) if each.tag not in gone)
        if left:
            self._live[key] = left
        else:
            self._live.pop(key, None)
        for tag in tags:
            if tag.sequence > self._seen.get(tag.log, 0):
                self._buried.setdefault(tag, set()).add(key)


def removals(
    writes: tuple[Write, ...], lane: Lane | None
) -> tuple[tuple[OperationId, ...], list[tuple[Lane, tuple[OperationId, ...]]]]:
    """How to take these writes away: tags that an operation in `lane` may name by itself, and removals to write before
    it, by lane. A write is always removed in its own lane too, or those who see only that would keep it."""
    tags = sorted(each.tag for each in writes)
    own = [tag for tag in tags if tag.log.lane == lane]
    others = [tag for tag in tags if tag.log.lane != lane]
    before: list[tuple[Lane, tuple[OperationId, ...]]] = []
    for each in sorted({tag.log.lane for tag in others}):
        of_lane = [tag for tag in others if tag.log.lane == each]
        before += [(each, tuple(of_lane[at : at + MAX_TAGS])) for at in range(0, len(of_lane), MAX_TAGS)]
    if lane is not None:
        before += [(lane, tuple(own[at : at + MAX_TAGS])) for at in range(MAX_TAGS, len(own), MAX_TAGS)]
    return tuple(own[:MAX_TAGS]), before
