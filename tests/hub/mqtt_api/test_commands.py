from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.mqtt_api.commands import MAX_COMMAND_BYTES, Ask, CancelTimer, Listen, Say, SetTimer, id_of, parse_command
from swarm.errors import MalformedMessage


def test_bare_text_is_enough_to_ask_and_to_say() -> None:
    assert parse_command(b" what time is it ", Ask) == Ask(text="what time is it")
    assert parse_command("Das Essen wäre fertig".encode(), Say) == Say(text="Das Essen wäre fertig")


def test_id_comes_back_whatever_else_is_wrong() -> None:
    assert parse_command(b'{"to": "bed", "id": 7}', Listen) == Listen(to="bed", id=7)
    assert id_of(b'{"id": "x", "text": 5, "foo": [1]}') == "x"
    assert id_of(b'{"id": [1]}') is None
    assert id_of(b"dinner") is None


def test_timer_lasts_all_its_hours_minutes_and_seconds() -> None:
    timer = parse_command(b'{"hours": 1, "minutes": 2, "seconds": 3.5}', SetTimer)
    assert timer.duration_s == 3723.5


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Ask, b'{"text": ""}'),
        (Ask, b"   "),
        (Ask, b'{"text": "a", "satellite": "bed"}'),
        (Ask, b"\xff\xfe"),
        (Ask, b'{"text": "' + b"a" * MAX_COMMAND_BYTES + b'"}'),
        (Listen, b"bed"),
        (Listen, b"{}"),
        (SetTimer, b'{"seconds": -1}'),
        (SetTimer, b'{"seconds": 1e999}'),
        (SetTimer, b'{"seconds": NaN}'),
        (SetTimer, b'{"minutes": "5"}'),
        (CancelTimer, b'{"all": "yes"}'),
        (CancelTimer, b'{"id": "' + b"a" * 101 + b'"}'),
        (Say, b"{" * 10_000),
    ],
)
def test_what_is_no_command_is_malformed(kind: type[Ask], payload: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_command(payload, kind)


@given(st.binary(max_size=200) | st.text(max_size=80).map(str.encode), st.sampled_from([Ask, Say, Listen, SetTimer]))
def test_nothing_that_is_published_raises_past_the_parser(payload: bytes, kind: type[Ask]) -> None:
    id_of(payload)
    with contextlib.suppress(MalformedMessage):
        parse_command(payload, kind)
