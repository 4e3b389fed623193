from __future__ import annotations

import contextlib
import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.home.abbreviations import ABBREVIATIONS
from hub.home.announcement import MAX_PAYLOAD, Announcement, parse_announcement
from hub.home.component import Unsupported
from hub.home.device import Device
from hub.home.discovery import COMPONENTS, DiscoveredEntity
from hub.home.entity import State, Verb
from hub.home.templates import Message
from swarm.errors import MalformedMessage


def parse(component: str, topic: str = "", /, **options: Any) -> DiscoveredEntity:
    topic = topic or f"homeassistant/{component}/thing/config"
    return parse_announcement(topic, json.dumps(options).encode(), "homeassistant").entities[""]


def test_abbreviations_and_the_base_topic_are_expanded() -> None:
    found = parse(
        "light",
        **{"~": "lamps/1", "name": "Lamp", "cmd_t": "~/set", "stat_t": "~", "bri_cmd_t": "~/bri", "uniq_id": "x1"},
        dev={"name": "Lamp", "sa": "Kitchen", "ids": ["1"]},
        avty=[{"t": "~/there", "pl_avail": "yes", "pl_not_avail": "no"}],
    )
    assert found.entity.id == "light.x1"
    assert found.entity.area == "Kitchen"
    assert found.entity.features == {"on_off", "brightness"}
    assert [reader.topic for reader in found.component.readers] == ["lamps/1"]
    assert [(watch.topic, watch.available) for watch in found.availability.watches] == [("lamps/1/there", "yes")]


@pytest.mark.parametrize(
    ("options", "name", "aliases"),
    [
        ({"name": "Lamp"}, "Lamp", ()),
        ({"name": None, "device": {"name": "Kitchen lamp"}}, "Kitchen lamp", ()),
        ({"name": "Power", "device": {"name": "Kitchen plug"}}, "Kitchen plug Power", ("Power",)),
        ({"name": "Kitchen plug power", "device": {"name": "Kitchen plug"}}, "Kitchen plug power", ()),
        ({"device": {"name": "Cellar"}, "device_class": "moving_thing"}, "Cellar moving thing", ("moving thing",)),
        ({"name": "Up/Down 💡 👩‍🍳"}, "Up/Down 💡 👩‍🍳", ()),
        ({"name": "  a\n\tb\u202e  "}, "a b", ()),
        ({}, "thing", ()),
    ],
)
def test_a_device_is_called_what_people_call_it(options: dict[str, Any], name: str, aliases: tuple[str, ...]) -> None:
    entity = parse("switch", command_topic="c", **options).entity
    assert (entity.name, entity.aliases) == (name, aliases)


def test_without_a_unique_id_the_topic_names_the_device() -> None:
    assert parse("switch", command_topic="c").entity.id == "switch.thing"
    assert parse("switch", "homeassistant/switch/plug/1/config", command_topic="c").entity.id == "switch.plug_1"


@pytest.mark.parametrize("payload", [b"", b"  \n"])
def test_an_empty_message_takes_the_device_back(payload: bytes) -> None:
    topic = "homeassistant/light/a/config"
    assert parse_announcement(topic, payload, "homeassistant") == Announcement(topic)


def test_kinds_that_the_hub_has_no_use_for_are_no_part_of_the_home() -> None:
    topic = "homeassistant/camera/a/config"
    assert parse_announcement(topic, b"not even JSON", "homeassistant") == Announcement(topic)


@pytest.mark.parametrize(
    ("component", "payload", "reason"),
    [
        ("light", b"{oops", "not JSON"),
        ("light", b"\xff\xfe", "not JSON"),
        ("light", b"[1]", "not a JSON object"),
        ("light", b"[" * 60_000, "not JSON"),
        ("light", b'{"name": "x"}', "no command_topic"),
        ("switch", b"{}", "no command_topic"),
        ("cover", b"{}", "no command_topic or set_position_topic"),
        ("climate", b"{}", "no temperature_command_topic"),
        ("lock", b"{}", "no command_topic"),
        ("scene", b"{}", "no command_topic"),
        ("button", b"{}", "no command_topic"),
        ("sensor", b"{}", "no state_topic"),
        ("binary_sensor", b"{}", "no state_topic"),
        ("switch", b'{"command_topic": "a/+/b"}', "wildcard"),
        ("switch", b'{"command_topic": "a/#"}', "wildcard"),
        ("switch", b'{"command_topic": "a\\u0000"}', "control character"),
        ("switch", b'{"command_topic": "mycoswarm/node/x/presence"}', "not a device's"),
        ("switch", b'{"command_topic": "mycoswarm/api/say"}', "not a device's"),
        ("button", b'{"~": "mycoswarm/api", "command_topic": "~/ask"}', "not a device's"),
        ("switch", b'{"~": "mycoswarm", "command_topic": "~/x"}', "not a device's"),
        ("cover", b'{"set_position_topic": "a/+/b"}', "wildcard"),
        ("sensor", b'{"state_topic": "a/#"}', "wildcard"),
        ("sensor", b'{"state_topic": "+/+"}', "wildcard"),
        ("sensor", b'{"state_topic": "a/b+/c"}', "wildcard"),
        ("switch", b'{"command_topic": "$SYS/x"}', "not a device's"),
        ("switch", b'{"command_topic": "c", "availability_topic": "mycoswarm/x"}', "availability_topic"),
        ("switch", b'{"command_topic": 5, "state_topic": []}', "state_topic is no text"),
        ("switch", b'{"command_topic": "c", "value_template": "{% for x in value %}{% endfor %}"}', "value_template"),
        ("switch", b'{"command_topic": "c", "device": []}', "device is no group"),
        ("switch", b'{"command_topic": "c", "name": "' + b"n" * 300 + b'"}', "name has 300 characters"),
        ("switch", b'{"command_topic": "c", "unique_id": ""}', "unique_id"),
        ("light", b'{"command_topic": "c", "schema": "template"}', "command_on_template"),
        ("select", b'{"command_topic": "c"}', "no options"),
        ("event", b'{"state_topic": "s"}', "no event_types"),
        ("number", b'{"command_topic": "c", "min": 5, "max": 5}', "max is not above min"),
        ("humidifier", b'{"command_topic": "c"}', "target_humidity_command_topic"),
        ("alarm_control_panel", b'{"command_topic": "c"}', "no state_topic"),
        ("lawn_mower", b"{}", "no start_mowing_command_topic"),
        ("cover", b'{"command_topic": "c", "tilt_max": 0}', "tilt_min"),
        ("light", b'{"command_topic": "c", "brightness_scale": 0}', "brightness_scale"),
        ("fan", b'{"command_topic": "c", "speed_range_min": 5, "speed_range_max": 5}', "speed_range_max"),
        ("cover", b'{"command_topic": "c", "position_open": 0}', "position_open"),
        ("light", b" " * (MAX_PAYLOAD + 1) + b"{}", "exceeds the limit"),
    ],
)
def test_an_unusable_announcement_is_refused_with_its_reason(component: str, payload: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        parse_announcement(f"homeassistant/{component}/a/config", payload, "homeassistant")


@pytest.mark.parametrize(
    "topic",
    [
        "homeassistant/light/config",
        "other/light/a/config",
        "homeassistant/light/a b/config",
        "homeassistant/light/a/b/c/config",
    ],
)
def test_a_topic_that_is_no_discovery_topic_is_refused(topic: str) -> None:
    with pytest.raises(MalformedMessage, match="no discovery topic"):
        parse_announcement(topic, b"{}", "homeassistant")


def test_availability_modes() -> None:
    def device(mode: str) -> Device:
        found = parse(
            "switch",
            command_topic="c",
            availability_mode=mode,
            availability=[{"topic": "a"}, {"topic": "b", "value_template": "{{ value_json.state }}"}],
        )
        return Device(found, found.entity)

    for mode, after_a, after_both, after_b_left in (
        ("all", False, True, False),
        ("any", True, True, True),
        ("latest", True, True, False),
    ):
        one = device(mode)
        assert not one.is_available()
        one.hear("a", Message("online"), 0.0)
        assert one.is_available() is after_a
        one.hear("b", Message('{"state": "online"}'), 0.0)
        assert one.is_available() is after_both
        one.hear("b", Message('{"state": "offline"}'), 0.0)
        assert one.is_available() is after_b_left
        one.hear("b", Message("gibberish"), 0.0)
        assert one.is_available() is after_b_left


def test_a_reading_expires() -> None:
    found = parse("sensor", state_topic="s", expire_after=60)
    device = Device(found, found.entity)
    assert device.is_stale(0.0)
    device.hear("s", Message("20"), 100.0)
    assert not device.is_stale(159.0)
    assert device.is_stale(161.0)


topics = st.sampled_from(["a", "~/set", "b/c", "", "x/#", "mycoswarm/a"])
templates = st.sampled_from(
    [
        "{{ value }}",
        "{{ value_json.a }}",
        "{{ value | int / 0 }}",
        "{% if",
        "{{ value_json['a'] | round(1) }}",
        "{{ value_json.get('a').b() }}",
        "{% for x in value %}{{ x }}{% endfor %}",
        "{{ value.split('a')[9] | to_json }}",
        "{{ as_timestamp(value) | timestamp_custom(value) }}",
        "{{ value | regex_replace(value, value) }}",
    ]
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
values = st.recursive(
    scalars | topics | templates,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["topic", "name", "t", "sa"]), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = st.sampled_from(
    [
        *ABBREVIATIONS,
        *ABBREVIATIONS.values(),
        *("~", "name", "schema", "modes", "rgb", "min_temp", "max_temp", "temp_step", "position_open", "min", "max"),
        *("step", "fan_modes", "reports_position", "migrate_discovery", "device"),
    ]
)
announcements = st.dictionaries(keys, values, max_size=12).flatmap(
    lambda options: st.fixed_dictionaries(
        {"command_topic": topics, "state_topic": topics, "temperature_command_topic": topics},
        optional={
            "schema": st.sampled_from(["json", "basic", "template"]),
            "supported_color_modes": st.just(["rgb", "color_temp"]),
            "options": st.just(["a", "b"]),
            "event_types": st.just(["a"]),
            "target_humidity_command_topic": topics,
            "dock_command_topic": topics,
            "command_on_template": templates,
            "command_off_template": templates,
        },
    ).map(lambda given: options | given)
)
verbs = st.sampled_from(get_args(Verb))
devices = st.dictionaries(keys, values, max_size=6).flatmap(
    lambda options: st.dictionaries(
        st.text(max_size=5),
        announcements.flatmap(
            lambda one: st.sampled_from([*COMPONENTS, "camera", "", 5]).map(lambda platform: one | {"p": platform})
        )
        | values,
        max_size=3,
    ).map(lambda components: options | {"components": components})
)


def use(found: DiscoveredEntity, content: Any, verb: Any, value: Any) -> None:
    device = Device(found, found.entity)
    for topic in device.topics():
        for text in (
            json.dumps(content),
            str(content),
            "ON",
            "NaN",
            '{"a": NaN, "state": NaN, "brightness": Infinity}',
            "1e308",
            '{"color": {"x": 1e308, "y": 0}, "state": "ON"}',
        ):
            device.hear(topic, Message(text), 0.0)
            device.hear(topic, Message(text), 0.0, of_events=True)
    device.is_available()
    device.state_at(1.0)
    try:
        plan = found.component.plan(verb, value, device.state)
    except Unsupported:
        return
    if plan.reached is not None:
        plan.reached(State(), device.state)
        plan.reached(device.state, State())
    device.assume(plan)
    assert not any(set(each.topic) & set("+#") or each.topic.startswith("mycoswarm") for each in plan.publications)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(COMPONENTS)), announcements, values, verbs, scalars)
def test_nothing_but_malformed_message_is_raised_and_what_is_taken_in_can_be_used(
    component: str, options: dict[str, Any], content: Any, verb: Any, value: Any
) -> None:
    with contextlib.suppress(MalformedMessage):
        announced(f"homeassistant/{component}/thing/config", options, content, verb, value)


@settings(deadline=None, max_examples=80)
@given(devices, values, verbs, scalars)
def test_nothing_but_malformed_message_is_raised_by_whole_devices(
    device: dict[str, Any], content: Any, verb: Any, value: Any
) -> None:
    with contextlib.suppress(MalformedMessage):
        announced("homeassistant/device/thing/config", device, content, verb, value)


def announced(topic: str, options: dict[str, Any], content: Any, verb: Any, value: Any) -> None:
    found = parse_announcement(topic, json.dumps(options).encode(), "homeassistant")
    for each in found.entities.values():
        use(each, content, verb, value)


@given(st.binary(max_size=300), st.text(max_size=40))
def test_no_bytes_and_no_topic_raise_anything_else(payload: bytes, topic: str) -> None:
    for each in (topic, f"homeassistant/light/{topic}/config", "homeassistant/light/a/config"):
        with contextlib.suppress(MalformedMessage):
            parse_announcement(each, payload, "homeassistant")
