from __future__ import annotations

import pytest

from swarm.continuation import Continuations
from swarm.engine import Arc, CommandGrammar

# (okay_nabu)? turn (it | the lamp) on [please]
ARCS = (
    Arc(0, 1, ""),
    Arc(0, 1, "okay_nabu"),
    Arc(1, 2, "turn"),
    Arc(2, 4, "it"),
    Arc(2, 3, "the"),
    Arc(3, 4, "lamp"),
    Arc(4, 5, "on"),
    Arc(5, 6, ""),
    Arc(5, 6, "please"),
    Arc(4, 4, ""),
)
AFTER = Continuations(CommandGrammar("en", ARCS, start=0, final=6))


@pytest.mark.parametrize(
    ("words", "follows"),
    [
        ("", "needed"),
        ("okay_nabu", "needed"),
        ("turn", "needed"),
        ("okay_nabu turn the", "needed"),
        ("turn the lamp on", "possible"),
        ("turn it on please", "none"),
        ("turn it on please please", "unknown"),
        ("lamp on", "unknown"),
    ],
)
def test_what_may_follow(words: str, follows: str) -> None:
    assert AFTER.after(words.split()) == follows
