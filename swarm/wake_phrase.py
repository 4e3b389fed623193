"""Takes the wake phrase off the front of a transcript.

The audio of an utterance begins before the wake word was detected, so a transcriber that hears everything hears
"okay nabu" too, and writes it as it likes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

WAKE_PHRASES = ("okay nabu", "alexa", "hey jarvis", "hey mycroft")
"""What people say for the wake words of `swarm.config.WAKE_WORDS`."""

_ALIKE = 0.75
"""Least `difflib` ratio of letters for a phrase of several words: "okay, naboo" is one, "okay, turn" is none."""
_ALIKE_ONE_WORD = 0.88
"""The same for one word, which is easier to mistake: "alex" passes, "alex's" and "alexis" do not."""
_WORD = re.compile(r"[\w'\u2019.]+")


def strip_wake_phrase(text: str, phrases: Iterable[str] = WAKE_PHRASES) -> str:
    """`text` without a wake phrase at its start; near misses and a phrase that lost its first word count too."""
    best, end = 0.0, 0
    for phrase in phrases:
        said = phrase.split()
        for wanted in [said, said[-1:]]:
            alike, position = _match(text, wanted)
            if alike > best:
                best, end = alike, position
    return text[end:].lstrip(" ,.!?:;-\u2013\u2014\u2026") if end else text


def _match(text: str, phrase: list[str]) -> tuple[float, int]:
    """How much the best run of first words is like `phrase`, and where it ends; (0, 0) when none is near enough."""
    letters = "".join(phrase)
    least = _ALIKE if len(phrase) > 1 else _ALIKE_ONE_WORD
    best, end, heard = 0.0, 0, ""
    for count, word in enumerate(_WORD.finditer(text), start=1):
        if count > len(phrase) + 1:
            break
        heard += re.sub(r"[\W_]", "", word.group()).lower()
        alike = difflib.SequenceMatcher(None, heard, letters, autojunk=False).ratio()
        if alike >= least and alike > best:
            best, end = alike, word.end()
    return best, end
