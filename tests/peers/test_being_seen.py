"""Home Assistant 2024.3.3 finds our node by what it says of itself on the bus, and sets what may be set of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.seen.discovery import Seen, wanted
from swarm.bus_rules import presence_topic, state_topic
from swarm.node_state import NodeState, SystemView, encode_state
from tests.peers.a_house import House
from tests.whole.bus_watch import bus_watch
from tests.whole.running_node import wait_until
from tests.whole.swarm_machines import WORKER, machines, one_swarm

SATELLITE: dict[str, object] = {
    "microphone": "one that is not there",
    "speaker": "one that is not there",
    "area": "Kitchen",
}


@pytest.fixture(scope="module")
def house(home_assistant_venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Our node has a satellite, whose microphone nobody plugged in."""
    sections: dict[str, dict[str, object]] = {"satellite": SATELLITE, "bus": {"announce_words": True}}
    with House(home_assistant_venv, tmp_path_factory.mktemp("seen"), sections=sections) as house:
        yield house


def own(house: House) -> dict[str, str]:
    """States of our node's entities in Home Assistant."""
    states = house.run(house.home_assistant.states())
    return {name: state["state"] for name, state in states.items() if name.partition(".")[2].startswith("home_")}


def test_home_assistant_shows_the_node_and_its_switch_mutes_it(house: House) -> None:
    house.sees("sensor.home_satellite", "idle")
    house.sees("switch.home_mute", "off")
    house.sees("number.home_volume", "80")
    house.sees("select.home_wake_word", "okay_nabu")
    house.sees("sensor.home_cpu", lambda seen: seen["state"] not in ("unknown", "unavailable"))
    house.sees("sensor.home_running", "0")
    house.sees("update.home_update", "off")
    shown = own(house)
    assert {"button.home_restart", "button.home_identify", "event.home_event", "number.home_sensitivity"} <= {*shown}
    assert "unavailable" not in shown.values()

    house.calls("switch", "turn_on", entity_id="switch.home_mute")
    house.sees("sensor.home_satellite", "muted")
    house.node.client().set_muted(False)
    house.sees("switch.home_mute", "off")
    house.calls("number", "set_value", entity_id="number.home_volume", value=35)
    house.sees("number.home_volume", "35")
    house.calls("select", "select_option", entity_id="select.home_wake_word", option="alexa")
    house.sees("select.home_wake_word", "alexa")
    assert house.node.ask("what time is it").outcome == "done"
    house.sees("sensor.home_transcript", "what time is it")
    house.sees("sensor.home_answer", lambda seen: seen["state"].startswith("It's"))
    assert house.node.ask("open the pod bay doors").outcome == "not_understood"
    house.sees("event.home_event", lambda seen: seen["attributes"].get("event_type") == "not_understood")


def test_a_node_that_is_cut_off_is_unavailable_and_back_when_it_is(house: House) -> None:
    house.cut("node")
    house.sees("switch.home_mute", "unavailable")
    house.bring_back("node")
    house.sees("switch.home_mute", "off")
    house.cut("home assistant")
    house.bring_back("home assistant")
    house.sees("sensor.home_satellite", "idle")
    house.sees("sensor.home_cpu", lambda seen: seen["state"] != "unknown")


def test_a_swarm_beside_it_is_a_device_too_and_a_machine_that_leaves_is_none_any_more(
    house: House, tmp_path: Path
) -> None:
    at_home: dict[str, dict[str, object]] = {"bus": {"broker": house.broker.url}}
    with machines(tmp_path, ("one", [at_home]), ("works", [WORKER])) as [one, works]:
        one_swarm(one, works)
        house.sees("sensor.mycoswarm_nodes", "2")
        house.sees("sensor.mycoswarm_bus", "one")
        house.sees("sensor.mycoswarm_home", "one")
        house.sees("sensor.one_running", "0")
        house.sees("update.works_update", "off")
        works.did("leave")
        house.sees("sensor.mycoswarm_nodes", "1")
        wait_until(lambda: not [name for name in house.run(house.home_assistant.states()) if ".works_" in name])
        house.sees("sensor.home_satellite", "idle")
    house.sees("sensor.one_running", "unavailable")
    house.sees("sensor.mycoswarm_nodes", "unavailable")


def test_update_of_an_image_is_shown_with_what_is_offered_to_it(house: House) -> None:
    node = "b" * 26
    state = NodeState(
        "imaged", "0.2.0", system=SystemView("1.0", "2.0", in_progress=True, percent=40, summary="better")
    )
    seen = Seen({node: state}, members=frozenset({node}))
    messages = wanted(seen, "components", prefix="homeassistant", language="en")
    messages |= {state_topic(node): encode_state(state), presence_topic(node): b'{"document": {}}'}
    with bus_watch(house.broker.port) as bus:
        for topic, payload in messages.items():
            bus.publish(topic, payload, retain=True)
        house.sees("update.imaged_update", "on")
        shown = house.run(house.home_assistant.states())["update.imaged_update"]["attributes"]
        assert (shown["installed_version"], shown["latest_version"]) == ("1.0", "2.0")
        assert shown["release_summary"] == "better"
        for topic in messages:
            bus.publish(topic, b"", retain=True)


def test_nothing_is_left_when_it_is_switched_off(house: House) -> None:
    assert own(house)
    house.cut("node")
    text = house.node.config.read_text()
    house.node.config.write_text(text.replace("[bus]\n", '[bus]\nannounce = "off"\n'))
    house.bring_back("node")
    wait_until(lambda: not own(house), lambda: f"{own(house)}", seconds=60)
