"""The home of a swarm: its devices are at every node's command, whichever hub carries the bus."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from tests.whole.background import OwnMosquitto, virtual_flat
from tests.whole.running_node import wait_until
from tests.whole.swarm_machines import WORKER, Machine, machines, one_swarm

ON, OFF = "The kitchen lamp is on.", "The kitchen lamp is off."
KNOWN = "listening for the commands of 14 devices"


def carrier(*asked: Machine) -> str:
    """The name of the hub that carries the bus; all that are asked name the same."""

    def agreed() -> str:
        named = {each.name if each.bus else "" for machine in asked for each in machine.view()} - {""}
        return named.pop() if len(named) == 1 and all(m.swarm().swarm().bus for m in asked) else ""

    return wait_until(agreed, lambda: f"{[m.view() for m in asked]}\n{asked[0].log_tail()}")


def answers(machine: Machine, question: str, answer: str) -> None:
    """Until it does, it says something else, and each time within seconds."""
    wait_until(lambda: machine.ask(question).answer == answer, machine.log_tail)


def test_lamps_obey_every_node_when_the_hub_that_carried_the_bus_is_killed(tmp_path: Path) -> None:
    broker = OwnMosquitto(tmp_path)
    broker.start()
    at_home = {"bus": {"broker": broker.url, "confirm_timeout_s": 1.0}}
    try:
        with (
            virtual_flat(broker.port),
            machines(tmp_path, ("one", [at_home]), ("two", [at_home]), ("works", [WORKER])) as [one, two, works],
        ):
            one_swarm(one, two, works)
            for hub in (one, two):
                hub.wait_for_log(KNOWN)
            first = carrier(one, two, works)
            carries, other = (one, two) if first == "one" else (two, one)
            for machine in (one, two, works):
                assert machine.ask("turn on the kitchen lamp").answer == ON
                assert machine.ask("turn off the kitchen lamp").answer == OFF
            assert re.search(rf"{first}.*\bbus\b", works.did("nodes"))
            status = works.client().status().broker
            assert (status.kind, status.connected, status.hub) == ("swarm", True, first)

            carries.signal(signal.SIGKILL)
            carries.wait()
            answers(works, "turn on the kitchen lamp", ON)
            answers(other, "turn off the kitchen lamp", OFF)
            assert carrier(other, works) == other.name

            broker.kill()
            wait_until(lambda: not other.client().status().broker.connected)
            said = works.ask("turn on the kitchen lamp")
            assert said.answer == "I can't reach the devices right now: the home's MQTT broker is down."
            assert "home automation waits: the home's MQTT broker is down" in other.run("nodes").stderr
            broker.start()
            answers(works, "turn on the kitchen lamp", ON)
    finally:
        broker.kill()


def test_demo_home_goes_with_the_bus_to_another_hub(tmp_path: Path) -> None:
    quick = {"bus": {"confirm_timeout_s": 1.0}}
    with machines(tmp_path, ("one", [quick]), ("two", [quick]), ("works", [WORKER])) as [one, two, works]:
        one_swarm(one, two, works)
        first = carrier(one, two, works)
        carries, other = (one, two) if first == "one" else (two, one)
        other.end()
        other.has_demo_home()
        other.start(when=KNOWN)
        carries.wait_for_log(KNOWN)
        assert carrier(one, two, works) == first
        for machine in (one, two, works):
            answers(machine, "turn on the kitchen lamp", ON)
            answers(machine, "turn off the kitchen lamp", OFF)

        carries.signal(signal.SIGKILL)
        carries.wait()
        answers(works, "turn on the kitchen lamp", ON)
        assert carrier(other, works) == other.name

        carries.start()
        carries.wait_for_log(KNOWN)
        answers(carries, "turn off the kitchen lamp", OFF)
        other.signal(signal.SIGKILL)
        other.wait()
        answers(carries, "turn on the kitchen lamp", "The kitchen lamp is offline.")
