import pytest

from swarm.errors import MycoswarmError
from swarm.roster import find_member

MEMBERS = {
    "abcd" + "a" * 22: "attic",
    "abcd" + "b" * 22: "cellar",
    "efgh" + "a" * 22: "twin",
    "efgh" + "b" * 22: "twin",
}


@pytest.mark.parametrize(
    ("text", "found"),
    [("attic", "abcd" + "a" * 22), (" cellar ", "abcd" + "b" * 22), ("abcda", "abcd" + "a" * 22),
     ("EFGHB", "efgh" + "b" * 22)],
)  # fmt: skip
def test_member_is_found_by_name_or_by_the_beginning_of_its_id(text: str, found: str) -> None:
    assert find_member(MEMBERS, text) == found


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("twin", "2 nodes are called twin"), ("abcd", "2 nodes are called abcd"), ("abc", "no node"), ("", "no node"),
     ("Attic", "no node of this swarm is called Attic")],
)  # fmt: skip
def test_who_is_not_meant_by_it_is_not_found(text: str, complaint: str) -> None:
    with pytest.raises(MycoswarmError, match=complaint):
        find_member(MEMBERS, text)
