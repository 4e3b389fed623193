"""What was just said between a person and the hub: kept for a short time, for each satellite apart."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from hub.intent import Intent
from swarm.engine import ChatMessage

QUESTION_S = 30.0
"""An answer that comes later is a new command: nobody may unlock a door with a stray "yes"."""
TOO_LATE_S = 600.0
"""So long it is worth telling that an answer comes too late."""
REPEAT_S = 600.0
ENTITIES_S = 120.0
"""How long "it" means the devices spoken of last."""
TURNS_S = 300.0
APOLOGY_S = 60.0
"""Within this time a second unheard command gets a sound, no words: a noisy room must not make the hub chatter."""
MAX_TURNS = 6
MAX_TURN_CHARS = 600
MAX_SATELLITES = 64

_FILLER = frozenset(
    ("the", "a", "an", "in", "on", "my", "one", "that", "this", "please", "for", "at", "to", "of", "timer", "timers",
     "room", "it", "um", "uh", "okay", "ok")
)  # fmt: skip


@dataclass(frozen=True)
class Option:
    """One answer to a question and what it makes the hub do."""

    phrases: tuple[str, ...]
    intents: tuple[Intent, ...]


@dataclass(frozen=True)
class Question:
    """What the hub asked, and what each answer means."""

    text: str
    if_yes: tuple[Intent, ...] = ()
    if_no: str = ""
    """Said when the person declines."""
    options: tuple[Option, ...] = ()
    said: str = ""
    """The words that led to it."""

    def choose(self, answer: str, *, exactly: bool) -> Option | None:
        """The option that `answer` names; None when none or several fit.

        `exactly`: the answer holds nothing but the option and filler ("in the kitchen, please").
        """
        said = _words(answer)
        found: list[tuple[int, Option]] = []
        for option in self.options:
            lengths = [len(_words(phrase)) for phrase in option.phrases if _fits(_words(phrase), said, exactly)]
            if lengths:
                found.append((max(lengths), option))
        longest = max((length for length, _ in found), default=0)
        best = [option for length, option in found if length == longest]
        return best[0] if len(best) == 1 else None


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.casefold())


def _fits(phrase: list[str], said: list[str], exactly: bool) -> bool:
    if exactly:
        return phrase == said or _content(phrase) == _content(said) != []
    size = len(phrase)
    return size > 0 and any(said[start : start + size] == phrase for start in range(len(said) - size + 1))


def _content(words: list[str]) -> list[str]:
    return [word for word in words if word not in _FILLER]


@dataclass(frozen=True)
class Turn:
    """What the hub made of the last thing that was said, for who asks why."""

    at: float
    said: str
    """Of a yes: what led to the question."""
    area: str
    """The room in which it was said."""
    why: str
    """A sentence: what the words were taken for."""


@dataclass
class Dialogue:
    """The last moments with one satellite. Times are seconds of one monotonic clock, given by the caller."""

    _question: Question | None = None
    _asked_at: float = 0.0
    _too_late: Question | None = None
    _answer: str = ""
    _answered_at: float = 0.0
    _entities: tuple[str, ...] = ()
    _entities_at: float = 0.0
    _turns: deque[tuple[float, ChatMessage]] = field(default_factory=lambda: deque(maxlen=2 * MAX_TURNS))
    _apologised_at: float | None = None
    last_turn: Turn | None = None

    def ask(self, question: Question, now: float) -> None:
        """The hub asked `question`; it replaces an earlier one."""
        self._question, self._asked_at = question, now

    def keep_asking(self, question: Question) -> None:
        """`question`, which `take_question` gave out, was not answered yet; its time goes on."""
        self._question = question

    def take_question(self, now: float) -> Question | None:
        """The question that waits for an answer; it is asked no more. None when there is none or it is too old."""
        question, self._question = self._question, None
        in_time = now - self._asked_at <= QUESTION_S
        self._too_late = None if in_time or now - self._asked_at > TOO_LATE_S else question
        return question if in_time else None

    def take_late_question(self) -> Question | None:
        """The one that `take_question` found to be too old, so that who answers it now can be told; told once."""
        question, self._too_late = self._too_late, None
        return question

    def add_exchange(self, said: str, answered: str, now: float) -> None:
        """The person said this and was answered that."""
        self._answer, self._answered_at = answered, now
        self._apologised_at = None
        self._turns.append((now, ChatMessage("user", said[:MAX_TURN_CHARS])))
        self._turns.append((now, ChatMessage("assistant", answered[:MAX_TURN_CHARS])))

    def last_answer(self, now: float) -> str:
        """What to repeat; empty when nothing was said lately."""
        return self._answer if now - self._answered_at <= REPEAT_S else ""

    def turns(self, now: float) -> tuple[ChatMessage, ...]:
        """The last exchanges, oldest first, for a language model."""
        return tuple(message for at, message in self._turns if now - at <= TURNS_S)

    def speak_of(self, entities: tuple[str, ...], now: float) -> None:
        """These entities (ids) were the subject just now."""
        if entities:
            self._entities, self._entities_at = entities, now

    def spoken_of(self, now: float) -> tuple[str, ...]:
        """Ids of the entities that "it" means; empty when none."""
        return self._entities if now - self._entities_at <= ENTITIES_S else ()

    def may_apologise(self, now: float) -> bool:
        """Whether to say that nothing was understood: once, until something is understood or a minute has passed."""
        first = self._apologised_at is None or now - self._apologised_at > APOLOGY_S
        self._apologised_at = now if first else self._apologised_at
        return first


class Dialogues:
    """The dialogues of all satellites; the longest unused is forgotten first."""

    def __init__(self) -> None:
        self._by_satellite: OrderedDict[str, Dialogue] = OrderedDict()

    def of(self, place: str) -> Dialogue:
        """The dialogue at a place: see `Context.place`."""
        dialogue = self._by_satellite.setdefault(place, Dialogue())
        self._by_satellite.move_to_end(place)
        if len(self._by_satellite) > MAX_SATELLITES:
            self._by_satellite.popitem(last=False)
        return dialogue
