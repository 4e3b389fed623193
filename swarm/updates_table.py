"""How nodes stand with updates, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from swarm.tables import plain_table
from swarm.updates.view import NodeUpdate, in_words


def updates_table(updates: Iterable[NodeUpdate]) -> str:
    """One line a node."""
    rows = [
        (
            f"{each.name}{' (here)' if each.here else ''}",
            each.compatible,
            each.version,
            each.slot,
            each.offered if each.offered != each.version else "",
            in_words(each) if each.alive else f"off; {in_words(each)}".rstrip("; "),
        )
        for each in updates
    ]
    return plain_table(rows, ("name", "kind", "runs", "slot", "offered", "state"))
