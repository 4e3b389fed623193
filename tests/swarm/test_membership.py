"""Who lives, and who owns a role."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.capability import Capability, Member
from swarm.lease import LeaseChange, Leases, live_hubs, rank
from swarm.membership import DEAD_S, FORGET_S, MAX_MEMBERS, Beat, Membership


def beat(sequence: int, *, node: str = "b", incarnation: int = 1, **fields: object) -> Beat:
    return msgspec.structs.replace(
        Beat(node, incarnation, sequence, name=f"the {node}", addresses=("10.0.0.2:7334",)), **fields
    )


@pytest.mark.parametrize(
    ("silent_s", "state"), [(0.0, "alive"), (1.9, "alive"), (2.0, "suspect"), (2.9, "suspect"), (3.0, "dead")]
)
def test_silence_makes_suspect_and_dead(silent_s: float, state: str) -> None:
    membership = Membership("a")
    assert membership.heard(beat(1), 10.0)
    assert membership.members(10.0)[0].state == "alive"
    assert membership.state("b", 10.0 + silent_s) == state
    assert membership.members(10.0 + silent_s)[0].state == state


def test_a_node_is_usable_from_its_first_beat_with_what_it_offers() -> None:
    membership = Membership("a")
    capability = Capability("generate", "m")
    membership.heard(beat(1, capabilities=(capability,), roles=("hub",)), 0.0)
    assert membership.members(0.0) == (
        Member("b", "the b", "alive", (capability,), ("hub",), ("10.0.0.2:7334",), heard_at=0.0),
    )


def test_late_repeated_and_recorded_beats_raise_no_ghost() -> None:
    membership = Membership("a")
    membership.heard(beat(5, incarnation=2), 0.0)
    for old in (beat(5, incarnation=2), beat(4, incarnation=2), beat(99, incarnation=1)):
        assert not membership.heard(old, 50.0)
        assert membership.state("b", 50.0) == "dead"


def test_refused_connection_is_death_at_once_and_a_late_beat_no_life() -> None:
    membership = Membership("a")
    membership.heard(beat(1), 0.0)
    membership.refused("b", 0.1)
    assert membership.state("b", 0.1) == "dead"
    assert not membership.heard(beat(2), 0.2)  # was under way when the daemon was killed
    assert membership.state("b", 0.2) == "dead"
    assert membership.heard(beat(3), 1.2)  # it does live: only its port refused
    assert membership.state("b", 1.2) == "alive"


def test_a_restarted_node_is_used_at_once() -> None:
    membership = Membership("a")
    membership.heard(beat(700), 0.0)
    membership.refused("b", 0.1)
    assert membership.heard(beat(1, incarnation=2, addresses=("10.0.0.9:7334",)), 0.2)
    assert membership.state("b", 0.2) == "alive"
    assert membership.addresses("b") == ("10.0.0.9:7334",)


def test_goodbye_is_death_at_once() -> None:
    membership = Membership("a")
    membership.heard(beat(1), 0.0)
    assert membership.heard(beat(2, leaving=True), 0.5)
    assert membership.state("b", 0.5) == "dead"


def test_a_hint_is_no_member_but_is_looked_for() -> None:
    membership = Membership("a")
    assert membership.hinted("b", ("10.0.0.7:1",), 0.0)
    assert membership.members(0.0) == ()
    assert membership.to_probe(0.0) == ("b",)
    membership.heard(beat(1), 0.1)
    assert not membership.hinted("b", ("6.6.6.6:1",), 0.2)  # what a living node says of itself is better
    assert membership.addresses("b") == ("10.0.0.2:7334",)
    assert membership.hinted("b", ("10.0.0.8:1",), 0.2 + DEAD_S)  # it was given a new address
    assert membership.addresses("b") == ("10.0.0.8:1", "10.0.0.2:7334")


def test_two_nodes_of_one_name_are_two() -> None:
    membership = Membership("a")
    membership.heard(beat(1, node="b", name="kitchen"), 0.0)
    membership.heard(beat(1, node="c", name="kitchen"), 0.0)
    assert [member.node for member in membership.members(0.0)] == ["b", "c"]


def test_its_own_beat_is_no_member() -> None:
    membership = Membership("a")
    assert not membership.heard(beat(1, node="a"), 0.0)
    assert not membership.hinted("a", ("10.0.0.1:1",), 0.0)
    assert membership.members(0.0) == ()


def test_memory_is_bounded_and_the_living_keep_their_places() -> None:
    membership = Membership("a")
    membership.heard(beat(1, node="friend"), 0.0)
    for number in range(2 * MAX_MEMBERS):
        membership.hinted(f"x{number}", ("10.0.0.3:1",), 0.001 * number)
    assert len(membership.to_probe(0.5)) == MAX_MEMBERS
    assert membership.state("friend", 0.5) == "alive"
    membership.forget(FORGET_S + 1.0)
    assert membership.to_probe(FORGET_S + 1.0) == ()


# ---- leases


def test_all_hubs_name_the_same_owner_whatever_their_order() -> None:
    hubs = [f"hub{number}" for number in range(7)]
    for role in ("timers", "home automation", "job 17"):
        assert rank(role, hubs) == rank(role, hubs[::-1])


def test_roles_spread_and_only_the_dead_ones_move() -> None:
    hubs = [f"hub{number}" for number in range(5)]
    before = {f"job{number}": rank(f"job{number}", hubs)[0] for number in range(500)}
    assert min(Counter(before.values()).values()) > 60
    after = {job: rank(job, hubs[1:])[0] for job in before}
    assert {job for job in before if before[job] != after[job]} == {job for job in before if before[job] == "hub0"}


def test_only_hubs_own_and_a_suspect_still_does() -> None:
    members = [
        Member("a", "a", "alive", roles=("hub", "gpu")),
        Member("b", "b", "suspect", roles=("hub",)),
        Member("c", "c", "dead", roles=("hub",)),
        Member("d", "d", "alive", roles=("worker",)),
    ]
    assert live_hubs(members) == ("a", "b")


def test_a_hub_that_just_started_claims_nothing_until_it_heard_the_others() -> None:
    leases = Leases("a", ["timers"], started_at=10.0)
    assert leases.update(["a"], 11.0) == ()
    assert leases.update(["a"], 12.0) == (LeaseChange("timers", "gained", "a"),)
    assert leases.mine() == ("timers",)
    assert leases.update(["a"], 13.0) == ()


def test_partition_makes_two_owners_and_its_end_one() -> None:
    hubs = {"a": Leases("a", ["timers"], started_at=0.0), "b": Leases("b", ["timers"], started_at=0.0)}

    def owners(now: float, views: dict[str, list[str]]) -> list[str]:
        for name, leases in hubs.items():
            leases.update(views[name], now)
        return [name for name, leases in hubs.items() if leases.mine()]

    both = {"a": ["a", "b"], "b": ["a", "b"]}
    assert len(owners(5.0, both)) == 1
    assert owners(6.0, {"a": ["a"], "b": ["b"]}) == ["a", "b"]
    assert len(owners(7.0, both)) == 1


def test_loss_is_told_before_gain_and_jobs_come_and_go() -> None:
    leases = Leases("a", started_at=-9.0)
    roles = [f"job{number}" for number in range(20)]
    theirs = [role for role in roles if rank(role, ["a", "b"])[0] == "b"]
    ours = [role for role in roles if role not in theirs]
    assert ours
    assert theirs
    leases.add(ours[0])
    assert [change.change for change in leases.update(["a", "b"], 0.0)] == ["gained"]
    leases.add(theirs[0])
    assert leases.update(["a", "b"], 0.0) == ()
    assert leases.owner(theirs[0]) == "b"
    assert [change.change for change in leases.update(["a"], 0.0)] == ["gained"]
    assert [change.change for change in leases.update([], 0.0)] == ["lost", "lost"]
    leases.drop(ours[0])
    assert leases.owner(ours[0]) == ""


@given(st.sets(st.text(max_size=8), min_size=1), st.text(max_size=8))
def test_any_live_hubs_have_one_owner_that_is_one_of_them(hubs: set[str], role: str) -> None:
    owners = set()
    for me in hubs:
        leases = Leases(me, [role], started_at=-9.0)
        leases.update(hubs, 0.0)
        owners.add(leases.owner(role))
    assert len(owners) == 1
    assert owners <= hubs
