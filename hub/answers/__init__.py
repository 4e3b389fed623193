"""What the hub says, in a person's language: every word that skills speak comes from here.

A language is one `Wording`; another one is another file of these classes and one line in `_WORDINGS`.
"""

from __future__ import annotations

from dataclasses import dataclass

from hub.answers.deeds import DeedWords
from hub.answers.past import PastWords
from hub.answers.rules import RuleWords
from hub.answers.states import StateWords
from hub.answers.talk import TalkWords
from hub.answers.timing import TimerWords


@dataclass(frozen=True)
class Wording:
    """All that can be said in one language."""

    deeds: DeedWords
    """What came of commands."""
    states: StateWords
    """How things are."""
    timers: TimerWords
    rules: RuleWords
    past: PastWords
    """Undoing, and why."""
    talk: TalkWords
    """Everything else."""


_WORDINGS = {"en": Wording(DeedWords(), StateWords(), TimerWords(), RuleWords(), PastWords(), TalkWords())}


def wording(language: str) -> Wording:
    """The words of `language` (`en`, `en-US`, …); English where there are none."""
    return _WORDINGS.get(language.partition("-")[0].partition("_")[0].lower(), _WORDINGS["en"])
