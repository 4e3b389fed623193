"""Free text at the end of a command, as the person said it: recognizers see lower-case words without punctuation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


def as_said(text: str, message: str, *, words: Callable[[str], list[str]], left_out: Iterable[str]) -> str:
    """The end of `text` that became `message`; `message` itself when that cannot be told.

    `words` is how the recognizer took the text apart, `left_out` the phrases that it ignores ("please"), which stand
    again where they belong to the message.
    """
    ignored = re.compile(rf"\b({'|'.join(re.escape(each) for each in left_out)})\b") if left_out else None

    def plain(part: str) -> str:
        joined = " ".join(words(part))
        return " ".join((ignored.sub(" ", joined) if ignored else joined).split())

    wanted = plain(message)
    for start in [match.start() for match in re.finditer(r"\S+", text)]:
        if plain(text[start:]) == wanted:
            return text[start:].strip()
    return message
