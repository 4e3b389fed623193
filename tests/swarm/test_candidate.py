from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.candidate import MAX_ADDRESSES, is_id, roles_of, usable_addresses


@pytest.mark.parametrize(
    ("given", "usable"),
    [
        (["fe80::1%2", "fd00::1", "169.254.1.1", "10.0.0.1"], ["10.0.0.1", "fd00::1", "fe80::1%2", "169.254.1.1"]),
        (["192.168.1.2", "192.168.1.1"], ["192.168.1.2", "192.168.1.1"]),
        (["10.0.0.1", "10.0.0.1"], ["10.0.0.1"]),
        (["127.0.0.1", "::1", "::ffff:127.0.0.1"], []),
        (["8.8.8.8", "2001:db8::1", "203.0.113.1"], []),
        (["0.0.0.0", "::", "224.0.0.251", "ff02::fb", "255.255.255.255"], []),
        (["fe80::1"], []),
        (["", "x", "10.0.0", "10.0.0.1/8", "10.0.0.1; rm"], []),
    ],
)
def test_only_addresses_of_the_lan_are_usable_best_first(given: list[str], usable: list[str]) -> None:
    assert list(usable_addresses(given)) == usable


def test_loopback_is_usable_where_a_person_named_it() -> None:
    assert usable_addresses(["127.0.0.1"], loopback=True) == ("127.0.0.1",)


@given(st.lists(st.ip_addresses().map(str) | st.text(max_size=20), max_size=40))
def test_any_list_gives_a_bounded_part_of_itself(addresses: list[str]) -> None:
    found = usable_addresses(addresses)
    assert len(found) <= MAX_ADDRESSES
    assert set(found) <= set(addresses)


@pytest.mark.parametrize(
    ("text", "right"),
    [("a" * 26, True), ("az27" + "b" * 22, True), ("a" * 25, False), ("A" * 26, False), ("a" * 25 + "1", False)],
)
def test_ids_are_26_base32_characters(text: str, right: bool) -> None:
    assert is_id(text) is right
    assert not is_id(text + "\n")


def test_roles_are_names_and_few() -> None:
    assert roles_of("hub,gpu,,Bad One,x" * 10)[:2] == ("hub", "gpu")
    assert len(roles_of(",".join("abcdefghijklmnop"))) == 8
    assert roles_of("") == ()
