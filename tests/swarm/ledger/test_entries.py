import random
from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swarm.ledger.entries import Entries, removals
from swarm.ledger.operation import Lane, LogId, Operation, OperationId, decode_body, encode_body, encode_payload

LANES: tuple[Lane, ...] = ("home", "private")


class Replica:
    """One node's view, and what it wrote. Clocks of nodes differ at random."""

    def __init__(self, name: str) -> None:
        self.origin = name * 26
        self.view = Entries("jobs")
        self.has: defaultdict[LogId, int] = defaultdict(int)
        self.written: dict[LogId, list[Operation]] = {}

    def write(self, kind: str, payload: object, time: int, lane: Lane = "home") -> Operation:
        log = LogId(self.origin, b"epoch678", lane)
        mine = self.written.setdefault(log, [])
        operation = decode_body(log, len(mine) + 1, encode_body(time, kind, encode_payload(payload)))
        mine.append(operation)
        self.receive(operation)
        return operation

    def put(self, key: str, value: object, time: int, lane: Lane = "home") -> None:
        replaces, removed = removals(self.view.writes(key), lane)
        for each, tags in removed:
            self.write("jobs.remove", {"key": key, "removes": tags}, time, each)
        self.write("jobs.put", {"key": key, "value": value, "replaces": replaces}, time, lane)

    def remove(self, key: str, time: int) -> None:
        for lane, tags in removals(self.view.writes(key), None)[1]:
            self.write("jobs.remove", {"key": key, "removes": tags}, time, lane)

    def receive(self, operation: Operation) -> None:
        log, sequence = operation.id.log, operation.id.sequence
        if sequence == self.has[log] + 1:  # as the journal sees to: in order and once
            self.has[log] = sequence
            self.view.apply(operation)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 3), st.sampled_from(LANES)),
        st.tuples(st.just("remove"), st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 3)),
        st.tuples(st.just("tell"), st.integers(0, 2), st.integers(0, 2), st.integers(1, 5)),
    ),
    max_size=40,
)


def logs(replicas: list[Replica]) -> list[list[Operation]]:
    return [operations for each in replicas for operations in each.written.values()]


@given(steps, st.integers())
def test_views_become_equal_whatever_was_lost_repeated_or_came_late(steps: list[tuple[Any, ...]], seed: int) -> None:
    replicas = [Replica(name) for name in "abc"]
    choose = random.Random(seed)
    for number, (what, who, *rest) in enumerate(steps):
        replica = replicas[who]
        if what == "put":
            key, time, lane = rest
            replica.put(key, number, time, lane)
        elif what == "remove":
            replica.remove(*rest)
        else:
            whom, most = rest
            offered = [each for log in replica.written.values() for each in log]
            for each in choose.sample(offered, min(most, len(offered))):  # lost, and in any order
                replicas[whom].receive(each)
                replicas[whom].receive(each)
    for replica in replicas:
        waiting = [list(log) for log in logs(replicas)]
        while waiting := [log for log in waiting if log]:
            replica.receive(choose.choice(waiting).pop(0))
    rebuilt = Entries("jobs")
    for log in logs(replicas):
        for each in log:
            rebuilt.apply(each)
    restored = Entries("jobs")
    restored.restore(rebuilt.snapshot())
    every = [replica.view for replica in replicas] + [rebuilt, restored]
    assert len({view.snapshot() for view in every}) == 1
    assert len({repr(sorted(view.items())) for view in every}) == 1
    assert not rebuilt._buried, "everything has come, so nothing is waited for"


def test_what_was_removed_stays_removed_when_the_write_comes_later() -> None:
    writer, remover, late = Replica("a"), Replica("b"), Replica("c")
    writer.put("x", 1, 5)
    written = writer.written[LogId(writer.origin, b"epoch678", "home")][0]
    remover.receive(written)
    remover.remove("x", 1)
    removed = remover.written[LogId(remover.origin, b"epoch678", "home")][0]
    late.receive(removed)
    late.receive(written)
    assert "x" not in late.view
    writer.receive(removed)
    writer.put("x", 2, 6)
    late.receive(writer.written[written.id.log][1])
    assert late.view.get("x") == 2


def test_a_write_that_the_removal_did_not_know_of_wins() -> None:
    one, other = Replica("a"), Replica("b")
    one.put("x", "old", 1)
    other.receive(one.written[LogId(one.origin, b"epoch678", "home")][0])
    other.remove("x", 9)
    one.put("x", "new", 2)
    for each in one.written[LogId(one.origin, b"epoch678", "home")]:
        other.receive(each)
    assert other.view.get("x") == "new"


def test_of_writes_that_do_not_know_of_each_other_the_latest_shows() -> None:
    one, other = Replica("a"), Replica("b")
    one.put("x", "early", 1)
    other.put("x", "late", 2)
    one.receive(other.written[LogId(other.origin, b"epoch678", "home")][0])
    assert one.view.get("x") == "late"
    one.put("x", "now", 0)  # its clock is behind, but it knew both
    assert one.view.get("x") == "now"
    assert len(one.view.writes("x")) == 1


def test_a_write_that_moves_to_another_lane_is_removed_where_it_was() -> None:
    one, guest = Replica("a"), Replica("b")
    one.put("x", 1, 1, "home")
    one.put("x", 2, 2, "private")
    for each in one.written[LogId(one.origin, b"epoch678", "home")]:
        guest.receive(each)
    assert "x" not in guest.view
    assert one.view.get("x") == 2


def test_what_cannot_be_read_is_ignored() -> None:
    one = Replica("a")
    for payload in (
        None,
        {"key": ""},
        {"key": "x"},
        {"key": "k" * 300, "value": 1},
        {"key": "x", "value": 1, "replaces": [1]},
    ):
        one.write("jobs.put", payload, 1)
        one.write("jobs.remove", payload, 1)
    one.write("jobs.fold", {}, 1)
    assert len(one.view) == 0
    one.put("x", 1, 1)
    assert one.view.get("x") == 1
    assert one.view.get("x", str) is None


def test_a_removal_of_something_that_never_was_does_no_harm() -> None:
    one = Replica("a")
    never = OperationId(LogId("b" * 26, b"epoch678", "home"), 4)
    one.write("jobs.remove", {"key": "x", "removes": [never, never]}, 1)
    other = Replica("b")
    for number in range(6):
        other.put(f"k{number}", number, 1)
    for each in other.written[never.log]:
        one.receive(each)
    assert len(one.view) == 6, "the removal named another key than that write's"
    assert not one.view._buried
