from __future__ import annotations

from itertools import pairwise

from swarm.bus_choice import FORGIVEN_S, RETRY_S, ROLE, STEADY_S, BusChoice
from swarm.lease import rank

HUBS = tuple(rank(ROLE, ["h1", "h2", "h3"]))
FIRST, SECOND, THIRD = HUBS


def choice(now: float = 0.0, me: str = "node") -> BusChoice:
    """Connected to the first."""
    made = BusChoice(me)
    made.update(HUBS, now)
    assert made.next(now) == FIRST
    made.connected(FIRST)
    return made


def test_all_nodes_choose_the_same_hub() -> None:
    for hubs in ((FIRST, SECOND, THIRD), (THIRD, FIRST), (THIRD, SECOND, FIRST)):
        made = BusChoice("anybody")
        made.update(hubs, 0.0)
        assert made.next(0.0) == FIRST


def test_without_hubs_there_is_nothing_to_try() -> None:
    made = BusChoice("node")
    assert made.next(0.0) is None
    made.update((), 0.0)
    assert made.next(0.0) is None


def test_a_dead_hub_is_left_for_the_next_at_once_but_not_for_nobody() -> None:
    made = choice()
    made.update((SECOND, THIRD), 10.0)
    assert made.is_better_elsewhere(10.0)
    assert made.next(10.0) == SECOND
    made.update((), 11.0)
    assert not made.is_better_elsewhere(11.0)


def test_a_lost_connection_goes_to_the_next_hub_at_once() -> None:
    made = choice()
    made.failed(FIRST, 10.0)
    assert made.next(10.0) == SECOND
    made.failed(SECOND, 10.0)
    made.failed(THIRD, 10.0)
    assert made.next(10.0) is None
    assert made.next(10.0 + RETRY_S[0]) == FIRST


def test_a_hub_that_is_back_takes_over_when_it_was_steady_and_itself_before_the_others() -> None:
    for me, wait in (("node", STEADY_S[0]), (FIRST, STEADY_S[0] / 2)):
        made = choice(me=me)
        made.update((SECOND, THIRD), 10.0)
        made.connected(SECOND)
        made.update(HUBS, 20.0)
        assert not made.is_better_elsewhere(20.0 + wait - 0.1)
        assert made.is_better_elsewhere(20.0 + wait)
        assert made.next(20.0 + wait) == FIRST


def test_a_hub_that_comes_and_goes_is_waited_for_longer_each_time_up_to_a_bound_and_forgiven() -> None:
    made = choice()
    now, waits = 10.0, []
    for _ in range(7):
        made.update((SECOND, THIRD), now)
        made.connected(SECOND)
        made.update(HUBS, now)
        start = now
        while not made.is_better_elsewhere(now):
            now += 0.5
        waits.append(now - start)
        made.connected(FIRST)
    assert waits[0] == STEADY_S[0]
    assert waits[-1] == STEADY_S[1]
    assert all(later >= earlier for earlier, later in pairwise(waits))
    now += FORGIVEN_S + 1
    made.update((SECOND, THIRD), now)
    made.connected(SECOND)
    made.update(HUBS, now)
    assert made.is_better_elsewhere(now + STEADY_S[0])


def test_a_hub_whose_broker_did_not_greet_is_not_gone_to_and_the_connection_stays() -> None:
    made = choice()
    made.update((SECOND, THIRD), 10.0)
    made.connected(SECOND)
    made.update(HUBS, 10.0)
    assert made.is_better_elsewhere(20.0)
    made.failed(FIRST, 20.0)
    assert not made.is_better_elsewhere(20.1)
    assert made.is_better_elsewhere(20.0 + 2 * STEADY_S[0])


def test_a_hub_that_carries_the_bus_is_chosen_before_one_that_could() -> None:
    made = BusChoice("node")
    made.update(HUBS, 0.0, carrying=[THIRD])
    assert made.next(0.0) == THIRD
    made.connected(THIRD)
    made.update(HUBS, 1000.0, carrying=[THIRD])
    assert not made.is_better_elsewhere(1000.0)
    made.failed(THIRD, 1000.0)
    assert made.next(1000.0) == FIRST


def test_of_two_hubs_that_carry_the_bus_all_come_to_the_first() -> None:
    for me in ("node", FIRST, SECOND):
        made = BusChoice(me)
        made.update((SECOND,), 0.0, carrying=[SECOND])
        made.connected(SECOND)
        made.update((FIRST, SECOND), 10.0, carrying=[FIRST, SECOND])
        made.update((FIRST, SECOND), 20.0, carrying=[FIRST, SECOND])
        assert made.is_better_elsewhere(20.0)
        assert made.next(20.0) == FIRST
