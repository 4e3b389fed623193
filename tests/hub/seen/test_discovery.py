import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.home.announcement import parse_announcement
from hub.seen.discovery import Form, Seen, changes, device_id, device_of_topic, wanted
from hub.seen.entities import PRESS
from swarm.bus_rules import node_of
from swarm.errors import MalformedMessage
from swarm.node_state import NodeState, SatelliteView, SystemView, decode_state, encode_state, lasting

A, B, C = "a" * 26, "b" * 26, "c" * 26
SATELLITE = SatelliteView("idle", microphone=True, speaker=True, wake_word="alexa", wake_words=("okay_nabu", "alexa"))
HUB = NodeState("Küche 1", "0.2.0", area="Kitchen", assistant=True, satellite=SATELLITE, temperature=True)
WORKER = NodeState("gaming", "0.2.0", gpus=2)
SWARM = Seen({A: HUB, B: WORKER}, members=frozenset({A, B}), swarm_id="s", hubs=frozenset({A}))
ALONE = Seen({"home": HUB}, members=frozenset({"home"}))


def messages(seen: Seen, form: Form = "components") -> dict[str, bytes]:
    return wanted(seen, form, prefix="homeassistant", language="en")


def told(seen: Seen, form: Form = "components") -> dict[str, Any]:
    return {topic: json.loads(payload) for topic, payload in messages(seen, form).items()}


def steps(held: dict[str, bytes], seen: Seen, form: Form = "components") -> list[tuple[str, bytes]]:
    return changes(held, seen, messages(seen, form), form, prefix="homeassistant")


def after(held: dict[str, bytes], published: list[tuple[str, bytes]]) -> dict[str, bytes]:
    both = held | dict(published)
    return {topic: payload for topic, payload in both.items() if payload}


def keys(seen: Seen, node: str) -> set[str]:
    return {topic.split("/")[3] for topic in messages(seen) if f"/{device_id(node)}/" in topic}


def test_a_node_shows_what_it_has() -> None:
    own = {"model", "cpu", "running", "update", "restart"}
    assert keys(SWARM, B) == own | {"gpu_memory", "gpu_memory_2"}
    voice = {"satellite", "volume", "mute", "wake_word", "sensitivity", "identify", "event", "latency"}
    assert keys(SWARM, A) == own | voice | {"temperature"}
    deaf = msgspec.structs.replace(HUB, satellite=msgspec.structs.replace(SATELLITE, microphone=False))
    seen = Seen({A: deaf}, members=frozenset({A}))
    assert keys(seen, A) == (own | voice | {"temperature"}) - {"mute", "wake_word", "sensitivity"}
    talks = msgspec.structs.replace(WORKER, words=True)
    assert {"transcript", "answer"} <= keys(Seen({B: talks}, members=frozenset({B})), B)


def test_update_of_an_image_is_shown_and_cannot_be_begun_by_the_bus() -> None:
    system = SystemView("1.0", "2.0", in_progress=True, percent=40, summary="hears better")
    image = msgspec.structs.replace(WORKER, system=system)
    update = told(Seen({B: image}, members=frozenset({B})))[f"homeassistant/update/{device_id(B)}/update/config"]
    assert not any("command" in key or "install" in key for key in update)
    assert "latest_version_topic" not in update
    assert lasting(image) == lasting(msgspec.structs.replace(image, system=SystemView("1.0", "1.0")))
    assert lasting(image) != lasting(WORKER)


def test_every_entity_says_whose_it_is_and_when_it_is_there() -> None:
    for topic, each in told(SWARM).items():
        component, device = topic.split("/")[1:3]
        assert each["unique_id"].startswith(device) and each["device"]["identifiers"] == [device]
        assert each["object_id"] == each["default_entity_id"].removeprefix(f"{component}.")
        assert each["origin"]["name"] == "mycoswarm"
        assert all(node_of(where["topic"]) in (A, B) for where in each["availability"])
        assert ("via_device" in each["device"]) == (not device.startswith("mycoswarm_swarm"))
    kitchen = told(SWARM)[f"homeassistant/switch/{device_id(A)}/mute/config"]
    assert kitchen["device"]["suggested_area"] == "Kitchen"
    assert kitchen["object_id"] == "kuche_1_mute"
    assert told(SWARM)[f"homeassistant/button/{device_id(A)}/restart/config"]["payload_press"] == PRESS


def test_the_swarm_comes_before_the_nodes_that_are_reached_by_way_of_it() -> None:
    devices = [device_of_topic(topic, "homeassistant") for topic, _ in steps({}, SWARM)]
    assert list(dict.fromkeys(devices)) == ["mycoswarm_swarm_s", device_id(A), device_id(B)]


def test_ids_are_unique_in_both_forms() -> None:
    ids = [each["unique_id"] for each in told(SWARM).values()]
    assert len(ids) == len(set(ids))
    in_devices = [part["unique_id"] for each in told(SWARM, "device").values() for part in each["components"].values()]
    assert sorted(in_devices) == sorted(ids)
    assert {
        each["platform"]
        for each in told(SWARM, "device")[f"homeassistant/device/{device_id(B)}/config"]["components"].values()
    } == {"sensor", "update", "button"}


@pytest.mark.parametrize("form", ["components", "device"])
def test_what_is_shown_of_nodes_is_no_device_of_the_home(form: Form) -> None:
    for topic, payload in (messages(SWARM, form) | messages(ALONE, form)).items():
        assert device_of_topic(topic, "homeassistant") is not None
        assert parse_announcement(topic, payload, "homeassistant") == parse_announcement(topic, b"", "homeassistant")


def test_nothing_is_published_that_the_broker_holds_already() -> None:
    for form in ("components", "device"):
        assert steps(messages(SWARM, form), SWARM, form) == []
        assert after({}, steps({}, SWARM, form)) == messages(SWARM, form)


def test_a_node_that_left_takes_everything_along() -> None:
    held = messages(SWARM)
    left = Seen({A: HUB, B: WORKER}, frozenset({A}), gone=frozenset({B}), swarm_id="s", hubs=frozenset({A}))
    rest = after(held, steps(held, left))
    assert not any(device_id(B) in topic for topic in rest)
    assert rest == {topic: payload for topic, payload in held.items() if device_id(B) not in topic}


def test_a_member_that_said_nothing_here_keeps_what_is_there() -> None:
    held = messages(SWARM)
    silent = Seen({A: HUB}, SWARM.members, swarm_id="s", hubs=frozenset({A}))
    assert steps(held, silent) == []
    assert after(held, steps(held, silent, "off")) == {}


def test_devices_of_others_on_the_same_broker_stay() -> None:
    other = Seen({C: HUB}, members=frozenset({C}), swarm_id="other", hubs=frozenset({C}))
    foreign = messages(other) | {
        "homeassistant/light/lamp/config": b"{}",
        "homeassistant/sensor/mycoswarm_x/config": b"1",
    }
    assert steps(foreign | messages(SWARM), SWARM) == []
    assert {topic for topic, _ in steps(foreign, SWARM, "off")} == set()


def test_the_other_form_takes_the_place_of_the_first_after_its_removal() -> None:
    held = messages(SWARM)
    published = steps(held, SWARM, "device")
    assert after(held, published) == messages(SWARM, "device")
    removals = [payload == b"" for _, payload in published]
    assert removals == sorted(removals, reverse=True)


def test_a_component_that_went_is_named_without_options_once() -> None:
    words = Seen({A: msgspec.structs.replace(HUB, words=True)}, members=frozenset({A}))
    quiet = Seen({A: HUB}, members=frozenset({A}))
    first, second = [json.loads(payload) for _, payload in steps(messages(words, "device"), quiet, "device")]
    assert first["components"]["answer"] == {"platform": "sensor"}
    assert "answer" not in second["components"]
    assert set(second["components"]) == set(first["components"]) - {"answer", "transcript"}


def test_how_a_node_is_now_changes_no_description() -> None:
    moment = msgspec.structs.replace(SATELLITE, phase="muted", muted=True, volume=3, sensitivity=9)
    now = msgspec.structs.replace(HUB, satellite=moment, latency_ms=3.0, model="m", transcript="t", answer="a")
    assert lasting(now) == lasting(HUB)
    assert messages(Seen({A: now}, frozenset({A}))) == messages(Seen({A: HUB}, frozenset({A})))


@given(st.text(max_size=60))
def test_a_machine_of_any_name_has_topics_that_home_assistant_takes(name: str) -> None:
    state = msgspec.structs.replace(HUB, name=name)
    for topic, payload in messages(Seen({name: state}, members=frozenset({name}))).items():
        assert all(level.replace("_", "").replace("-", "").isalnum() and level.isascii() for level in topic.split("/"))
        json.loads(payload)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from([*messages(SWARM), *messages(SWARM, "device")]), st.binary(max_size=40)))
def test_whatever_the_broker_holds_it_ends_as_it_should(held: dict[str, bytes]) -> None:
    for form in ("components", "device", "off"):
        assert after(held, steps(held, SWARM, form)) == messages(SWARM, form)


@given(st.binary(max_size=200))
def test_a_state_that_is_none_is_told_so(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        assert decode_state(encode_state(decode_state(data))) is not None
