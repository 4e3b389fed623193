"""A home of five machines on a real network, and what happens to such a home.

The tests share the machines; each leaves them as it found them.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from swarm.identity import open_identity
from tests.hosts import Lan, lan, needs_hosts
from tests.program import Program
from tests.swarm.enrolled import founder
from tests.whole.lan_machines import HUB, Machine, clock_shifted, needs_faketime, wait_until

pytestmark = needs_hosts

QUESTION = "tell me a joke"
ANSWER = "the answer is forty two."
MODEL_PORT = 11434
MODEL = f'url = "http://127.0.0.1:{MODEL_PORT}"\n'


@dataclass
class Home:
    """Two hubs, two workers with the same model of which one is the faster, and one that can do nothing."""

    net: Lan
    hub: Machine
    second: Machine
    fast: Machine
    slow: Machine
    weakest: Machine
    models: dict[str, Program]
    """What runs the models, by the machine's name."""

    @property
    def all(self) -> list[Machine]:
        return [self.hub, self.second, self.fast, self.slow, self.weakest]

    def is_whole(self) -> None:
        for machine in self.all:
            machine.sees(*self.all)
        wait_until(lambda: all(self._offers_model(machine) for machine in (self.fast, self.slow)))

    def _offers_model(self, machine: Machine) -> bool:
        seen = self.hub.view().get(machine.name)
        return seen is not None and "generate" in (each["kind"] for each in seen["capabilities"])

    def task_at_the_weakest(self) -> str:
        """Has a task done that came in there; by which machine."""
        body = json.dumps({"type": "generate", "payload": {"prompt": QUESTION}})
        url = json.loads((self.weakest.state / "node.json").read_bytes())["url"]
        told = self.weakest.host.run("curl", "-sSN", "-H", "Accept: text/event-stream", "-d", body, f"{url}/api/tasks")
        events = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: ")]
        assert (events[-1]["event"], events[-1]["outcome"]) == ("ended", "done"), told
        names = {each["node"]: name for name, each in self.weakest.view().items()}
        return names[[each for each in events if each["event"] == "placed"][-1]["node"]]

    def why(self) -> str:
        """What was said of the latest tasks at the weakest."""
        return "\n".join("\n".join(each["why"]) for each in json.loads(self.weakest.did("tasks", "--json"))[:5])

    def who_was_asked(self, *machines: Machine) -> Machine:
        """Waits until one of these models is asked."""
        counts = {each.name: self.models[each.name].lines.count("asked") for each in machines}
        asked: list[Machine] = []

        def one() -> bool:
            asked.extend(each for each in machines if self.models[each.name].lines.count("asked") > counts[each.name])
            return bool(asked)

        wait_until(one)
        return asked[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("home")
    with lan(5) as net:
        hub, second = (Machine(host, folder / host.name, roles=HUB) for host in net.hosts[:2])
        fast, slow = (Machine(host, folder / host.name, sections=MODEL) for host in net.hosts[2:4])
        weakest = Machine(net.hosts[4], folder / net.hosts[4].name)
        models = {
            each.name: each.host.python("-m", "tests.fake_ollama", "--port", str(MODEL_PORT), "--pause-s", pause)
            for each, pause in ((fast, "0.1"), (slow, "0.4"))
        }
        hub.did("init")
        hub.start()
        tokens = [hub.did("invite") for _ in range(4)]
        joining = [each.begin("join", token) for each, token in zip((second, fast, slow, weakest), tokens, strict=True)]
        for each, command in zip((second, fast, slow, weakest), joining, strict=True):
            each.ended(command)
            each.launch()
        for each in (second, fast, slow, weakest):
            each.wait_up()
        made = Home(net, hub, second, fast, slow, weakest, models)
        made.is_whole()
        yield made


@contextlib.contextmanager
def unplugged(machine: Machine) -> Iterator[None]:
    machine.host.unplug()
    try:
        yield
    finally:
        machine.host.plug_in()


def test_weakest_machine_is_answered_and_goes_on_when_the_answering_machines_cable_carries_nothing(home: Home) -> None:
    assert home.weakest.did("ask", QUESTION) == ANSWER
    asking = home.weakest.begin("ask", QUESTION)
    serving = home.who_was_asked(home.fast, home.slow)
    serving.host.silence()
    assert home.weakest.ended(asking).endswith(ANSWER)
    home.weakest.sees(serving, state="dead")
    serving.host.unsilence()
    home.is_whole()


def test_weakest_machine_is_answered_by_the_best(home: Home) -> None:
    # The first ones may have to find out which that is, and a busy machine is once believed dead.
    served = [home.task_at_the_weakest() for _ in range(5)]
    assert served.count(home.fast.name) >= 3, f"{served}\n{home.why()}"
    assert home.weakest.did("ask", QUESTION) == ANSWER


def test_when_the_answering_machine_is_killed_another_answers(home: Home) -> None:
    asking = home.weakest.begin("ask", QUESTION)
    serving = home.who_was_asked(home.fast, home.slow)
    assert serving.program is not None
    serving.program.end(signal.SIGKILL)
    assert home.weakest.ended(asking).endswith(ANSWER)
    home.weakest.sees(serving, state="dead")
    serving.start()
    home.is_whole()


def test_machine_works_on_under_a_new_address(home: Home) -> None:
    with unplugged(home.slow):  # so that the other one must answer
        home.weakest.sees(home.slow, state="dead")
        home.fast.host.set_addresses("10.77.0.99/24", "fd77::99/64")
        wait_until(lambda: "10.77.0.99:7334" in home.hub.view()[home.fast.name]["addresses"])
        assert home.weakest.did("ask", QUESTION) == ANSWER, f"{home.why()}\n{home.weakest.log()}"
    home.is_whole()


def test_both_parts_of_a_split_network_work_and_find_together_again(home: Home) -> None:
    one, other = [home.hub, home.fast, home.weakest], [home.second, home.slow]
    home.net.partition([each.host for each in one], [each.host for each in other])
    try:
        for here, gone in ((one, other), (other, one)):
            here[-1].sees(*gone, state="dead")
            here[-1].sees(*here)
            assert here[-1].did("ask", QUESTION) == ANSWER
    finally:
        home.net.heal()
    home.is_whole()
    assert home.weakest.did("ask", QUESTION) == ANSWER


@needs_faketime
def test_clock_that_is_an_hour_off_keeps_no_machine_out(home: Home) -> None:
    for machine, seconds in ((home.weakest, 3600), (home.slow, -3600)):
        assert machine.program is not None
        machine.program.end()
        machine.env = clock_shifted(seconds)
        machine.start()
    for machine in home.all:
        machine.sees(*home.all)
    assert home.weakest.did("ask", QUESTION) == ANSWER
    assert home.slow.did("ask", QUESTION) == ANSWER


def test_rogue_that_repeats_what_a_dead_hub_announced_raises_no_ghost_and_gets_nothing(
    home: Home, tmp_path: Path
) -> None:
    node_id = home.hub.view()[home.second.name]["node"]
    certificate = open_identity(home.hub.state / "identity").certificate
    assert certificate is not None
    rogue = home.net.add_host()
    impostor = rogue.python(
        *("-m", "tests.whole.impostor", str(founder(tmp_path / "rogue").identity.folder), rogue.address, "6666")
    )
    impostor.line("ready")
    assert home.second.program is not None
    home.second.program.end(signal.SIGKILL)
    for machine in (home.hub, home.weakest):
        machine.sees(home.second, state="dead")
    rogue.python(
        *("-m", "tests.swarm.flooding", "--from", rogue.address, "--swarm", certificate.swarm_id, "--node", node_id),
        *("--address", rogue.address),
    ).line("sent")
    impostor.line("refused")  # somebody looked, and left without a word
    assert home.weakest.did("ask", QUESTION) == ANSWER
    assert home.weakest.view()[home.second.name]["state"] == "dead"
    assert impostor.running and not [line for line in impostor.lines if line.startswith("got")], impostor.lines
