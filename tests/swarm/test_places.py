import pytest

from swarm.places import own_places, parse_place, place_text, places_of, reachable


@pytest.mark.parametrize("address", [("10.0.0.5", 7334), ("fd00::5", 7334), ("fe80::1%eth0", 1), ("127.0.0.1", 65535)])
def test_place_survives_being_written(address: tuple[str, int]) -> None:
    assert parse_place(place_text(*address)) == address


@pytest.mark.parametrize(
    "text", ["", ":", "10.0.0.5", "10.0.0.5:", "10.0.0.5:0", "10.0.0.5:65536", "10.0.0.5:7334x", "8.8.8.8:80",
             "attic.local:7334", "[fe80::1]:7334", "0.0.0.0:1", "[::ffff:10.0.0.5]:80", "10.0.0.5:\u0663"],
)  # fmt: skip
def test_what_is_no_place_of_the_lan_is_none(text: str) -> None:
    assert parse_place(text) is None
    assert reachable([text, "10.0.0.5:7334"]) == (("10.0.0.5", 7334),)


def test_node_tells_no_address_that_means_nothing_elsewhere() -> None:
    told = own_places(["10.0.0.5", "169.254.1.2", "fe80::1%eth0", "fd00::5"], 7334)
    assert told == ("10.0.0.5:7334", "[fd00::5]:7334")
    assert places_of(["10.0.0.5"], 1) == ("10.0.0.5:1",)
