import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.codec import MAX_TEXT_BYTES, decode_from_hub, decode_from_satellite, encode
from swarm.errors import MalformedMessage
from swarm.messages import (
    HeardSoFar,
    Hello,
    HubMessage,
    Message,
    SatelliteMessage,
    SatelliteState,
    SpeechEnded,
    SpeechStarted,
    UtteranceEnded,
    UtteranceStarted,
    Welcome,
)


@pytest.mark.parametrize(
    "message",
    [
        Hello("kitchen", area="Küche", language="de"),
        UtteranceStarted("u1", wake_word="okay_nabu", wake_ms_ago=12.5, preroll_ms=1500.0),
        UtteranceEnded("u1", "silence", speech_end_ms_ago=300.0),
        SatelliteState("idle"),
    ],
)
def test_message_of_a_satellite_arrives_as_it_was_sent(message: SatelliteMessage) -> None:
    assert decode_from_satellite(encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        Welcome("hub", wake_words=("okay_nabu",)),
        HeardSoFar("u1", "incomplete", "turn on the"),
        SpeechStarted("u1", 22_050, announcement=True),
        SpeechEnded("u1", 'It is 21 °C. "Really"?', follow_up=True),
    ],
)
def test_message_of_a_hub_arrives_as_it_was_sent(message: HubMessage) -> None:
    assert decode_from_hub(encode(message)) == message


def test_type_on_the_wire_is_the_class_name() -> None:
    assert msgspec.json.decode(encode(Hello("kitchen")))["type"] == "Hello"


def test_field_of_a_newer_version_is_passed_over() -> None:
    assert decode_from_satellite('{"type": "Hello", "satellite": "kitchen", "mood": "good"}') == Hello("kitchen")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "null",
        "[]",
        "{}",
        '{"type": "Nonsense"}',
        '{"type": "Hello"}',
        '{"type": "Hello", "satellite": 3}',
        '{"type": "Welcome", "node": "a hub\'s message"}',
        '{"type": "UtteranceEnded", "utterance_id": "u1", "reason": "bored"}',
        b"\xff\xfe",
        '{"type": "Hello", "satellite": "\\ud800"}',
        "[" * 60_000,
    ],
)
def test_what_is_no_message_is_refused(text: str | bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_from_satellite(text)


def test_message_beyond_the_bound_is_refused_unread() -> None:
    fits = '{"type": "Hello", "satellite": "' + "x" * (MAX_TEXT_BYTES - 34) + '"}'
    assert len(fits) == MAX_TEXT_BYTES
    decode_from_satellite(fits)
    with pytest.raises(MalformedMessage, match=f"exceeds the limit of {MAX_TEXT_BYTES}"):
        decode_from_satellite(fits + " ")


@given(st.one_of(st.text(), st.binary()))
def test_whatever_arrives_is_a_message_or_malformed(text: str | bytes) -> None:
    for decode in (decode_from_satellite, decode_from_hub):
        with contextlib.suppress(MalformedMessage):
            assert isinstance(decode(text), Message)
