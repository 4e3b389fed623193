"""Pronunciations in ARPAbet, the phones of CMU's dictionary, for words that are not in it.

eSpeak NG tells how it would say a word; its American English phonemes are mapped to the 39 phones (without stress)
that pocketsphinx's `en-us` model knows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

_PHONES = {
    "0": "AA", "A:": "AA", "A@": "AA R", "A~": "AA N", "a": "AE", "aa": "AE", "a#": "AH", "V": "AH", "@": "AH",
    "@2": "AH", "@5": "AH", "@L": "AH L", "O:": "AO", "O": "AO", "O2": "AO", "O@": "AO R", "o@": "AO R",
    "O~": "AO N", "aU": "AW", "aU@": "AW ER", "aI": "AY", "aI@": "AY AH", "aI3": "AY ER", "b": "B", "tS": "CH",
    "d": "D", "D": "DH", "E": "EH", "e@": "EH R", "3": "ER", "3:": "ER", "eI": "EY", "f": "F", "g": "G", "h": "HH",
    "I": "IH", "I2": "IH", "I#": "AH", "i@": "IY AH", "i@3": "IH R", "i": "IY", "i:": "IY", "dZ": "JH", "k": "K",
    "x": "K", "l": "L", "m": "M", "n": "N", "n-": "AH N", "N": "NG", "oU": "OW", "o": "OW", "OI": "OY", "p": "P",
    "r": "R", "r-": "R", "s": "S", "S": "SH", "t": "T", "t#": "T", "t2": "T", "?": "T", "T": "TH", "U": "UH",
    "U@": "UH R", "u": "UW", "u:": "UW", "v": "V", "w": "W", "j": "Y", "z": "Z", "Z": "ZH",
}  # fmt: skip
"""eSpeak's mnemonics of its `en-us` voice (its phsource/ph_english_us) to the phones they sound like."""

_LONGEST_FIRST = re.compile("|".join(sorted(map(re.escape, _PHONES), key=len, reverse=True)))


class SaysPhonemes(Protocol):
    """What `EspeakSynthesizer` offers here."""

    async def phonemes(self, texts: Sequence[str], *, language: str) -> list[str]:
        """eSpeak's phoneme mnemonics of each text."""


async def pronounce(espeak: SaysPhonemes, words: Sequence[str], *, language: str = "en-us") -> dict[str, list[str]]:
    """The phones of each word, such as `{"lamp": ["L", "AE", "M", "P"]}`; an empty list for what is not spoken.

    `language` must be a kind of English: other phonemes are left out. Raises `EngineError`.
    """
    spoken = await espeak.phonemes(words, language=language)
    return {word: arpabet(phonemes) for word, phonemes in zip(words, spoken, strict=True)}


def arpabet(phonemes: str) -> list[str]:
    """The phones of eSpeak's mnemonics (`_` or blanks between them); stress marks and what is no phone are left out."""
    phones: list[str] = []
    for mnemonic in re.split(r"[_ ]+", re.sub(r"\(.*?\)|[',%=|;]", "", phonemes)):
        known = _PHONES.get(mnemonic)
        sounds = [known] if known else [_PHONES[part] for part in _LONGEST_FIRST.findall(mnemonic)]
        for phone in " ".join(sounds).split():
            r_is_spoken = phone == "R" and phones and phones[-1] in ("R", "ER")
            if not r_is_spoken:
                phones.append(phone)
    return phones
