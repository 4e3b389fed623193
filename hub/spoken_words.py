"""Turns names and numbers as people write them into words as people say them."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from unicode_rbnf import RbnfEngine


@lru_cache(maxsize=4096)
def number_words(number: int, language: str = "en") -> tuple[str, ...]:
    """`21` → `("twenty", "one")`."""
    return tuple(_engine(language).format_number(number).text.replace("-", " ").split())


@lru_cache(maxsize=8192)
def spoken_form(name: str, language: str = "en") -> str:
    """Lower-case words in plain letters: `Büro/TV 2 💡` → `buro tv two`; empty when nothing can be said."""
    plain = unicodedata.normalize("NFKD", name)
    plain = (
        "".join(char for char in plain if not unicodedata.combining(char))
        .lower()
        .replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )
    words: list[str] = []
    for word in re.findall(r"[a-z']+|\d{1,9}", plain):
        words.extend(number_words(int(word), language) if word.isdigit() else [word.strip("'")])
    return " ".join(word for word in words if word)


@lru_cache(maxsize=4)
def _engine(language: str) -> RbnfEngine:
    return RbnfEngine.for_language(language)
