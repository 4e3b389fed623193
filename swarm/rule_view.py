"""Rules as the people's port shows them."""

from __future__ import annotations

from typing import Annotated

import msgspec

MAX_SENTENCES = 100
"""In one request."""
Sentence = Annotated[str, msgspec.Meta(max_length=1_000)]


class RuleView(msgspec.Struct, frozen=True):
    """One rule."""

    id: str
    number: int
    words: str
    """As the person said it."""
    means: str
    """As it was understood."""
    enabled: bool
    missing: str = ""
    """Which of its devices are gone, as a sentence."""
    ran_at: float | None = None
    """Unix seconds; None: never that this node knows of."""
    ran: str = ""
    """What came of it then."""
    next_at: float | None = None
    """When it is due, where that is known."""


class RuleExplained(msgspec.Struct, frozen=True):
    """One rule, and everything that is known of it in words."""

    rule: RuleView
    told: str


class Problem(msgspec.Struct, frozen=True):
    """Why a sentence became no rule."""

    index: int
    """Which of those that were sent, from 0."""
    why: str


class RulesAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make all of these rules, or none."""

    sentences: Annotated[tuple[Sentence, ...], msgspec.Meta(min_length=1, max_length=MAX_SENTENCES)]
    area: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """The room they are about, where they name none."""


class RulesMade(msgspec.Struct, frozen=True):
    """With a problem nothing was made."""

    rules: tuple[RuleView, ...] = ()
    told: tuple[str, ...] = ()
    """What is read back of each."""
    problems: tuple[Problem, ...] = ()
