from __future__ import annotations

import pytest

from hub.as_said import as_said

POLITE = ["please", "can you"]


@pytest.mark.parametrize(
    ("text", "message", "said"),
    [
        ("announce Dinner's ready, Anna!", "dinner's ready, anna!", "Dinner's ready, Anna!"),
        ("tell everyone that please come down", "come down", "please come down"),
        ("Tell everyone: can you come, please?", "come,", "can you come, please?"),
        ("announce tea", "coffee", "coffee"),
        ("", "coffee", "coffee"),
    ],
)
def test_free_text_is_what_the_person_said(text: str, message: str, said: str) -> None:
    assert as_said(text, message, words=lambda part: part.lower().strip("!?").split(), left_out=POLITE) == said
