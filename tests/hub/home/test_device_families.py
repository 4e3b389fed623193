"""Real devices' announcements, states and commands, as their software's own documentation and sources have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hub.home.announcement import parse_announcement
from hub.home.device import Device
from hub.home.templates import Message

FAMILIES = sorted((Path(__file__).parents[2] / "data" / "discovery").glob("*.json"))


def text(payload: Any) -> str:
    return payload if isinstance(payload, str) else json.dumps(payload)


def same(sent: str, expected: Any) -> bool:
    return sent == expected if isinstance(expected, str) else json.loads(sent) == expected


@pytest.mark.parametrize("file", FAMILIES, ids=lambda file: file.stem)
def test_device_is_read_and_obeys_as_its_maker_documents(file: Path) -> None:
    family = json.loads(file.read_text())
    announced = parse_announcement(family["topic"], json.dumps(family["payload"]).encode(), "homeassistant")
    found = {each.entity.id: each for each in announced.entities.values()}
    assert set(found) == set(family["entities"])
    assert not announced.faults
    for entity_id, expected in family["entities"].items():
        entity = found[entity_id].entity
        device = Device(found[entity_id], entity)
        for topic, payload in expected["hears"]:
            assert topic in device.topics()
            device.hear(topic, Message(text(payload)), 0.0)
            device.hear(topic, Message(text(payload)), 0.0, of_events=True)
        assert device.is_available()
        for field in ("name", "area", "unit", "device_class", "category"):
            assert getattr(entity, field) == expected.get(field, getattr(entity, field)), field
        assert sorted(entity.features) == expected.get("features", sorted(entity.features))
        for moment, state in ((0.0, expected["state"]), (60.0, expected.get("later", {}))):
            assert {field: getattr(device.state_at(moment), field) for field in state} == state
        for verb, value, publications in expected["commands"]:
            plan = device.discovered.component.plan(verb, value, device.state)
            assert [each.topic for each in plan.publications] == [topic for topic, _ in publications], verb
            for each, (_, payload) in zip(plan.publications, publications, strict=True):
                assert same(each.payload, payload), (verb, each)


def test_there_are_thirty_families_or_more_of_many_makers() -> None:
    assert len(FAMILIES) >= 30
    assert len({file.stem.partition("_")[0] for file in FAMILIES}) >= 7
