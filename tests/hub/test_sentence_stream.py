from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.sentence_stream import SentenceSplitter, split_sentences, without_markdown

TEXTS: list[tuple[str, list[str]]] = [
    ("It is on. It is off!", ["It is on.", "It is off!"]),
    ("It is 3.5 degrees. Warm?", ["It is 3.5 degrees.", "Warm?"]),
    ("Some, e.g. this one, vs. that. Good.", ["Some, e.g. this one, vs. that.", "Good."]),
    ("Dr. Smith and J. Doe came. They left.", ["Dr. Smith and J. Doe came.", "They left."]),
    ("At 7 p.m. we eat. At 8 p.m. We sleep.", ["At 7 p.m. we eat.", "At 8 p.m.", "We sleep."]),
    ("Say no. Then go.", ["Say no.", "Then go."]),
    ("See no. 5 there. Done.", ["See no. 5 there.", "Done."]),
    ("Two things:\n1. Eggs\n2. Milk\n\nBye", ["Two things:", "1. Eggs", "2. Milk", "Bye"]),
    ('He said "Go." Then left.', ['He said "Go."', "Then left."]),
    ("Wait... what?! Yes", ["Wait...", "what?!", "Yes"]),
    ("**Bold.** Next.", ["**Bold.**", "Next."]),
    ("No end", ["No end"]),
    ("", []),
    (" \n ", []),
    ("\u4eca\u65e5\u306f\u3002\u306f\u3044", ["\u4eca\u65e5\u306f\u3002", "\u306f\u3044"]),
]


@pytest.mark.parametrize(("text", "sentences"), TEXTS)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_sentences_come_out_the_same_however_the_text_arrives(text: str, sentences: list[str], size: int) -> None:
    splitter = SentenceSplitter()
    got: list[str] = []
    for start in range(0, len(text), size):
        got += splitter.feed(text[start : start + size])
    assert got + splitter.flush() == sentences


def test_a_sentence_comes_out_before_the_next_has_begun() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("It is on") == []
    assert splitter.feed(".") == []
    assert splitter.feed(" ") == ["It is on."]


def test_a_long_sentence_is_cut_where_one_may_pause() -> None:
    text = "one two three, " * 50
    parts = split_sentences(text)
    assert all(len(part) <= 240 for part in parts)
    assert all(part.endswith("three,") for part in parts)
    assert split_sentences("x" * 1000) == ["x" * 240] * 4 + ["x" * 40]


@given(st.lists(st.text(alphabet="ab. ,!?\n13eg*", max_size=30), max_size=20))
def test_no_letter_is_lost_or_doubled(pieces: list[str]) -> None:
    splitter = SentenceSplitter(max_chars=40)
    got = [sentence for piece in pieces for sentence in splitter.feed(piece)] + splitter.flush()
    assert "".join("".join(got).split()) == "".join("".join(pieces).split())
    assert all(len(sentence) <= 40 for sentence in got)


@pytest.mark.parametrize(
    ("shown", "spoken"),
    [
        ("**Important:** this is *really* `good`", "Important: this is really good"),
        ("## Heading", "Heading"),
        ("- a bullet", "a bullet"),
        ("* [x] done", "done"),
        ("1. first", "1. first"),
        ("see [the docs](http://x.y/z)", "see the docs"),
        ("> quoted", "quoted"),
        ("```python", ""),
        ("---", ""),
        ("| a | b |", "a, b"),
        ("|---|---|", ""),
        ("snake_case and 2 * 3 * 4", "snake_case and 2 * 3 * 4"),
        ("-5 degrees", "-5 degrees"),
    ],
)
def test_marks_for_the_eye_are_not_spoken(shown: str, spoken: str) -> None:
    assert without_markdown(shown) == spoken
