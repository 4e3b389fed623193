from __future__ import annotations

from swarm.engines.confidence import NOTHING, Segment, confidence

SOUNDS = {"okay_nabu": ["OW"], "turn": ["T", "ER", "N"], "on(2)": ["AO", "N"], "and": ["AE", "N", "D"]}


def segments(*spoken: tuple[str, int, float]) -> list[Segment]:
    """(name, frames, likelihood a frame), one after the other."""
    made: list[Segment] = []
    start = 0
    for name, frames, likelihood in spoken:
        made.append(Segment(name, start, start + frames - 1, likelihood * frames))
        start += frames
    return made


WORDS = segments(("<sil>", 10, -30), ("okay_nabu", 40, -60), ("turn", 30, -50), ("on(2)", 20, -50), ("<sil>", 30, -30))
SOUNDED = segments(*((name, 40 if name == "OW" else 10, -30) for name in ("SIL", "OW", "T", "ER", "N", "AO", "N")))
PHONES = [*SOUNDED, Segment("SIL", 100, 129, -600.0)]


def odds(words: list[Segment] = WORDS, phones: list[Segment] = PHONES) -> float:
    return confidence(words, phones, SOUNDS, "and")


def test_words_that_the_phones_agree_with_are_likely() -> None:
    assert odds() > 3


def test_nothing_heard_is_no_command() -> None:
    assert odds(WORDS[:2]) == odds([]) == odds(phones=[]) == NOTHING


def test_words_that_explain_the_audio_worse_are_less_likely() -> None:
    worse = [word._replace(likelihood=word.likelihood * 1.2) for word in WORDS]
    assert odds(worse) < odds() - 1


def test_the_wake_word_says_nothing_about_the_command() -> None:
    badly = [WORDS[0], WORDS[1]._replace(likelihood=-9000.0), *WORDS[2:]]
    assert odds(badly) == odds()


def test_other_phones_than_the_words_have_make_them_less_likely() -> None:
    heard = [phone._replace(name="SH") if phone.name in ("T", "ER") else phone for phone in PHONES]
    assert odds(phones=heard) < odds() - 1


def test_speech_beside_the_words_makes_them_less_likely() -> None:
    more = [*PHONES[:-1], Segment("SH", 100, 129, -600.0)]
    assert odds(phones=more) < odds() - 1
    noise = [*PHONES[:-1], Segment("+NSN+", 100, 129, -600.0)]
    assert odds(phones=noise) == odds()


def test_commands_that_are_joined_are_less_likely_than_one() -> None:
    longer = segments(("turn", 30, -50), ("on(2)", 20, -50), ("and", 30, -50), ("turn", 30, -50), ("on(2)", 20, -50))
    agreeing = segments(
        *(("T", 10, -30), ("ER", 10, -30), ("N", 10, -30), ("AO", 10, -30), ("N", 10, -30)),
        *(("AE", 10, -30), ("N", 10, -30), ("D", 10, -30)),
        *(("T", 10, -30), ("ER", 10, -30), ("N", 10, -30), ("AO", 10, -30), ("N", 10, -30)),
    )
    both = odds(longer, agreeing)
    assert both < confidence(longer, agreeing, SOUNDS, "und") - 1
    assert both > 0
