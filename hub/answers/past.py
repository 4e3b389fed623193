"""English about what was done before: why, and what undoing it came to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hub.answers.english import article, duration, listed, named, place, sentence
from hub.home.entity import Entity

MAX_SAID = 120
"""Characters of what somebody said, when it is said back."""
JUST_NOW_S = 5.0


class PastWords:
    """Looking back."""

    # ---- undoing

    def nothing_to_undo(self) -> str:
        """Nothing was done here lately."""
        return "I haven't changed anything lately that I could undo."

    def no_device(self, intents: Sequence[str]) -> str:
        """The last thing was a timer, the volume or something else that is no device."""
        return sentence(f"that is nothing I can undo: {listed([_spoken(name) for name in intents]) or 'no device'}")

    def stays(self, entities: Sequence[Entity], among: Mapping[str, Entity]) -> str:
        """A kind that does not go back."""
        return sentence(f"I can't undo what {named(entities, among)} did")

    def unknown_before(self, entities: Sequence[Entity], among: Mapping[str, Entity]) -> str:
        """They never said how they were."""
        return sentence(f"I don't know how {named(entities, among)} {'was' if len(entities) == 1 else 'were'} before")

    # ---- why

    def took_as(self, orders: str, intents: Sequence[str]) -> str:
        """What words were understood as: the orders to devices, or else the intents by name."""
        what = orders or listed([_spoken(name) for name in intents])
        return f"I took it as: {what}."

    def after_yes(self, orders: str) -> str:
        """A yes to a question."""
        return f"I asked, and you said yes. So I took it as: {orders}."

    def not_understood(self) -> str:
        """Words without a command."""
        return "I found no command in it that I know."

    def by_model(self) -> str:
        """A language model answered."""
        return "I found no command in it that I know, so I asked the language model."

    def heard(self, age_s: float, said: str, area: str, why: str, node: str) -> str:
        """What was said, where and when, what it was taken for, and by which node."""
        by = f" That was on {node}." if node else ""
        return f"{sentence(self.ago(age_s), '')} I heard {_quoted(said)}{place(area)}. {why}{by}"

    def not_said(self, age_s: float, who: str, orders: str) -> str:
        """A rule or a program did it. `who`: a name for it, such as `rule 2, "lamp on at seven"`."""
        return f"{sentence(self.ago(age_s), '')} {who[:MAX_SAID] or 'another program'} had me {orders or 'do that'}."

    def undone(self, age_s: float, orders: str) -> str:
        """It was put back."""
        return f"{sentence(self.ago(age_s), '')} I was asked to undo something, and so did: {orders}."

    def nothing_done(self) -> str:
        """Nothing to explain."""
        return "I haven't done anything lately."

    def not_me(self, name: str) -> str:
        """An entity changed, and not by the hub."""
        return f"I have done nothing to {article(name)} in the last hour. Something else did, or somebody by hand."

    def ago(self, seconds: float) -> str:
        """`just now`, `20 seconds ago`."""
        if seconds < JUST_NOW_S:
            return "just now"
        return f"{duration(seconds if seconds < 60 else round(seconds / 60) * 60)} ago"


def _spoken(intent: str) -> str:
    """`HassGetCurrentTime` as words: `get current time`."""
    return " ".join(re.findall(r"[A-Z][a-z]*|[a-z]+", intent.removeprefix("Hass"))).lower() or intent


def _quoted(said: str) -> str:
    plain = " ".join(said.split())
    return f'"{plain[:MAX_SAID]}{"…" if len(plain) > MAX_SAID else ""}"'
