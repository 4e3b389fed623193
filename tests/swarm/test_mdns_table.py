from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from swarm.candidate import Candidate, Change, Found, Gone
from swarm.mdns_table import (
    ASK_AT,
    DOUBT_EVERY_S,
    LIFETIME_S,
    MAX_KNOWN,
    MAX_STRANGERS,
    REPORT_EVERY_S,
    STRANGER_STAY_S,
    MdnsTable,
)


def node(name: str, address: str = "10.0.0.1", port: int = 7334) -> Candidate:
    return Candidate(name, "s" * 26, (address,), port, "mdns")


def test_node_is_reported_once_however_often_it_announces_itself() -> None:
    table = MdnsTable()
    assert table.heard(node("a"), 0.0).changes == (Found(node("a")),)
    for moment in (0.2, 0.4, 30.0):
        assert table.heard(node("a"), moment).changes == ()


def test_node_that_is_silent_is_asked_three_times_and_then_gone() -> None:
    table = MdnsTable()
    table.heard(node("a"), 0.0)
    asked = []
    now = 0.0
    while (due := table.next_due()) is not None:
        now = max(now, due)
        step = table.time_passed(now)
        asked += [now] * len(step.ask)
        if step.changes:
            assert step.changes == (Gone(node("a")),)
    assert asked == [share * LIFETIME_S for share in ASK_AT]
    assert now == LIFETIME_S
    assert table.candidates() == ()


def test_answer_renews_the_life() -> None:
    table = MdnsTable()
    table.heard(node("a"), 0.0)
    assert table.time_passed(0.75 * LIFETIME_S).ask == ("a",)
    table.heard(node("a"), 0.76 * LIFETIME_S)
    assert table.time_passed(1.5 * LIFETIME_S).changes == ()
    assert table.get("a") == node("a")


def test_looking_again_at_old_records_renews_nothing() -> None:
    table = MdnsTable()
    table.heard(node("a"), 0.0)
    assert table.read_again(node("a", "10.0.0.2"), 0.9 * LIFETIME_S).changes == (Found(node("a", "10.0.0.2")),)
    assert table.time_passed(LIFETIME_S).changes == (Gone(node("a", "10.0.0.2")),)
    assert table.read_again(node("a"), 2 * LIFETIME_S).changes == ()


def test_move_is_reported_and_doubted() -> None:
    table = MdnsTable()
    table.heard(node("a"), 0.0)
    step = table.heard(node("a", "10.0.0.2"), 10.0)
    assert (step.changes, step.ask) == ((Found(node("a", "10.0.0.2")),), ("a",))


def test_node_that_changes_over_and_over_is_reported_and_doubted_seldom() -> None:
    table = MdnsTable()
    reports, doubts = 0, 0
    for number in range(1000):  # ten seconds
        step = table.heard(node("a", f"10.0.0.{number % 2}"), number / 100)
        reports += len(step.changes)
        doubts += len(step.ask)
    assert reports <= 10 / REPORT_EVERY_S
    assert doubts <= 10 / DOUBT_EVERY_S


def test_change_that_was_held_back_is_reported_when_its_time_comes() -> None:
    table = MdnsTable()
    table.heard(node("a"), 0.0)
    assert table.heard(node("a", port=1), 0.1).changes == ()
    assert table.next_due() == REPORT_EVERY_S
    assert table.time_passed(REPORT_EVERY_S).changes == (Found(node("a", port=1)),)


def test_goodbye_is_believed_and_checked() -> None:
    table = MdnsTable()
    table.heard(node("a"), 0.0)
    step = table.said_goodbye("a", 1.0)
    assert (step.changes, step.ask) == ((Gone(node("a")),), ("a",))
    assert table.said_goodbye("a", 1.1) == table.said_goodbye("never", 1.1)
    assert table.said_goodbye("a", 1.1).ask == ()


def test_flood_of_strangers_takes_only_their_places() -> None:
    table = MdnsTable(known=lambda name: name.startswith("known"))
    for number in range(5000):
        table.heard(node(f"rogue {number}"), number / 1000)
    assert len(table) == MAX_STRANGERS
    assert table.refused == 5000 - MAX_STRANGERS
    for number in range(MAX_KNOWN):
        assert table.has_place(f"known {number}", 5.0)
        assert table.heard(node(f"known {number}"), 5.0).changes
    assert not table.has_place("known one more", 5.0)
    assert len(table) == MAX_STRANGERS + MAX_KNOWN


def test_stranger_gets_the_place_of_the_one_that_had_its_time() -> None:
    table = MdnsTable()
    for number in range(MAX_STRANGERS):
        table.heard(node(f"rogue {number}"), 0.001 * number)
    assert table.heard(node("honest"), STRANGER_STAY_S - 0.01).changes == ()
    step = table.heard(node("honest"), STRANGER_STAY_S)
    assert step.changes == (Gone(node("rogue 0")), Found(node("honest")))
    assert len(table) == MAX_STRANGERS


def test_stranger_that_proved_itself_is_pushed_out_no_more() -> None:
    proved: set[str] = set()
    table = MdnsTable(known=proved.__contains__)
    table.heard(node("honest"), 0.0)
    proved.add("honest")
    for number in range(1000):
        table.heard(node(f"rogue {number}"), 1.0 + number)
        table.heard(node("honest"), 1.0 + number)
    assert table.get("honest")
    assert len(table) == MAX_STRANGERS + 1


events = st.tuples(
    st.sampled_from(["heard", "goodbye", "time", "again"]),
    st.integers(0, 60),
    st.integers(0, 3),
    st.floats(0.0, 60.0),
)


@given(st.lists(events, max_size=200))
def test_reports_always_add_up_to_what_is_kept(history: list[tuple[str, int, int, float]]) -> None:
    table = MdnsTable(known=lambda name: int(name) % 7 == 0)
    told: dict[str, Candidate] = {}
    now = 0.0

    def tell(changes: tuple[Change, ...]) -> None:
        for change in changes:
            name = change.candidate.node_id
            if isinstance(change, Found):
                assert told.get(name) != change.candidate
                told[name] = change.candidate
            else:
                assert told.pop(name) == change.candidate

    for what, name, address, pause in history:
        now += pause
        candidate = node(str(name), f"10.0.0.{address}")
        if what == "heard":
            tell(table.heard(candidate, now).changes)
        elif what == "again":
            tell(table.read_again(candidate, now).changes)
        elif what == "goodbye":
            tell(table.said_goodbye(str(name), now).changes)
        else:
            tell(table.time_passed(now).changes)
        assert set(told) == {one.node_id for one in table.candidates()}
    tell(table.time_passed(now + REPORT_EVERY_S).changes)
    assert sorted(told.items()) == sorted((one.node_id, one) for one in table.candidates())
    assert msgspec.json.encode(table.candidates())
