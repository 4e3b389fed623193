"""What a skill is, what it is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from hub.answers import Wording
from hub.deeds import Deeds
from hub.dialogue import Dialogue, Question
from hub.home.entity import Command, Entity, Outcome, State
from hub.intent import Context, Intent
from hub.policy import Policy
from hub.rules.rules import Rules
from hub.timers import Timers
from swarm.announcement import Announcement, Report, Whom
from swarm.trace import TraceRecorder

Result = Literal["done", "not_understood", "unconfirmed", "unavailable", "cancelled", "failed"]
"""How an utterance ended, as traces name it."""
Cue = Literal["none", "error", "done"]


class Home(Protocol):
    """The devices of the home, as skills see them."""

    @property
    def entities(self) -> Mapping[str, Entity]:
        """All entities by id."""

    @property
    def why_down(self) -> str:
        """Why no entity can be reached now, without a full stop; empty otherwise."""

    def state(self, entity_id: str) -> State:
        """How an entity is now."""

    def areas(self) -> tuple[str, ...]:
        """Names of all rooms that hold an entity."""

    async def perform(self, commands: Sequence[Command], timeout_s: float | None = None) -> tuple[Outcome, ...]:
        """Carry out all commands at once; one outcome for each, in their order, within the deadline."""


class Satellites(Protocol):
    """The satellites that are connected now, as skills see them."""

    def in_area(self, area: str) -> tuple[str, ...]:
        """Names of the satellites that stand in a room."""

    def volume(self, satellite: str) -> int | None:
        """Playback volume, 0 to 100; None when this satellite is not connected."""

    async def set_volume(self, satellite: str, percent: int) -> bool:
        """Set the playback volume; False when this satellite is not connected."""

    async def stop_speaking(self, satellite: str) -> None:
        """Stop playback there at once."""


class Announce(Protocol):
    """Says something in other rooms."""

    async def __call__(self, announcement: Announcement, whom: Whom) -> tuple[Report, ...]:
        """What is known after two seconds at most of what became of it; where it waits for its turn it is said then."""


async def announce_nowhere(announcement: Announcement, whom: Whom) -> tuple[Report, ...]:
    """Where there are no satellites."""
    return ()


@dataclass(frozen=True)
class Request:
    """Everything a skill may use to do what was asked."""

    context: Context
    home: Home
    timers: Timers
    satellites: Satellites
    dialogue: Dialogue
    words: Wording
    recorder: TraceRecorder
    local_time: datetime
    now: float
    """Monotonic seconds, for `dialogue`."""
    abilities: Callable[[], tuple[str, ...]]
    """What all skills together can do in this home, in words."""
    deeds: Deeds
    """Has things done, and remembers what was done."""
    policy: Policy
    rules: Rules
    said: str = ""
    """The words; of a yes, those that led to the question."""
    announce: Announce = announce_nowhere
    confirmed: bool = False
    """The person said yes to the question whether to do this."""


@dataclass(frozen=True)
class Reply:
    """What a skill says when it is done."""

    text: str = ""
    """Whole sentences; empty says nothing."""
    result: Result = "done"
    question: Question | None = None
    """Asked at the end of `text`; the next utterance may answer it."""
    entities: tuple[str, ...] = ()
    """Ids of what was spoken of: "it" in the next sentence."""
    cue: Cue = "none"
    """The sound to make when nothing is said."""
    why: str = ""
    """What the words were taken for, for who asks; empty: the intents by name."""


class Skill(Protocol):
    """Does some intents. Without state of its own: all is in the request."""

    intents: frozenset[str]
    """Names of the intents it does."""

    def abilities(self, home: Home, words: Wording) -> tuple[str, ...]:
        """What it can do with what this home has, each to follow "I can": "set timers"."""

    async def perform(self, intents: tuple[Intent, ...], request: Request) -> Reply:
        """Do all of one sentence's intents that are its own; raises `MycoswarmError` when it cannot."""
