"""A running node as Home Assistant sees it on the bus: what is retained there, and what may be set."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.whole.background import OwnMosquitto
from tests.whole.bus_watch import BusWatch, bus_watch
from tests.whole.running_node import RunningNode, running_node, wait_until
from tests.whole.swarm_machines import WORKER, machines

DEVICE = "mycoswarm_home_"
NODE = "mycoswarm/node/home"
WITH_SATELLITE: Mapping[str, object] = {"microphone": "one that is not there", "speaker": "one that is not there"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[OwnMosquitto]:
    own = OwnMosquitto(tmp_path)
    own.start()
    wait_until(lambda: listens(own.port))
    yield own
    own.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def sections(broker: OwnMosquitto, **bus: object) -> dict[str, dict[str, object]]:
    return {"bus": {"broker": broker.url, **bus}, "satellite": dict(WITH_SATELLITE)}


class Retained:
    """What the broker would tell whoever connects now."""

    def __init__(self, watch: BusWatch) -> None:
        self._watch = watch

    def all(self) -> dict[str, bytes]:
        held: dict[str, bytes] = {}
        for topic, payload in list(self._watch.messages):
            if topic.rpartition("/")[2] not in ("health", "event", "status"):  # these are said once
                held[topic] = payload
        return {topic: payload for topic, payload in held.items() if payload}

    def configs(self) -> dict[str, Any]:
        """Discovery messages of ours, by component and key."""
        found = {}
        for topic, payload in self.all().items():
            levels = topic.split("/")
            if levels[0] == "homeassistant" and levels[-1] == "config" and "mycoswarm_" in topic:
                found["/".join((levels[1], *levels[3:-1]))] = json.loads(payload)
        return found

    def state(self, node: str = NODE) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.all().get(f"{node}/state", b"{}"))
        return state


@contextmanager
def retained(broker: OwnMosquitto) -> Iterator[tuple[Retained, BusWatch]]:
    with bus_watch(broker.port, "#") as watch:
        yield Retained(watch), watch


def shown(now: Retained) -> None:
    wait_until(lambda: "button/restart" in now.configs() and now.state(), lambda: f"{now.all()}")


def test_node_is_a_device_that_can_be_set_and_leaves_nothing_when_it_is_not_to_be_seen(
    broker: OwnMosquitto, tmp_path: Path
) -> None:
    with retained(broker) as (now, watch):
        with running_node(tmp_path / "node", sections=sections(broker)) as node:
            shown(now)
            parts = now.configs()
            assert {"sensor/satellite", "switch/mute", "number/volume", "select/wake_word"} <= {*parts}
            assert {"sensor/cpu", "sensor/model", "sensor/latency", "sensor/running", "event/event"} <= {*parts}
            assert {"update/update", "button/restart", "button/identify", "number/sensitivity"} <= {*parts}
            assert not {"sensor/transcript", "sensor/answer"} & {*parts}, "what was said is nobody's on the bus"
            assert parts["switch/mute"]["availability"] == [{"topic": f"{NODE}/presence"}]
            assert node.client().entities() == [], "a node's own entities are no devices of the home"
            wait_until(lambda: watch.of(f"{NODE}/health"))
            assert 0 <= json.loads(watch.of(f"{NODE}/health")[-1])["cpu"] <= 100
            it_can_be_set(node, now, watch)
            watch.messages.clear()
            watch.publish("homeassistant/status", "online")
            wait_until(lambda: now.configs() == parts, lambda: f"{now.configs().keys() ^ parts.keys()}")
            published = [topic for topic, _ in list(watch.messages) if topic.endswith("/config")]
            assert len(published) == len(set(published)), "nothing is published twice"
        assert now.all()[f"{NODE}/presence"] == b"offline"
        assert now.configs() == parts, "a machine that is switched off is a device that is unavailable"

        other = sections(broker, announce="device", announce_words=True)
        at_once = "import swarm.node.seen\nswarm.node.seen.RESTART_PAUSE_S = 0"
        with running_node(tmp_path / "node", sections=other, prelude=at_once) as node:
            wait_until(lambda: [*now.configs()] == ["device"], lambda: f"{now.configs().keys()}")
            device = now.configs()["device"]
            assert {*device["components"]} == {each.split("/")[1] for each in parts} | {"transcript", "answer"}
            mute = device["components"]["mute"]
            assert (mute["platform"], mute["unique_id"]) == ("switch", parts["switch/mute"]["unique_id"])
            as_before = {"volume": 35, "sensitivity": 70, "wake_word": "hey_jarvis", "muted": False}
            wait_until(lambda: as_before.items() <= now.state()["satellite"].items(), lambda: f"{now.state()}")
            watch.publish(f"{NODE}/set/restart", "PRESS")
            node.wait_for_log(r"(?s)the node home is up.*the node home is up")
            assert node.ask("what time is it").outcome == "done"
            wait_until(lambda: now.state().get("transcript") == "what time is it")

        with running_node(tmp_path / "node", sections=sections(broker, announce="off")):
            wait_until(lambda: not now.configs() and not now.state(), lambda: f"{now.all()}")


def it_can_be_set(node: RunningNode, now: Retained, watch: BusWatch) -> None:
    """By what its entities say; and by nothing else."""
    parts = now.configs()
    mute = parts["switch/mute"]
    watch.publish(mute["command_topic"], mute["payload_on"], retain=True)
    wait_until(lambda: now.state()["satellite"]["phase"] == "muted")
    node.client().set_muted(False)
    wait_until(lambda: now.state()["satellite"]["phase"] == "idle")
    watch.publish(parts["number/volume"]["command_topic"], "35")
    watch.publish(parts["number/sensitivity"]["command_topic"], "70")
    watch.publish(parts["select/wake_word"]["command_topic"], "hey_jarvis")
    wanted = {"volume": 35, "sensitivity": 70, "wake_word": "hey_jarvis"}
    wait_until(lambda: wanted.items() <= now.state()["satellite"].items(), lambda: f"{now.state()}")
    for what, payload in (("volume", "101"), ("volume", "NaN"), ("wake_word", "computer"), ("mute", "TOGGLE")):
        watch.publish(f"{NODE}/set/{what}", payload)
    watch.publish(f"{NODE}/set/say", "anything")
    watch.publish(f"{NODE}/set/restart", "PRESS")
    node.wait_for_log("restart from the bus: this node was started less than")
    assert wanted.items() <= now.state()["satellite"].items()
    watch.publish(parts["button/identify"]["command_topic"], "PRESS")
    wait_until(lambda: "This is home." in [each.answer for each in node.client().traces(9)], node.log_text)
    assert node.ask("open the pod bay doors").outcome == "not_understood"
    watch.until(f"{NODE}/event")
    told = json.loads(watch.of(f"{NODE}/event")[0])
    assert told == {"event_type": "not_understood", "wake_word": "", "text": ""}


def test_nodes_of_a_swarm_are_devices_of_it_until_they_leave(broker: OwnMosquitto, tmp_path: Path) -> None:
    at_home: dict[str, dict[str, object]] = {"bus": {"broker": broker.url}}
    with (
        retained(broker) as (now, watch),
        machines(tmp_path, ("one", [at_home]), ("two", [at_home]), ("works", [WORKER])) as [one, two, works],
    ):
        two.start()
        wait_until(lambda: any("mycoswarm_two_" in topic for topic in now.all()))
        one.did("init")
        one.start()
        two.did("join", one.token())
        wait_until(lambda: not any("mycoswarm_two_" in topic for topic in now.all()), lambda: f"{[*now.all()]}")
        assert "mycoswarm/node/two/presence" not in now.all()
        works.did("join", one.token())
        works.start()
        ids = {machine.node_id(): machine for machine in (one, two, works)}

        def devices() -> set[str]:
            """Which machines have devices."""
            return {topic.split("/")[2] for topic in now.all() if topic.endswith("/config")}

        swarm = f"mycoswarm_swarm_{one.swarm().swarm().swarm_id}"
        all_of_them = {swarm, *(f"mycoswarm_{node}" for node in ids)}
        wait_until(lambda: devices() == all_of_them, lambda: f"{devices()} {one.log_tail()}")
        configs = now.all()
        described = [json.loads(each) for topic, each in configs.items() if topic.endswith("/config")]
        via = {each["device"].get("via_device") for each in described}
        assert via == {swarm, None}
        [state_topic] = [topic for topic in configs if topic.startswith("mycoswarm/swarm/")]
        wait_until(lambda: json.loads(now.all()[state_topic])["nodes"] == 3)
        told = json.loads(now.all()[state_topic])
        speaks, rests = (one, two) if told["home"] == "one" else (two, one)
        assert told["bus"] in ("one", "two")

        watch.messages.clear()
        speaks.signal(signal.SIGKILL)
        speaks.wait()
        watch.until(state_topic)
        wait_until(lambda: json.loads(watch.of(state_topic)[-1])["home"] == rests.name)
        assert not [topic for topic, _ in watch.messages if topic.endswith("/config")]
        watch.messages += [*configs.items()]

        gone = next(node for node, machine in ids.items() if machine is works)
        works.did("leave")
        wait_until(lambda: f"mycoswarm_{gone}" not in devices(), lambda: f"{devices()}")
        wait_until(lambda: not any(gone in topic for topic in now.all()), lambda: f"{[*now.all()]}")
        rests.did("leave", "--force")
        left = next(node for node, machine in ids.items() if machine is rests)
        wait_until(lambda: not any(left in topic for topic in now.all()), lambda: f"{[*now.all()]}")
