from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import MycoswarmError, StorageError
from swarm.tokens import (
    LINGER_S,
    MAX_INVITATIONS,
    BadToken,
    Invitations,
    JoinToken,
    load_invitations,
    parse_token,
    save_invitations,
)

NOW = 1_800_000_000.0
PIN, SWARM = b"\x07" * 32, "s" * 26
NODE, OTHER = "a" * 26, "b" * 26


def invited(**more: object) -> tuple[Invitations, JoinToken]:
    return Invitations().invite(pin=PIN, swarm_id=SWARM, now=NOW, **more)  # type: ignore[arg-type]


@given(
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=16, max_size=16),
    st.lists(st.tuples(st.ip_addresses().map(str), st.integers(1, 65535)), max_size=4),
)
def test_token_comes_back_from_its_text_however_a_person_copied_it(
    id_: bytes, secret: bytes, addresses: list[tuple[str, int]]
) -> None:
    token = JoinToken(id_, secret, PIN, SWARM, tuple(addresses))
    text = token.text()
    assert re.fullmatch(r"[0-9A-Z $%*+./:-]+", text), "a QR code's alphanumeric mode has only these"
    assert parse_token(text) == token
    assert parse_token(f"  {text.lower()[:30]}\n {text[30:]} ") == token


@given(st.text())
def test_text_that_is_no_token_is_said_to_be_none(text: str) -> None:
    with pytest.raises(BadToken):
        parse_token(text)
    with pytest.raises(BadToken):
        parse_token("MYCO1-" + text)


def test_every_single_mistyped_character_is_noticed() -> None:
    text = invited()[1].text()
    for place in range(len("MYCO1-"), len(text)):
        wrong = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(BadToken):
            parse_token(wrong)


def test_secret_is_neither_in_the_file_nor_in_a_log(tmp_path: Path) -> None:
    invitations, token = invited()
    save_invitations(tmp_path, invitations)
    kept = (tmp_path / "invitations.json").read_bytes()
    assert token.secret not in kept and base64.b64encode(token.secret) not in kept
    assert token.secret.hex() not in repr(token) and repr(token.secret) not in repr(token)
    assert load_invitations(tmp_path) == invitations


def test_token_lets_one_node_in_and_the_same_again_only_for_a_moment() -> None:
    invitations, token = invited(valid_s=60.0)
    invitations, outcome = invitations.redeem(token.id, token.secret, NODE, NOW + 1)
    assert outcome == "granted"
    assert invitations.redeem(token.id, token.secret, OTHER, NOW + 1)[1] == "used"
    assert invitations.redeem(token.id, token.secret, NODE, NOW + LINGER_S)[1] == "granted"
    assert invitations.redeem(token.id, token.secret, NODE, NOW + 1 + LINGER_S)[1] == "used"


@pytest.mark.parametrize(("at", "outcome"), [(59.9, "granted"), (60.0, "expired"), (10_000.0, "expired")])
def test_token_ends_when_it_expires(at: float, outcome: str) -> None:
    invitations, token = invited(valid_s=60.0)
    assert invitations.redeem(token.id, token.secret, NODE, NOW + at)[1] == outcome


def test_wrong_secret_unknown_id_and_withdrawn_token_look_the_same() -> None:
    invitations, token = invited()
    assert invitations.redeem(token.id, b"\x00" * 16, NODE, NOW)[1] == "unknown"
    assert invitations.redeem(b"\x00" * 8, token.secret, NODE, NOW)[1] == "unknown"
    assert invitations.withdraw(token.id).redeem(token.id, token.secret, NODE, NOW)[1] == "unknown"
    assert invitations.withdraw(None).redeem(token.id, token.secret, NODE, NOW)[1] == "unknown"
    assert invitations.withdraw(b"\x00" * 8) == invitations


def test_port_is_needed_until_the_last_token_expired_or_was_used_a_while_ago() -> None:
    invitations, first = invited(valid_s=600.0)
    invitations, _ = invitations.invite(pin=PIN, swarm_id=SWARM, valid_s=60.0, now=NOW)
    assert Invitations().open_until(NOW) is None
    assert invitations.open_until(NOW) == NOW + 600
    assert invitations.open_until(NOW + 600) is None
    invitations, _ = invitations.redeem(first.id, first.secret, NODE, NOW + 10)
    assert invitations.open_until(NOW + 60) == NOW + 10 + LINGER_S
    assert invitations.open_until(NOW + 10 + LINGER_S) is None


def test_invitations_do_not_pile_up() -> None:
    invitations = Invitations()
    for _ in range(MAX_INVITATIONS):
        invitations, _ = invitations.invite(pin=PIN, swarm_id=SWARM, valid_s=60.0, now=NOW)
    with pytest.raises(MycoswarmError, match="wait to be used"):
        invitations.invite(pin=PIN, swarm_id=SWARM, now=NOW)
    later, _ = invitations.invite(pin=PIN, swarm_id=SWARM, now=NOW + 90_000)
    assert len(later.all) == 1


@pytest.mark.parametrize("valid_s", [0.0, -1.0, 1e12, float("nan")])
def test_token_of_no_or_endless_validity_is_not_made(valid_s: float) -> None:
    with pytest.raises(MycoswarmError, match="cannot be valid"):
        invited(valid_s=valid_s)


def test_damaged_file_invites_nobody(tmp_path: Path) -> None:
    (tmp_path / "invitations.json").write_text("[{}]")
    with pytest.raises(StorageError, match=r"invitations\.json"):
        load_invitations(tmp_path)
    assert load_invitations(tmp_path / "none") == Invitations()
