"""Cuts text that arrives in pieces into sentences, each as soon as it is complete."""

from __future__ import annotations

import re

MAX_SENTENCE_CHARS = 240
"""A longer sentence is cut at a comma or a space: the listener should not wait for its end."""

_END = re.compile(
    r"""(?P<mark>[.!?…]+)(?P<close>["'\u201d\u2019)\]*_]*)(?P<gap>\s+)|(?P<wide>[\u3002\uff01\uff1f])|(?P<line>\s*\n\s*)"""
)
_NEVER_LAST = frozenset(("mr", "mrs", "ms", "dr", "prof", "st", "vs", "approx", "e.g", "i.e", "cf", "incl"))
"""Abbreviations after which a sentence goes on."""
_SOMETIMES_LAST = frozenset(
    ("etc", "a.m", "p.m", "u.s", "u.k", "co", "ltd", "inc", "jr", "sr", "no", "min", "max", "fig", "dept")
)  # fmt: skip
"""Abbreviations that end a sentence when a capital letter follows."""


class SentenceSplitter:
    """Feed pieces, get sentences. Splits neither "3.5" nor "e.g. this"; a line break always ends a sentence."""

    def __init__(self, *, max_chars: int = MAX_SENTENCE_CHARS) -> None:
        self._max_chars = max_chars
        self._rest = ""

    def feed(self, piece: str) -> list[str]:
        """Sentences that are complete now, trimmed and never empty."""
        self._rest += piece
        sentences: list[str] = []
        while (cut := self._next_cut()) is not None:
            sentences.append(self._rest[:cut])
            self._rest = self._rest[cut:]
        return [sentence for sentence in map(str.strip, sentences) if sentence]

    def flush(self) -> list[str]:
        """What is left when no more text comes."""
        sentences = self.feed("\n")
        self._rest = ""
        return sentences

    def _next_cut(self) -> int | None:
        for match in _END.finditer(self._rest):
            if match.end() > self._max_chars:
                break
            if self._ends_sentence(match):
                return match.end()
        if len(self._rest) > self._max_chars:
            return _place_to_cut(self._rest, self._max_chars)
        return None

    def _ends_sentence(self, match: re.Match[str]) -> bool:
        if match["mark"] is None:
            return True
        following = self._rest[match.end() :]
        if not following:
            # A line break ends a sentence for sure; after a space the next letter has a say.
            return "\n" in match["gap"] or not self._doubtful(match)
        return not self._doubtful(match) or (
            _last_word(self._rest, match.start()) in _SOMETIMES_LAST and following[0].isupper()
        )

    def _doubtful(self, match: re.Match[str]) -> bool:
        """The full stop may belong to an abbreviation, an initial or a list's number."""
        if match["mark"] != "." or "\n" in match["gap"]:
            return False
        word = _last_word(self._rest, match.start())
        initial = len(word) == 1 and word.isalpha() and self._rest[match.start() - 1].isupper() and word != "i"
        list_number = word.isdigit() and self._rest[: match.start()].strip() == word
        return word in _NEVER_LAST or word in _SOMETIMES_LAST or initial or list_number


def _last_word(text: str, end: int) -> str:
    found = re.search(r"[\w.]+$", text[max(0, end - 20) : end])
    return found.group().casefold() if found else ""


def _place_to_cut(text: str, limit: int) -> int:
    for pattern in (r"[;:,]\s", r"\s"):
        places = [match.end() for match in re.finditer(pattern, text[:limit])]
        if places and places[-1] > limit // 3:
            return places[-1]
    return limit


def split_sentences(text: str) -> list[str]:
    """The sentences of a whole text."""
    splitter = SentenceSplitter()
    return splitter.feed(text) + splitter.flush()


def without_markdown(sentence: str) -> str:
    """The sentence as a person would read it aloud: no emphasis marks, headings, bullets, code fences or addresses."""
    text = re.sub(r"^\s*(```|~~~).*$", "", sentence)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^\s*(?:#{1,6}\s+|>+\s*|[-*+•]\s+(?:\[[ xX]\]\s+)?)", "", text)
    text = re.sub(r"^\s*(?:[-*_=]\s*){3,}$|^[\s|:-]+$", "", text)
    text = re.sub(r"(\*\*\*|\*\*|__|~~|`+)", "", text)
    text = re.sub(r"(?<!\w)[*_](\S(?:[^*_]*\S)?)[*_](?!\w)", r"\1", text)
    if text.strip().startswith("|"):
        text = ", ".join(cell.strip() for cell in text.strip().strip("|").split("|"))
    return re.sub(r"\s+", " ", text).strip()
