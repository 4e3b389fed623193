"""A satellite on a real network, whose hub goes silent without a word: a cable that carries nothing any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.hosts import Host, lan, needs_hosts
from tests.speech import say, silence, trimmed
from tests.whole.ear import PRELUDE, VOICE
from tests.whole.lan_machines import HUB, Machine, wait_until

pytestmark = needs_hosts


class Ear(Machine):
    """As `tests.whole.ear.Ear`, on a host of its own."""

    def __init__(self, host: Host, folder: Path) -> None:
        super().__init__(host, folder)
        self.microphone = folder / "microphone"
        self.microphone.touch()
        Path(self.config).write_text(
            f'[node]\nstate_dir = "{self.state}"\n[swarm]\nroles = ["edge"]\n[language_model]\nurl = ""\n'
            f'[satellite]\nmicrophone = "{self.microphone}"\nspeaker = "none"\n'
        )

    def launch(self) -> None:
        program = f"{PRELUDE}\nfrom swarm.cli import main\nmain()"
        self.program = self.host.python("-c", program, "up", "--config", self.config)

    def asked(self, path: str) -> Any:
        """The people's port."""
        url = json.loads((self.state / "node.json").read_bytes())["url"]
        return json.loads(self.host.run("curl", "-sS", "--max-time", "10", f"{url}{path}"))

    def hear(self, text: str) -> None:
        with self.microphone.open("ab") as file:
            file.write(silence(0.6) + trimmed(say(f"okay nabu {text}", VOICE)))

    def hear_all_but(self, seconds: float) -> None:
        wanted = self.microphone.stat().st_size - len(silence(seconds))
        heard = Path(f"{self.microphone}.heard")
        wait_until(lambda: int(heard.read_bytes() or b"0") >= wanted)

    def who_answered(self, transcript: str, count: int) -> str:
        """Which node understood the sentence that is heard for the `count`-th time."""

        def traces() -> list[Any]:
            return [each for each in reversed(self.asked("/api/traces")) if each["transcript"] == transcript]

        wait_until(lambda: len(traces()) >= count)
        return next(str(mark["node"]) for mark in traces()[count - 1]["marks"] if mark["stage"] == "intent")


def test_sentence_is_answered_though_the_cable_of_the_hub_and_then_the_own_carries_nothing(tmp_path: Path) -> None:
    with lan(3) as net:
        hubs = [Machine(host, tmp_path / host.name, roles=HUB) for host in net.hosts[:2]]
        ear = Ear(net.hosts[2], tmp_path / net.hosts[2].name)
        hubs[0].did("init")
        hubs[0].start()
        for each in (hubs[1], ear):
            each.did("join", hubs[0].did("invite"))
            each.start()
        for each in (*hubs, ear):
            each.sees(*hubs, ear)
        by_name = {each.name: each for each in hubs}
        wait_until(lambda: ear.asked("/api/status")["hub"] in by_name)
        serving = by_name.pop(ear.asked("/api/status")["hub"])
        [other] = by_name
        ear.hear("what time is it")
        ear.hear_all_but(0.5)
        serving.host.silence()
        assert ear.who_answered("what time is it", 1) == other
        ear.hear("what time is it")
        ear.hear_all_but(0.5)
        ear.host.silence()
        assert ear.who_answered("what time is it", 2) == ear.name
