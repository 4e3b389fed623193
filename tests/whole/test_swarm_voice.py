"""A satellite without a hub of its own, in a home of several hubs: who answers it, and what it outlives."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swarm.identity import open_identity
from tests.swarm.enrolled import founder, rogue_context
from tests.whole.bus_watch import bus_watch
from tests.whole.ear import Ear, nodes_of
from tests.whole.running_node import Sections, assert_no_surprise, wait_until
from tests.whole.swarm_machines import Machine, machines, one_swarm
from tests.whole.test_swarm_strangers import got

HUB: Sections = {"swarm": {"roles": ["hub"]}, "mqtt_api": {"enabled": True}}
VOICE = b"GET /v1/voice HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass
class Home:
    """Two hubs, and a satellite in the kitchen."""

    hubs: dict[str, Machine]
    kitchen: Ear

    def serving(self) -> Machine:
        """The hub that the satellite uses, once it uses one."""
        wait_until(lambda: self.kitchen.hub() in self.hubs, lambda: self.kitchen.log_tail())
        return self.hubs[self.kitchen.hub()]

    def other(self) -> Machine:
        serving = self.serving()
        return next(each for each in self.hubs.values() if each is not serving)

    def is_whole(self) -> None:
        for machine in (*self.hubs.values(), self.kitchen):
            machine.sees(*self.hubs.values(), self.kitchen)
        self.serving()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("home")
    kitchen = Ear(folder / "kitchen", area="Kitchen")
    with machines(folder, ("attic", [HUB]), ("cellar", [HUB])) as [attic, cellar]:
        attic.has_demo_home()
        try:
            one_swarm(attic, cellar, kitchen)
            made = Home({"attic": attic, "cellar": cellar}, kitchen)
            made.is_whole()
            yield made
            assert kitchen.end() == 0
            assert_no_surprise(kitchen)
        finally:
            kitchen.end()


def test_command_at_the_satellite_is_done_by_a_hub_and_both_keep_its_trace(home: Home) -> None:
    hub, kitchen = home.serving(), home.kitchen
    kitchen.hear("turn on the light")
    trace = kitchen.answered("turn on the light")
    assert trace.answer == "The kitchen lamp is on."
    who = nodes_of(trace)
    assert {stage: who[stage] for stage in ("wake", "endpoint", "transcript", "intent", "last_audio")} == {
        "wake": "kitchen",
        "endpoint": "kitchen",
        "transcript": hub.name,
        "intent": hub.name,
        "last_audio": "kitchen",
    }
    assert trace in hub.client().traces(9)
    shown = {each.name: each.served_by for each in home.other().view()}
    assert shown == {"attic": "", "cellar": "", "kitchen": hub.name}
    assert f"(at {hub.name})" in kitchen.did("nodes")


def test_announcement_from_any_hub_is_played_and_a_command_of_an_automation_is_obeyed_once(home: Home) -> None:
    for hub in home.hubs.values():
        assert hub.did("say", "Tea is ready") == "kitchen (Kitchen): played\n"
    hub = home.serving()
    carrier = home.hubs[wait_until(lambda: hub.client().status().broker.hub)]
    with bus_watch(carrier.bus_port, "mycoswarm/api/#") as watch:

        def answers(number: int) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = [json.loads(each) for each in watch.of("mycoswarm/api/answer")]
            return [each for each in found if each.get("id") == number]

        def somebody_obeys() -> bool:
            watch.publish("mycoswarm/api/timer/cancel", '{"all": true, "id": 0}')
            return answers(0) != []

        wait_until(somebody_obeys)
        watch.publish("mycoswarm/api/say", '{"text": "Coffee is ready", "id": 1}')
        watch.publish("mycoswarm/api/timer/set", '{"minutes": 5, "id": 2}')
        wait_until(lambda: answers(1) and answers(2), lambda: str(watch.messages))
        watch.publish("mycoswarm/api/timer/cancel", '{"all": true, "id": 3}')
        wait_until(lambda: answers(3))
        assert [len(answers(each)) for each in (1, 2, 3)] == [1, 1, 1]
        assert [(each["satellite"], each["outcome"]) for each in answers(1)[0]["reports"]] == [("kitchen", "played")]
        changes = [json.loads(each)["change"] for each in watch.of("mycoswarm/api/event/timer")]
        assert changes == ["started", "cancelled"]


def test_sentence_in_whose_middle_the_hub_is_killed_is_answered_by_the_next(home: Home) -> None:
    hub, other, kitchen = home.serving(), home.other(), home.kitchen
    kitchen.hear("what time is it")
    kitchen.hear_all_but(0.5)
    hub.signal(signal.SIGKILL)
    hub.wait()
    trace = kitchen.answered("what time is it")
    assert nodes_of(trace)["intent"] == other.name
    assert trace.answer.startswith("It's ")
    assert kitchen.hub() == other.name
    hub.start()
    home.is_whole()
    assert kitchen.hub() == other.name  # it stays


def test_without_any_hub_the_satellite_answers_alone_and_goes_back_when_one_is_there(home: Home) -> None:
    kitchen, last = home.kitchen, home.serving()
    home.other().signal(signal.SIGKILL)
    kitchen.sees(home.other(), state="dead")
    kitchen.hear("what time is it")
    kitchen.hear_all_but(0.5)
    last.signal(signal.SIGKILL)
    trace = kitchen.answered("what time is it")
    assert set(nodes_of(trace).values()) == {"kitchen"}
    assert kitchen.hub() == "kitchen"
    assert "(alone)" in kitchen.did("nodes")
    kitchen.hear("turn on the light")
    assert "no hub of this swarm can be reached" in kitchen.answered("turn on the light").answer
    kitchen.hear("set a timer for twelve seconds")
    assert kitchen.answered("set a timer for twelve seconds").outcome == "done"
    for hub in home.hubs.values():
        hub.wait()
        hub.launch()
    serving = home.serving()
    # What was set at the satellite itself is said there by the hub that it uses by now.
    done = "Your timer for 12 seconds is done."
    announced = wait_until(lambda: kitchen.announced(done), kitchen.log_tail, seconds=60.0)
    assert announced is not None
    assert nodes_of(announced)["first_audio"] == serving.name
    kitchen.hear("stop")
    home.is_whole()


def test_strangers_and_machines_without_a_voice_get_no_voice_session(home: Home, tmp_path: Path) -> None:
    hub = home.serving()
    for identity in (None, founder(tmp_path / "other").identity):
        assert got(hub.nodes_port, VOICE, rogue_context(certificate=identity)) == b""
    own = rogue_context(certificate=open_identity(home.kitchen.state / "identity"))
    assert b"400" in got(hub.nodes_port, VOICE, own)  # there is something to get: this was no WebSocket
    hubs = rogue_context(certificate=open_identity(hub.state / "identity"))
    assert b"this node is no hub" in got(home.kitchen.nodes_port, VOICE, hubs)


def test_revoked_satellite_is_cut_off_and_works_alone(home: Home) -> None:
    hub, kitchen = home.serving(), home.kitchen
    kitchen.did("nodes")
    home.hubs["attic"].did("revoke", "kitchen")
    wait_until(lambda: "kitchen" not in hub.client().status().satellites)
    wait_until(lambda: kitchen.hub() == "kitchen", kitchen.log_tail)
    kitchen.hear("what time is it")
    assert set(nodes_of(kitchen.answered("what time is it")).values()) == {"kitchen"}
