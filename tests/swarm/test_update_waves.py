"""Who may install when, over any swarm and any course of events."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.updates.shared import State
from swarm.updates.waves import AT_ONCE, OUT_S, NodeNow, who_may

AFTER: dict[State, State] = {
    "idle": "ready",
    "ready": "installing",
    "installing": "restarting",
    "restarting": "good",
}
READY = NodeNow("a", alive=True, offer="x", state="ready")


def node(name: str, **what: object) -> NodeNow:
    return dataclasses.replace(READY, node=name, **what)  # type: ignore[arg-type]


def test_one_node_tries_it_first_and_it_is_no_hub() -> None:
    plan = who_may([node("a", hub=True), node("b", edge=True), node("c"), node("d")], 0.0)
    assert plan.go == ("c",)
    assert set(plan.waits.values()) == {"one node tries it first"}


def test_the_others_follow_once_it_proved_itself_and_hubs_one_after_the_other() -> None:
    tried = node("c", state="good", go_at=0.0)
    hubs = [node("a", hub=True), node("b", hub=True)]
    plan = who_may([tried, node("d"), node("e", edge=True), *hubs], 1.0)
    assert plan.go == ("d", "e", "a")
    assert plan.waits == {"b": "another hub is at it"}


def test_who_is_to_try_it_is_waited_for_while_the_bundle_is_on_its_way_there() -> None:
    hub, worker = node("a", hub=True), node("b", state="idle")
    assert who_may([hub, worker], 0.0).go == ()
    assert who_may([hub, dataclasses.replace(worker, busy="its disk is full")], 0.0).go == ("a",)
    assert who_may([hub, dataclasses.replace(worker, alive=False)], 0.0).go == ("a",)


def test_nobody_else_installs_what_failed_and_the_reason_is_told() -> None:
    failed = node("c", state="failed", reason="it hears nothing", go_at=0.0)
    plan = who_may([failed, node("d"), node("e", state="good", go_at=0.0)], 1.0)
    assert plan.go == ()
    assert plan.stopped == {"x": "it failed at c: it hears nothing"}
    assert plan.waits == {"d": "it failed at c: it hears nothing"}


def test_another_kind_of_node_goes_on_when_one_kind_failed() -> None:
    plan = who_may([node("c", state="failed", go_at=0.0), node("d", offer="y")], 1.0)
    assert plan.go == ("d",)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"busy": "somebody speaks there"}, "somebody speaks there"),
        ({"alive": False}, "it is off"),
        ({"state": "idle"}, "the bundle is on its way to it"),
    ],
)
def test_it_waits_for_a_good_moment(change: dict[str, object], why: str) -> None:
    plan = who_may([node("a", **change)], 0.0)
    assert plan.go == ()
    assert plan.waits == {"a": why}


def test_only_hub_goes_and_waits_for_another_one_that_may_be_back() -> None:
    only = node("a", hub=True)
    assert who_may([only], 0.0).go == ("a",)
    away = NodeNow("b", alive=False, hub=True)
    assert who_may([only, away], 0.0).waits == {"a": "the other hub is away"}
    assert who_may([only, dataclasses.replace(away, remembered=False)], 0.0).go == ("a",)


def test_first_one_that_does_not_come_back_stops_it_until_it_is_back() -> None:
    lost = node("a", state="restarting", alive=False, go_at=0.0)
    assert who_may([lost, node("b")], OUT_S - 1).stopped == {}
    assert "did not come back" in who_may([lost, node("b")], OUT_S + 1).stopped["x"]
    back = dataclasses.replace(lost, alive=True, state="good")
    assert who_may([back, node("b")], OUT_S + 2).go == ("b",)


def test_node_with_nothing_on_offer_is_left_alone() -> None:
    assert who_may([node("a", offer=""), node("b", state="good")], 0.0).go == ()


nodes = st.lists(
    st.builds(
        NodeNow,
        node=st.uuids().map(str),
        alive=st.booleans(),
        hub=st.booleans(),
        edge=st.booleans(),
        remembered=st.booleans(),
        offer=st.sampled_from(["", "x", "y"]),
        state=st.sampled_from(["idle", "ready", "installing", "restarting", "good", "failed"]),
        go_at=st.none() | st.floats(0, 100),
        busy=st.sampled_from(["", "somebody speaks there"]),
    ),
    max_size=20,
    unique_by=lambda each: each.node,
)


@given(nodes, st.floats(0, 10_000), st.randoms())
def test_nobody_gets_a_go_who_should_not(found: list[NodeNow], now: float, chance: random.Random) -> None:
    plan = who_may(found, now)
    by_id = {each.node: each for each in found}
    for each in plan.go:
        chosen = by_id[each]
        assert chosen.alive and chosen.state == "ready" and not chosen.busy and chosen.go_at is None and chosen.offer
        assert chosen.offer not in plan.stopped
        same = [other for other in found if other.offer == chosen.offer]
        assert not any(other.state == "failed" for other in same)
        if not any(other.state == "good" for other in same):
            assert not any(other.out for other in same)
            assert [by_id[other].offer for other in plan.go].count(chosen.offer) == 1
        if chosen.hub:
            assert not any(other.hub and other.out for other in found)
            assert sum(by_id[other].hub for other in plan.go) == 1
    assert len(plan.go) <= AT_ONCE
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert who_may(shuffled, now) == plan


@settings(max_examples=25)
@given(st.data(), st.integers(1, 12), st.integers(1, 4))
def test_all_come_to_it_whatever_happens_on_the_way(data: st.DataObject, count: int, hubs: int) -> None:
    """Nodes go off and come back, are spoken to, and fetch at their own speed; planners change at every step, since
    nothing is kept but what the ledger has."""
    swarm = {
        str(number): NodeNow(str(number), alive=True, hub=number < hubs, offer="x" if number % 3 else "y")
        for number in range(count)
    }
    steps, now = 0, 0.0
    while any(each.state != "good" for each in swarm.values()):
        steps += 1
        now += 5.0
        calm = steps > 40  # then no more surprises: it has to end
        assert steps < 40 + 4 * count + 4
        for chosen in who_may(list(swarm.values()), now).go:
            swarm[chosen] = dataclasses.replace(swarm[chosen], go_at=now)
        hubs_out = [each for each in swarm.values() if each.hub and each.out]
        assert len(hubs_out) <= 1
        for offer in ("x", "y"):
            same = [each for each in swarm.values() if each.offer == offer]
            assert any(each.state == "good" for each in same) or sum(each.out for each in same) <= 1
        for name, each in swarm.items():
            if calm:
                waits = each.state == "ready" and each.go_at is None
                state = each.state if waits else AFTER.get(each.state, each.state)
                swarm[name] = dataclasses.replace(each, alive=True, busy="", state=state)
            else:
                happens = data.draw(st.sampled_from(["nothing", "on", "off", "busy", "quiet", "goes on"]))
                if happens == "goes on" and each.alive:
                    if each.state == "idle":
                        swarm[name] = dataclasses.replace(each, state="ready")
                    elif each.go_at is not None:
                        swarm[name] = dataclasses.replace(each, state=AFTER.get(each.state, each.state))
                else:
                    alive = {"on": True, "off": False}.get(happens, each.alive)
                    busy = {"busy": "it has tasks", "quiet": ""}.get(happens, each.busy)
                    swarm[name] = dataclasses.replace(each, alive=alive, busy=busy)
