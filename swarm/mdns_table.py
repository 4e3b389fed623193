"""What mDNS said about nodes: which of it is kept, for how long, and when to ask again. Pure.

Anybody on the LAN can say anything, so nothing here is believed, only bounded:

- Nodes of the roster (`known`) and machines nobody knows (strangers) are kept apart, so that a flood of made-up nodes
  cannot push out a real one. Strangers get `MAX_STRANGERS` places; a new one takes the place of the one that is there
  longest, once that one had `STRANGER_STAY_S` to prove itself.
- Whoever imitates a node can make its entry wrong for a moment. The change makes us ask again, the real one answers,
  and both addresses are reported one after the other: at most one report per node and `REPORT_EVERY_S`.
- A goodbye is believed and checked: a node that is still there answers the question that follows.
- What is not repeated ends after `lifetime_s` (the time to live of host records, RFC 6762 section 10); it is asked for
  at 75, 85 and 95 % of that, as section 5.2 says.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from swarm.candidate import Candidate, Change, Found, Gone

LIFETIME_S = 120.0
MAX_KNOWN = 512
MAX_STRANGERS = 32
STRANGER_STAY_S = 10.0
REPORT_EVERY_S = 1.0
DOUBT_EVERY_S = 5.0
"""A node whose entry changes over and over is asked about no more often than this."""
ASK_AT = (0.75, 0.85, 0.95)


class Step(msgspec.Struct, frozen=True):
    """What follows from something heard, or from time passing."""

    changes: tuple[Change, ...] = ()
    ask: tuple[str, ...] = ()
    """Nodes to ask about, by id."""


class _Entry(msgspec.Struct):
    candidate: Candidate
    first_heard: float
    heard: float
    asked: int = 0
    reported: Candidate | None = None
    reported_at: float = -1e9
    doubted_at: float = -1e9


class MdnsTable:
    """The nodes that mDNS tells of. `known` says whether a node id is on the roster or was proved before."""

    def __init__(self, *, known: Callable[[str], bool] = lambda _: False, lifetime_s: float = LIFETIME_S) -> None:
        self._known = known
        self._lifetime_s = lifetime_s
        self._entries: dict[str, _Entry] = {}
        self.refused = 0
        """How often there was no place for a machine."""

    def __len__(self) -> int:
        return len(self._entries)

    def candidates(self) -> tuple[Candidate, ...]:
        """Everything that is kept, longest known first."""
        return tuple(entry.candidate for entry in self._entries.values())

    def get(self, node_id: str) -> Candidate | None:
        """What is known of one node."""
        entry = self._entries.get(node_id)
        return entry.candidate if entry else None

    def has_place(self, node_id: str, now: float) -> bool:
        """Whether an announcement of this node would be kept; cheap, for use before it is parsed."""
        return node_id in self._entries or self._place(node_id, now) != _FULL

    def heard(self, candidate: Candidate, now: float) -> Step:
        """A machine announced itself or answered."""
        entry = self._entries.get(candidate.node_id)
        if entry is not None:
            return self._heard_again(entry, candidate, now)
        evicted = self._place(candidate.node_id, now)
        if evicted == _FULL:
            self.refused += 1
            return Step()
        changes = list(self._drop(evicted)) if evicted else []
        entry = self._entries[candidate.node_id] = _Entry(candidate, first_heard=now, heard=now)
        changes += self._report(entry, now)
        return Step(tuple(changes))

    def read_again(self, candidate: Candidate, now: float) -> Step:
        """What is known of a node was looked at once more; nobody spoke, so it is no younger."""
        entry = self._entries.get(candidate.node_id)
        if entry is None:
            return Step()
        entry.candidate = candidate
        return Step(tuple(self._report(entry, now)))

    def said_goodbye(self, node_id: str, now: float) -> Step:
        """Somebody said that the node leaves: perhaps the node itself."""
        return Step(self._drop(node_id), (node_id,)) if node_id in self._entries else Step()

    def time_passed(self, now: float) -> Step:
        """Ends what was not repeated, reports what was held back, and says whom to ask."""
        changes: list[Change] = []
        ask: list[str] = []
        for node_id, entry in list(self._entries.items()):
            age = (now - entry.heard) / self._lifetime_s
            if age >= 1.0:
                changes += self._drop(node_id)
                continue
            if entry.asked < len(ASK_AT) and age >= ASK_AT[entry.asked]:
                entry.asked += 1
                ask.append(node_id)
            changes += self._report(entry, now)
        return Step(tuple(changes), tuple(ask))

    def next_due(self) -> float | None:
        """When `time_passed` has something to do; None when nothing is kept."""
        return min(map(self._due, self._entries.values()), default=None)

    def _due(self, entry: _Entry) -> float:
        share = ASK_AT[entry.asked] if entry.asked < len(ASK_AT) else 1.0
        due = entry.heard + share * self._lifetime_s
        held_back = entry.candidate != entry.reported
        return min(due, entry.reported_at + REPORT_EVERY_S) if held_back else due

    def _heard_again(self, entry: _Entry, candidate: Candidate, now: float) -> Step:
        entry.heard = now
        entry.asked = 0
        ask: tuple[str, ...] = ()
        before, entry.candidate = entry.candidate, candidate
        moved = (before.addresses, before.port) != (candidate.addresses, candidate.port)
        if moved and now - entry.doubted_at >= DOUBT_EVERY_S:
            # Moved, restarted, or imitated: whoever is really there answers.
            entry.doubted_at = now
            ask = (candidate.node_id,)
        return Step(tuple(self._report(entry, now)), ask)

    def _report(self, entry: _Entry, now: float) -> list[Change]:
        if entry.candidate == entry.reported or now - entry.reported_at < REPORT_EVERY_S:
            return []
        entry.reported = entry.candidate
        entry.reported_at = now
        return [Found(entry.candidate)]

    def _drop(self, node_id: str) -> tuple[Change, ...]:
        entry = self._entries.pop(node_id)
        return (Gone(entry.reported),) if entry.reported else ()

    def _place(self, node_id: str, now: float) -> str:
        """The stranger that has to go for this node, empty when none has to, `_FULL` when there is no place."""
        known = self._known(node_id)
        same = [other for other in self._entries if self._known(other) == known]
        if len(same) < (MAX_KNOWN if known else MAX_STRANGERS):
            return ""
        if known:
            return _FULL
        oldest = min(same, key=lambda other: self._entries[other].first_heard)
        return oldest if now - self._entries[oldest].first_heard >= STRANGER_STAY_S else _FULL


_FULL = "-"
"""No node has this id."""
