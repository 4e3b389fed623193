"""Rules of running nodes: made by text, file and voice, started by a device or the clock, run by one hub."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from swarm.messages import SpeechEnded, SpeechStarted
from tests.whole.background import OwnMosquitto, virtual_flat
from tests.whole.bus_watch import BusWatch, bus_watch
from tests.whole.room import room_at
from tests.whole.running_node import RunningNode, running_node, until, wait_until
from tests.whole.swarm_machines import Machine, machines, one_swarm

WINDOW = "when the kitchen window opens turn on the kitchen lamp and say so in the office"
CONTACT = "flat/kitchen_window/state"


SET_CLOCK = """
import time
_clock = time.time
time.time = lambda: _clock() + float(open({path!r}).read())
"""
"""In a node's process: the wall clock is set by as many seconds as the file says."""


@pytest.fixture(scope="module")
def set_by(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("clock") / "set_by"
    file.write_text("0")
    return file


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, set_by: Path) -> Iterator[RunningNode]:
    prelude = SET_CLOCK.format(path=str(set_by))
    with running_node(tmp_path_factory.mktemp("node"), demo_home=True, prelude=prelude) as node:
        yield node


def opens(bus: BusWatch) -> None:
    """The kitchen window, however it was."""
    bus.publish(CONTACT, "OFF", retain=True)
    bus.publish(CONTACT, "ON", retain=True)


def ran(node: RunningNode) -> list[str]:
    """What rules came to, the newest first."""
    return [trace.answer for trace in node.client().traces(50) if trace.source == "rule"]


def rules(node: RunningNode, *arguments: str) -> str:
    done = node.run("rules", *arguments)
    return done.stdout + done.stderr


def test_window_that_opens_turns_on_a_lamp_and_is_told_in_the_office(node: RunningNode) -> None:
    async def check() -> None:
        async with room_at(node.voice_url, "desk", area="Office") as office, room_at(node.voice_url, "bed") as bed:
            told = (await asyncio.to_thread(node.ask, WINDOW)).answer
            assert told == (
                "Rule 1: When the kitchen window opens I will turn on the kitchen lamp and say so in the office."
            )
            with bus_watch(node.bus_port) as bus:
                await asyncio.to_thread(opens, bus)
            assert (await office.until_seen(SpeechEnded)).text == "The kitchen window is open."
            assert office.of(SpeechStarted)[0].announcement
            await until(lambda: node.state_of("Kitchen lamp")["value"] == "on")
            assert bed.of(SpeechStarted) == []

    asyncio.run(check())
    assert ran(node) == ["The kitchen lamp is on."]
    explained = wait_until(lambda: found if "I said" in (found := node.ask("explain rule 1").answer) else "")
    assert 'The kitchen lamp is on. I said "The kitchen window is open." in the office.' in explained
    assert "when the kitchen window opens" in node.ask("why is the kitchen lamp on").answer


def test_rules_by_command_line_and_file(node: RunningNode, tmp_path: Path) -> None:
    file = tmp_path / "rules.txt"
    file.write_text("# mornings\n\nevery weekday at seven turn on the bedroom lamp\nevery day at noon do the blorb\n")
    assert f'{file}:4: I made no rule: I don\'t know how to do "do the blorb".' in rules(node, "load", str(file))
    assert "every weekday" not in rules(node).lower()
    file.write_text("every weekday at seven turn on the bedroom lamp\nevery day at noon turn off the bedroom lamp\n")
    assert "Every weekday at 7 AM I will turn on the bedroom lamp." in rules(node, "load", str(file))
    assert "That is rule" in rules(node, "load", str(file))
    number = next(line.split()[0] for line in rules(node).splitlines() if "noon" in line)
    assert "Next time: " in rules(node, "explain", number)
    assert "is switched off" in rules(node, "disable", number)
    assert any(line.split()[:2] == [number, "off"] for line in rules(node).splitlines())
    assert "is switched on" in rules(node, "enable", number)
    assert "is deleted" in rules(node, "remove", number)
    assert "noon" not in rules(node)
    assert "there is no rule 99" in rules(node, "explain", "99")
    assert "always ask before I unlock the front door" in rules(node, "add", "every day at 1 pm unlock the front door")


def test_rule_outlives_the_node_and_is_deleted_after_a_yes(node: RunningNode) -> None:
    before = node.ask("what rules are there").answer
    node.signal(signal.SIGKILL)
    node.wait()
    node.start()
    wait_until(lambda: node.ask("what rules are there").answer == before)
    assert node.ask("delete rule 1").answer.startswith("Delete rule 1, when the kitchen window opens")
    assert node.ask("no").answer == "OK, I kept it."
    node.ask("delete rule 1")
    assert node.ask("yes").answer == "Rule 1 is deleted."


def test_time_that_comes_is_noticed(node: RunningNode, set_by: Path) -> None:
    now = datetime.now()
    due = now.replace(second=0, microsecond=0) + timedelta(minutes=2)
    node.ask(f"every day at {due:%H:%M} turn off the kitchen lamp")
    set_by.write_text(str((due - now).total_seconds() - 1.0))
    node.ask("every day at 3 am turn off the bedroom lamp")  # what changes makes it look at the clock
    wait_until(lambda: "The kitchen lamp is off." in ran(node))


def test_one_of_two_hubs_does_what_a_rule_says(tmp_path: Path) -> None:
    broker = OwnMosquitto(tmp_path)
    broker.start()
    at_home = {"bus": {"broker": broker.url}}
    try:
        with virtual_flat(broker.port), machines(tmp_path, ("one", [at_home]), ("two", [at_home])) as [one, two]:
            one.start()
            wait_until(lambda: "Rule 1" in one.ask(WINDOW).answer)
            one.end()
            one_swarm(one, two)
            wait_until(lambda: "kitchen window opens" in two.did("rules"), two.log_tail)  # it came with it
            for hub in (one, two):
                wait_until(lambda hub=hub: hub.state_of("Kitchen window"))  # type: ignore[misc]
            with bus_watch(broker.port) as bus:

                def doer() -> Machine | None:
                    opens(bus)
                    return next((hub for hub in (one, two) if ran(hub)), None)

                first = wait_until(doer, one.log_tail)
                assert first is not None
                other = two if first is one else one
                assert not ran(other)
                first.signal(signal.SIGKILL)
                first.wait()

                def done_by_other() -> bool:
                    opens(bus)
                    return bool(ran(other))

                wait_until(done_by_other, other.log_tail, seconds=40)
    finally:
        broker.kill()
