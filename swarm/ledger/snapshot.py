"""Views as they were at some point, kept so that a start need not read everything. They can always be made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from swarm.ledger.entries import View
from swarm.ledger.operation import LogId, decode_body
from swarm.ledger.storage import Storage


def restored(
    storage: Storage, make_views: Sequence[Callable[[], View]], limits: Mapping[LogId, int]
) -> tuple[dict[LogId, int], list[View]]:
    """Views from the kept snapshot and how far they have each log; empty views if it has more of a log than `limits`
    allow, or cannot be read."""
    applied, contents = storage.snapshot()
    views = [make() for make in make_views]
    try:
        if any(position > limits.get(log, 0) for log, position in applied.items()):
            raise KeyError
        for view in views:
            version, content = contents[view.name]
            if version != view.version:
                raise KeyError(view.name)
            view.restore(content)
    except (KeyError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}, [make() for make in make_views]
    return applied, views


def replay(storage: Storage, views: Sequence[View], applied: Mapping[LogId, int], limits: Mapping[LogId, int]) -> None:
    """Let views take in what is stored after `applied`, up to `limits`. Raises `LedgerError`, `MalformedMessage`."""
    by_name = {view.name: view for view in views}
    for log, limit in limits.items():
        head, position = storage.head(log), applied.get(log, 0)
        if head is None or position >= limit:
            continue
        for sequence, body in storage.each_body(head, position + 1, limit):
            operation = decode_body(log, sequence, body)
            view = by_name.get(operation.kind.partition(".")[0])
            if view is not None:
                view.apply(operation)


def make_snapshot(
    storage: Storage, make_views: Sequence[Callable[[], View]], limits: Mapping[LogId, int]
) -> dict[str, tuple[int, bytes]]:
    """Version and content by view of everything up to `limits`; the views in use are not touched for it."""
    applied, views = restored(storage, make_views, limits)
    replay(storage, views, applied, limits)
    return {view.name: (view.version, view.snapshot()) for view in views}
