"""The roster as a pure function of operations."""

import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.ledger.operation import LogId, Operation, chain, decode_body, encode_body, encode_payload, signed_bytes
from swarm.ledger.roster import ENROL, FORK, FOUND, NO_LIMIT, REVOKE, Cut, Enrol, Revoke, Roster, founds, resolve
from swarm.ledger.run import Evidence, Proof
from tests.swarm.ledger.nodes import Key

KEYS = [Key() for _ in range(6)]
FOUNDER, HUB, OTHER, WORKER, EDGE, GUEST = KEYS
FOUNDING = FOUNDER.authority(None).certificate
SWARM = FOUNDING.swarm_id
AUTHORITIES = {key.node_id: key.authority(SWARM).certificate for key in KEYS[1:]}
EPOCH = b"epoch678"


def roster_log(key: Key) -> LogId:
    return LogId(key.node_id, EPOCH, "roster")


class Written:
    """Roster operations, each log in order."""

    def __init__(self) -> None:
        self.logs: defaultdict[str, list[Operation]] = defaultdict(list)
        self.time = 0

    def add(self, author: Key, kind: str, content: object, *, time: int | None = None) -> Operation:
        self.time += 1
        log = self.logs[author.node_id]
        body = encode_body(self.time if time is None else time, kind, encode_payload(content))
        log.append(decode_body(roster_log(author), len(log) + 1, body))
        return log[-1]

    def found(self) -> None:
        self.add(FOUNDER, FOUND, Enrol(FOUNDER.node_id, "first", ("hub",), authority=FOUNDING.pem))

    def enrol(self, author: Key, key: Key, *roles: str, name: str = "", time: int | None = None) -> None:
        self.add(author, ENROL, Enrol(key.node_id, name, roles or ("worker",)), time=time)

    def grant(self, author: Key, key: Key, *roles: str, time: int | None = None) -> None:
        pem = AUTHORITIES[key.node_id].pem
        self.add(author, ENROL, Enrol(key.node_id, "", roles or ("hub",), authority=pem), time=time)

    def revoke(self, author: Key, key: Key, known: int | None = None) -> None:
        """`known` of the roster operations of `key`; all for None."""
        position = len(self.logs[key.node_id]) if known is None else known
        cuts = (Cut(EPOCH, "roster", position), Cut(EPOCH, "home", 10 + position))
        self.add(author, REVOKE, Revoke(key.node_id, cuts))

    @property
    def operations(self) -> list[Operation]:
        return [each for log in self.logs.values() for each in log]

    def roster(self) -> Roster:
        return resolve(SWARM, self.operations)


@pytest.fixture
def written() -> Written:
    written = Written()
    written.found()
    return written


def members(roster: Roster) -> set[str]:
    return set(roster.members)


def ids(*keys: Key) -> set[str]:
    return {key.node_id for key in keys}


def test_founder_proves_itself_by_the_swarms_id(written: Written) -> None:
    roster = written.roster()
    assert members(roster) == roster.founders == ids(FOUNDER)
    assert roster.members[FOUNDER.node_id].may_enrol
    assert founds(SWARM, written.operations[0])


def test_nobody_else_founds_the_swarm() -> None:
    written = Written()
    written.add(HUB, FOUND, Enrol(HUB.node_id, "", ("hub",), authority=FOUNDING.pem))
    written.add(HUB, FOUND, Enrol(FOUNDER.node_id, "", ("hub",), authority=FOUNDING.pem))
    written.add(HUB, FOUND, Enrol(HUB.node_id, "", ("hub",), authority=AUTHORITIES[HUB.node_id].pem))
    written.add(HUB, FOUND, Enrol(HUB.node_id, "", ("hub",), authority=HUB.authority(None).certificate.pem))
    assert written.roster() == Roster()
    assert not any(founds(SWARM, each) for each in written.operations)


def test_only_those_with_the_right_admit_and_revoke(written: Written) -> None:
    written.enrol(FOUNDER, WORKER)
    written.enrol(WORKER, GUEST)
    written.revoke(WORKER, FOUNDER)
    written.enrol(GUEST, OTHER)
    assert members(written.roster()) == ids(FOUNDER, WORKER)
    written.grant(FOUNDER, HUB)
    written.enrol(HUB, OTHER)
    written.revoke(HUB, WORKER)
    roster = written.roster()
    assert members(roster) == ids(FOUNDER, HUB, OTHER)
    assert set(roster.bundle.current) == {FOUNDING.authority_id, AUTHORITIES[HUB.node_id].authority_id}


@pytest.mark.parametrize("roles", [("edge",), ("worker",), ("gpu", "edge")])
def test_only_hubs_get_the_right(written: Written, roles: tuple[str, ...]) -> None:
    written.grant(FOUNDER, EDGE, *roles)
    written.enrol(EDGE, GUEST)
    roster = written.roster()
    assert members(roster) == ids(FOUNDER, EDGE)
    assert not roster.members[EDGE.node_id].may_enrol


def test_an_authority_of_another_node_or_swarm_gives_no_right(written: Written) -> None:
    foreign = HUB.authority(None).certificate.pem
    for pem in (AUTHORITIES[OTHER.node_id].pem, foreign, "no certificate"):
        written.add(FOUNDER, ENROL, Enrol(HUB.node_id, "", ("hub",), authority=pem))
    assert not written.roster().members[HUB.node_id].may_enrol


def test_the_latest_name_and_roles_count(written: Written) -> None:
    written.enrol(FOUNDER, WORKER, "gpu", name="new", time=9)
    written.enrol(FOUNDER, WORKER, name="old", time=5)
    member = written.roster().members[WORKER.node_id]
    assert (member.name, member.roles) == ("new", ("gpu",))


def test_what_a_revoked_node_did_before_counts_and_later_does_not(written: Written) -> None:
    written.grant(FOUNDER, HUB)
    written.enrol(HUB, WORKER)
    written.revoke(FOUNDER, HUB)
    written.enrol(HUB, GUEST, time=1)  # it lies about the time
    roster = written.roster()
    assert members(roster) == ids(FOUNDER, WORKER)
    assert roster.is_revoked(HUB.node_id)
    assert roster.limit(LogId(HUB.node_id, EPOCH, "home")) == 11
    assert roster.limit(LogId(HUB.node_id, b"another8", "home")) == 0
    assert roster.limit(LogId(WORKER.node_id, EPOCH, "home")) == NO_LIMIT
    assert roster.limit(LogId(GUEST.node_id, EPOCH, "home")) == 0
    assert set(roster.bundle.current) == {FOUNDING.authority_id}
    assert set(roster.bundle.retired) == {AUTHORITIES[HUB.node_id].authority_id}


def test_revocation_is_final(written: Written) -> None:
    written.enrol(FOUNDER, WORKER)
    written.revoke(FOUNDER, WORKER)
    written.enrol(FOUNDER, WORKER)
    assert members(written.roster()) == ids(FOUNDER)


def test_of_several_revocations_the_shortest_cut_counts(written: Written) -> None:
    written.grant(FOUNDER, HUB)
    written.grant(FOUNDER, OTHER)
    written.enrol(OTHER, WORKER)
    written.revoke(FOUNDER, OTHER)
    written.revoke(HUB, OTHER, known=0)
    assert members(written.roster()) == ids(FOUNDER, HUB)


def test_founder_can_be_revoked_and_the_others_go_on(written: Written) -> None:
    written.grant(FOUNDER, HUB)
    written.revoke(HUB, FOUNDER)
    written.enrol(FOUNDER, GUEST)
    written.enrol(HUB, WORKER)
    roster = written.roster()
    assert members(roster) == ids(HUB, WORKER)
    assert set(roster.bundle.current) == {AUTHORITIES[HUB.node_id].authority_id}


def test_a_node_leaves_by_itself_and_takes_nobody_along(written: Written) -> None:
    written.enrol(FOUNDER, WORKER)
    written.revoke(WORKER, WORKER, known=1)
    written.revoke(WORKER, FOUNDER)
    assert members(written.roster()) == ids(FOUNDER)


def test_of_two_that_revoke_each_other_the_higher_rank_stays(written: Written) -> None:
    written.grant(FOUNDER, HUB)
    written.grant(HUB, OTHER)
    written.revoke(OTHER, HUB, known=1)
    written.revoke(HUB, OTHER, known=0)
    written.revoke(OTHER, FOUNDER)
    assert members(written.roster()) == ids(FOUNDER, HUB)


def test_a_revocation_beyond_a_cut_is_void(written: Written) -> None:
    written.grant(FOUNDER, HUB)
    written.grant(FOUNDER, OTHER)
    written.revoke(FOUNDER, HUB)
    written.revoke(HUB, OTHER)
    assert members(written.roster()) == ids(FOUNDER, OTHER)


def a_fork(key: Key, at: int) -> Evidence:
    log = LogId(key.node_id, EPOCH, "home")

    def proof(value: int) -> Proof:
        body = encode_body(1, "jobs.put", encode_payload(value))
        signature = key.sign(signed_bytes(at, chain(b"p" * 32, (body,))))
        return Proof(key.public_key, EPOCH, log.lane, at, b"p" * 32, body, (), signature)

    return Evidence(proof(1), proof(2))


def test_a_forked_node_is_frozen_and_its_log_counts_up_to_there(written: Written) -> None:
    written.grant(FOUNDER, HUB)
    written.enrol(HUB, WORKER)
    written.add(WORKER, FORK, a_fork(HUB, 8))
    written.add(WORKER, FORK, a_fork(HUB, 5))
    roster = written.roster()
    assert roster.members[HUB.node_id].frozen
    assert roster.serves(HUB.node_id) is None
    assert not roster.members[HUB.node_id].may_enrol
    assert roster.limit(LogId(HUB.node_id, EPOCH, "home")) == 4
    assert members(roster) == ids(FOUNDER, HUB, WORKER)


def test_an_invented_fork_freezes_nobody(written: Written) -> None:
    written.enrol(FOUNDER, WORKER)
    good = a_fork(WORKER, 3)
    written.add(FOUNDER, FORK, Evidence(good.one, good.one))
    written.add(FOUNDER, FORK, {"one": 1})
    assert not written.roster().forks


def test_what_cannot_be_read_is_ignored(written: Written) -> None:
    for kind in (FOUND, ENROL, REVOKE, FORK, "roster.dance"):
        for content in (None, {"node": "x"}, {"node": WORKER.node_id, "cuts": 3, "roles": 3}, [1]):
            written.add(FOUNDER, kind, content)
    assert members(written.roster()) == ids(FOUNDER)


actions = st.lists(
    st.tuples(
        st.sampled_from(["enrol", "grant", "revoke", "fork"]),
        st.sampled_from(KEYS),
        st.sampled_from(KEYS[1:]),
        st.integers(0, 6),
    ),
    max_size=14,
)


@given(actions, st.integers())
def test_the_order_of_arrival_says_nothing(actions: list[tuple[str, Key, Key, int]], seed: int) -> None:
    written = Written()
    written.found()
    for what, author, key, number in actions:
        if what == "enrol":
            written.enrol(author, key, time=number)
        elif what == "grant":
            written.grant(author, key, time=number)
        elif what == "revoke":
            written.revoke(author, key, min(number, len(written.logs[key.node_id])))
        else:
            written.add(author, FORK, a_fork(key, number + 1))
    shuffled = list(written.operations)
    random.Random(seed).shuffle(shuffled)
    roster = written.roster()
    assert resolve(SWARM, shuffled) == roster
    assert roster.members.keys() <= roster.named
    assert FOUNDER.node_id in roster.admitted


@given(actions, actions)
def test_whose_roster_logs_are_wanted_only_grows(
    before: list[tuple[str, Key, Key, int]], after: list[tuple[str, Key, Key, int]]
) -> None:
    written, named = Written(), frozenset[str]()
    written.found()
    for what, author, key, _ in before + after:
        if what == "enrol":
            written.enrol(author, key)
        elif what == "grant":
            written.grant(author, key)
        else:
            written.revoke(author, key, 0)
        roster = written.roster()
        assert named <= roster.named
        named = roster.named
