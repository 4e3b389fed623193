from __future__ import annotations

import pytest

from swarm.capability import Member
from swarm.hub_choice import FRESH_S, choose_hubs
from swarm.lease import rank

HUBS = [Member(node, name, roles=("hub",), heard_at=100.0) for node, name in (("a", "attic"), ("c", "cellar"))]
FIRST, SECOND = rank("home", ["a", "c"])


def test_hub_that_speaks_for_the_home_comes_first_and_the_others_follow_in_rank() -> None:
    chosen = choose_hubs(reversed(HUBS), 100.0)
    assert [each.node for each in chosen] == [FIRST, SECOND]
    assert [each.because for each in chosen] == ["it speaks for the home", "it is the next in rank"]


def test_hub_that_served_before_is_kept() -> None:
    chosen = choose_hubs(HUBS, 100.0, before=SECOND)
    assert [(each.node, each.because) for each in chosen] == [
        (SECOND, "it served before"),
        (FIRST, "it speaks for the home"),
    ]


@pytest.mark.parametrize(
    "member",
    [
        Member("x", "x", roles=("hub",), state="suspect", heard_at=100.0),
        Member("x", "x", roles=("hub",), state="dead", heard_at=100.0),
        Member("x", "x", roles=("edge",), heard_at=100.0),
        Member("x", "x", roles=("hub",), here=True),
    ],
)
def test_whoever_is_no_living_hub_elsewhere_is_not_taken(member: Member) -> None:
    assert choose_hubs([member], 100.0, before="x") == ()


def test_hub_that_failed_a_moment_ago_is_left_out() -> None:
    assert [each.node for each in choose_hubs(HUBS, 100.0, before=FIRST, avoid=[FIRST])] == [SECOND]


def test_while_somebody_waits_only_a_hub_that_was_heard_just_now_is_tried() -> None:
    late = 100.0 + FRESH_S
    assert choose_hubs(HUBS, late, urgent=True) == ()
    assert len(choose_hubs(HUBS, late)) == 2
    assert len(choose_hubs(HUBS, late - 0.1, urgent=True)) == 2
