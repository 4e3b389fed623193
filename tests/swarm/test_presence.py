from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.capability import Capability
from swarm.errors import MalformedMessage
from swarm.hardware import Disk, Gpu, Hardware
from swarm.health import Health
from swarm.presence import (
    MAX_BYTES,
    MAX_NODES,
    SETTLE_S,
    Document,
    OwnPresence,
    PresenceTable,
    decode_presence,
    lasting,
)

A = "a" * 26
HEALTH = Health(1, 2.0, 3, 4, 5)


def said(*steps: str, incarnation: int = 1, node: str = A) -> list[bytes]:
    """What a node and the brokers that it knew published: `will` begins a connection, `here` is said in it."""
    own = OwnPresence(node, incarnation, Document(name=node[:3]))
    return [own.last_will() if step == "will" else own.here() for step in steps]


def heard(table: PresenceTable, message: bytes, node: str = A) -> bool:
    return table.heard(decode_presence(message, node))


def test_a_last_will_ends_its_own_connection_and_not_the_next_one() -> None:
    table = PresenceTable()
    first_will, first, second_will, second = said("will", "here", "will", "here")
    assert heard(table, first)
    assert heard(table, first_will)
    assert not table.present()
    assert heard(table, second)
    assert not heard(table, first_will)
    assert not heard(table, first)
    assert table.present()[A].name == "aaa"
    assert heard(table, second_will)
    assert not table.present()


def test_a_restarted_node_replaces_its_former_self_and_a_recording_of_it_does_nothing() -> None:
    table = PresenceTable()
    old = said("will", "here", "here", "will", "here")
    (new,) = said("will", "here", incarnation=2)[1:]
    for message in old:
        heard(table, message)
    assert heard(table, new)
    assert not any(heard(table, message) for message in old)
    assert A in table.present()


@given(st.permutations(range(8)), st.lists(st.integers(0, 7), max_size=12))
def test_whatever_the_order_and_repetition_the_newest_counts(order: list[int], repeated: list[int]) -> None:
    messages = said("will", "here", "here", "will", "here") + said("will", "here", "here", incarnation=2)
    table = PresenceTable()
    for number in [*order, *repeated]:
        heard(table, messages[number])
    newest = max(messages, key=lambda message: decode_presence(message, A).order)
    assert (A in table.present()) is (decode_presence(newest, A).document is not None)


def test_who_is_not_mentioned_by_a_new_broker_is_gone_after_a_while_and_back_when_mentioned() -> None:
    table = PresenceTable()
    _, a = said("will", "here")
    _, b = said("will", "here", node="b" * 26)
    heard(table, a)
    heard(table, b, "b" * 26)
    table.heard_health("b" * 26, HEALTH, 5.0)
    assert table.health("b" * 26) == (HEALTH, 5.0)
    table.connected(100.0)
    assert not heard(table, a)
    assert table.settle(100.0 + SETTLE_S - 0.1) == ()
    assert table.settle(100.0 + SETTLE_S) == ("b" * 26,)
    assert table.settle(100.0 + SETTLE_S) == ()
    assert set(table.present()) == {A}
    assert table.health("b" * 26) is None
    assert heard(table, b, "b" * 26)
    assert set(table.present()) == {A, "b" * 26}


def test_health_counts_of_nodes_that_are_there() -> None:
    table = PresenceTable()
    table.heard_health(A, HEALTH, 1.0)
    assert table.health(A) is None


def test_the_table_is_bounded_and_the_gone_make_room() -> None:
    table = PresenceTable()
    nodes = [f"{number:026}" for number in range(MAX_NODES + 1)]
    for node in nodes[:-1]:
        assert heard(table, said("will", "here", node=node)[1], node)
    assert not heard(table, said("will", "here", node=nodes[-1])[1], nodes[-1])
    heard(table, said("here", "will", node=nodes[0])[1], nodes[0])
    assert heard(table, said("will", "here", node=nodes[-1])[1], nodes[-1])


@pytest.mark.parametrize("data", [b"", b"online", b"{}", b"[" * 100_000, b"x" * (MAX_BYTES + 1), b'{"node":1}'])
def test_what_is_no_presence_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_presence(data, A)


def test_a_presence_on_anothers_topic_is_malformed() -> None:
    with pytest.raises(MalformedMessage, match="on the topic of"):
        decode_presence(said("will", "here")[1], "b" * 26)


def test_only_what_lasts_is_news() -> None:
    def document(used: int, running: int) -> Document:
        gpu = Gpu("card", "nvidia", memory_bytes=8, memory_used_bytes=used, busy_percent=float(used))
        hardware = Hardware(cores=4, ram_available_bytes=used, disks=(Disk("/", 9, used),), gpus=(gpu,))
        return Document(hardware=hardware, capabilities=(Capability("generate", "m", running=running),))

    own = OwnPresence(A, 1, document(1, 1))
    assert not own.change(document(2, 2))
    assert own.change(Document(capabilities=(Capability("generate", "m", slots=2),)))
    assert lasting(document(5, 5)) == lasting(document(1, 1))
