"""Has the devices of the home do things, and remembers for a while what was done, why, and how it was before.

Everything that acts on devices for somebody goes through here: spoken and typed commands, rules, undoing. So "undo
that" and "why did you do that" know of all of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from hub.home.entity import Command, Entity, Outcome, State

UNDO_S = 600.0
"""Older deeds are not undone: what a person calls "that" is what just happened."""
WHY_S = 3600.0
MAX_DEEDS = 200
MAX_ENTITIES = 5000
"""In all deeds together; the oldest deeds are forgotten first."""


CauseKind = Literal["words", "rule", "program", "undo"]


class Devices(Protocol):
    """The part of `hub.home.registry.Home` that is needed here."""

    @property
    def entities(self) -> Mapping[str, Entity]:
        """All entities by id."""

    def state(self, entity_id: str) -> State:
        """How an entity is now."""

    async def perform(self, commands: Sequence[Command], timeout_s: float | None = None) -> tuple[Outcome, ...]:
        """Carry out all commands at once; one outcome for each, in their order."""


@dataclass(frozen=True)
class Cause:
    """Why something is done."""

    kind: CauseKind = "words"
    place: str = ""
    """`Context.place` of who said it, or of whom it concerns; empty for what happened nowhere in particular."""
    words: str = ""
    """What was said, or the name of the rule or the program."""
    area: str = ""
    """The room in which it was said."""
    intents: tuple[str, ...] = ()
    """What the words were taken for, by name."""
    node: str = ""
    """Who did it."""
    utterance_id: str = ""
    """Of the trace, which has more."""
    confirmed: bool = False
    """A person was asked, and said yes."""


@dataclass(frozen=True)
class Done:
    """What was done at once, for one cause."""

    at: float
    """Seconds of the log's clock."""
    cause: Cause
    outcomes: tuple[Outcome, ...] = ()
    """Empty: something else than devices changed, such as a timer."""
    before: Mapping[str, State] = field(default_factory=dict)
    """How each entity was, by id."""

    @property
    def changed(self) -> tuple[Outcome, ...]:
        """What was carried out, as far as anybody knows: a device that did not answer may have done it."""
        return tuple(each for each in self.outcomes if each.result in ("confirmed", "unconfirmed"))


class Deeds:
    """Does, and remembers. Belongs to the event loop of the home."""

    def __init__(self, home: Devices, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._home = home
        self._clock = clock
        self._log: deque[Done] = deque()
        self._entities = 0

    async def perform(
        self, commands: Sequence[Command], cause: Cause, timeout_s: float | None = None
    ) -> tuple[Outcome, ...]:
        """As `Home.perform`; remembered under `cause`. Whether it may be done is not asked here: see `hub.policy`."""
        before = {command.entity_id: self._home.state(command.entity_id) for command in commands}
        outcomes = await self._home.perform(commands, timeout_s)
        self.remember(cause, outcomes, before)
        return outcomes

    def remember(
        self, cause: Cause, outcomes: Sequence[Outcome] = (), before: Mapping[str, State] | None = None
    ) -> None:
        """Something was done for `cause`; without outcomes: something that is no device."""
        done = Done(self._clock(), cause, tuple(outcomes), dict(before or {}))
        self._log.append(done)
        self._entities += len(done.before)
        while len(self._log) > MAX_DEEDS or self._entities > MAX_ENTITIES:
            self._entities -= len(self._log.popleft().before)

    def last_at(self, place: str, within_s: float = UNDO_S) -> Done | None:
        """The last thing that was done for somebody there and is not undone; None when that is too long ago."""
        return next((done for done in self._recent(within_s) if self._counts(done, place)), None)

    def last_of(self, entity_id: str, within_s: float = WHY_S) -> Done | None:
        """The last thing that was done to an entity, undoing included."""
        return next(
            (
                done
                for done in self._recent(within_s)
                if any(each.command.entity_id == entity_id for each in done.changed)
            ),
            None,
        )

    def last(self, place: str, area: str, within_s: float = WHY_S) -> Done | None:
        """The last thing that was done for somebody there, or by a rule or a program in the room `area`."""
        for done in self._recent(within_s):
            if done.cause.place == place or (done.cause.kind in ("rule", "program") and self._in_area(done, area)):
                return done
        return None

    def forget(self, done: Done) -> None:
        """It is undone: the one before is the last now."""
        if done in self._log:
            self._log.remove(done)
            self._entities -= len(done.before)

    def age_s(self, done: Done) -> float:
        """How long ago it was."""
        return self._clock() - done.at

    def _recent(self, within_s: float) -> list[Done]:
        return [done for done in reversed(self._log) if self.age_s(done) <= within_s]

    def _counts(self, done: Done, place: str) -> bool:
        return done.cause.place == place and done.cause.kind != "undo" and bool(done.changed or not done.outcomes)

    def _in_area(self, done: Done, area: str) -> bool:
        entities = self._home.entities
        touched = [entities.get(each.command.entity_id) for each in done.outcomes]
        return not area or any(entity is not None and entity.area == area for entity in touched)
