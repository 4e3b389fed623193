import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import MalformedMessage
from swarm.ledger.hybrid_time import MAX_AHEAD_S, HybridClock, hybrid_time, seconds_of
from swarm.ledger.operation import (
    MAX_PAYLOAD_BYTES,
    Lane,
    LogId,
    chain,
    chain_digests,
    decode_body,
    digest,
    encode_body,
    encode_payload,
    first_hash,
    signed_bytes,
)
from swarm.ledger.outgoing import Heads, Runs, WantProof, Wants
from swarm.ledger.run import Evidence, Proof, Run, check_run, is_fork
from tests.swarm.ledger.nodes import Key

KEY = Key()
P = b"p" * 32
LOG = LogId(KEY.node_id, b"epoch678", "home")
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def signed(
    log: LogId, bodies: tuple[bytes, ...], *, first: int = 1, previous: bytes = b"p" * 32, key: Key = KEY
) -> Run:
    signature = key.sign(signed_bytes(first + len(bodies) - 1, chain(previous, bodies)))
    return Run(key.public_key, log.epoch, log.lane, first, previous, bodies, signature)


def body(number: int, *, time: int = 5) -> bytes:
    return encode_body(time, "jobs.put", encode_payload({"n": number}))


@given(st.integers(0, 2**63 - 1), values)
def test_an_operation_is_read_as_it_was_written(time: int, value: object) -> None:
    read = decode_body(LOG, 3, encode_body(time, "jobs.put", encode_payload(value)))
    assert (read.time, read.kind, read.id.log, read.id.sequence) == (time, "jobs.put", LOG, 3)
    assert msgspec.msgpack.decode(read.payload) == msgspec.msgpack.decode(encode_payload(value))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_operation_are_refused_with_one_error(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_body(LOG, 1, b"\xc1" + data)
    with contextlib.suppress(MalformedMessage):
        decode_body(LOG, 1, data)


@given(st.binary(max_size=300))
@pytest.mark.parametrize("kind", [Run, Proof, Evidence, Heads, Runs, Wants, WantProof])
def test_no_bytes_break_a_decoder(kind: type, data: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        msgspec.msgpack.decode(data, type=kind)


def test_deeply_nested_bytes_are_refused() -> None:
    with pytest.raises(MalformedMessage):
        decode_body(LOG, 1, b"\x93\x05\xa8jobs.put" + b"\x91" * 10_000)


@given(st.data())
def test_a_run_with_any_changed_bit_is_refused(data: st.DataObject) -> None:
    raw = bytearray(msgspec.msgpack.encode(signed(LOG, (body(1), body(2)))))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        run = msgspec.msgpack.decode(bytes(raw), type=Run)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if (run.epoch, run.lane) != (LOG.epoch, LOG.lane):
        return  # the name of the log is in hash 0: whoever has the log sees that it does not continue it
    with pytest.raises(MalformedMessage):
        check_run(run)


def test_a_good_run_is_read() -> None:
    checked = check_run(signed(LOG, (body(1), body(2)), first=7))
    assert (checked.log, [each.id.sequence for each in checked.operations]) == (LOG, [7, 8])
    assert checked.hash == chain(b"p" * 32, (body(1), body(2)))


def test_another_nodes_signature_is_refused() -> None:
    good = signed(LOG, (body(1),))
    with pytest.raises(MalformedMessage, match="signature"):
        check_run(msgspec.structs.replace(good, key=Key().public_key))
    with pytest.raises(MalformedMessage, match="nobody"):
        check_run(msgspec.structs.replace(good, key=b"k" * 44))


@pytest.mark.parametrize("lane", ["private", "home", "shared"])
def test_operations_of_the_roster_stand_in_roster_logs_only(lane: Lane) -> None:
    with pytest.raises(MalformedMessage, match="does not belong"):
        decode_body(LogId(KEY.node_id, LOG.epoch, lane), 1, encode_body(1, "roster.enrol", b"\xc0"))
    with pytest.raises(MalformedMessage, match="does not belong"):
        decode_body(LogId(KEY.node_id, LOG.epoch, "roster"), 1, encode_body(1, "jobs.put", b"\xc0"))


def test_too_large_operations_and_runs_are_refused() -> None:
    large = encode_body(1, "jobs.put", encode_payload(b"x" * MAX_PAYLOAD_BYTES))
    with pytest.raises(MalformedMessage, match="bytes"):
        check_run(signed(LOG, (large + b"x" * 200,)))
    full = encode_body(1, "jobs.put", encode_payload(b"x" * (MAX_PAYLOAD_BYTES - 10)))
    with pytest.raises(MalformedMessage, match="bytes"):
        check_run(signed(LOG, (full,) * 40))
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(signed(LOG, (body(1),) * 513)), type=Run)


def test_logs_begin_with_different_hashes() -> None:
    other = LogId(LOG.origin, LOG.epoch, "shared")
    assert len({first_hash("a", LOG), first_hash("b", LOG), first_hash("a", other)}) == 3


def test_a_fork_is_proved_by_two_signed_operations_in_one_place() -> None:
    def proof(bodies: tuple[bytes, ...], *, key: Key = KEY, previous: bytes = b"p" * 32) -> Proof:
        run = signed(LOG, bodies, first=4, key=key, previous=previous)
        after = tuple(digest(each) for each in bodies[1:])
        return Proof(key.public_key, LOG.epoch, LOG.lane, 4, previous, bodies[0], after, run.signature)

    one, other = proof((body(1), body(2))), proof((body(3),))
    assert is_fork(Evidence(one, other))
    assert not is_fork(Evidence(one, one))
    assert not is_fork(Evidence(one, proof((body(3),), key=Key())))
    assert not is_fork(Evidence(one, proof((body(3),), previous=b"q" * 32)))
    assert not is_fork(Evidence(one, msgspec.structs.replace(other, body=body(4))))
    assert not is_fork(Evidence(msgspec.structs.replace(one, after=()), other))


def test_digests_chain_as_bodies_do() -> None:
    bodies = [body(each) for each in range(5)]
    assert chain_digests(b"x" * 32, map(digest, bodies)) == chain(b"x" * 32, bodies)


def test_hybrid_time_rises_whatever_the_clock_does() -> None:
    now = [100.0]
    clock = HybridClock(lambda: now[0])
    first = clock.next()
    assert seconds_of(first) == 100.0
    now[0] = 50.0
    assert clock.next() > first
    seen = hybrid_time(3600.0)
    clock.follow(seen)
    assert clock.next() > seen


def test_a_clock_that_is_days_ahead_is_not_followed() -> None:
    clock = HybridClock(lambda: 100.0)
    clock.follow(hybrid_time(100.0 + MAX_AHEAD_S + 60))
    clock.follow(2**63 - 1)
    assert seconds_of(clock.next()) == 100.0
