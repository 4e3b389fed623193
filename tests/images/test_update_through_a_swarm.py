"""An update goes through a swarm of real machines: offered by a command, cut off in the middle, installed at all."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

from swarm.transfer import pace
from swarm.updates.fake_slots import fake_bundle
from tests.hosts import Host, lan, needs_hosts
from tests.whole.lan_machines import HUB, WORKER, Machine, wait_until

pytestmark = needs_hosts

KIND = "mycoswarm-worker-x86_64"
SIZE = 3 * pace.RATE_BYTES_S
"""Three seconds on the way."""


class Slotted(Machine):
    """One with two systems."""

    def __init__(self, host: Host, folder: Path, *, roles: str) -> None:
        super().__init__(host, folder, roles=roles)
        self.slots = folder / "slots.json"

    def launch(self) -> None:
        script = str(Path(__file__).with_name("slotted_node.py"))
        self.program = self.host.python(
            script, str(self.slots), KIND, "up", "--config", self.config, env={"PYTHONPATH": str(Path.cwd())}
        )

    def updates(self) -> dict[str, dict[str, Any]]:
        """What `mycoswarm update status` shows, asked for in a tenth of its time; nothing while the node is not up."""
        try:
            node = json.loads((self.state / "node.json").read_bytes())
            key = f"X-Mycoswarm-Key: {node['key']}"
            shown = self.host.run("curl", "-fsS", "--max-time", "10", "-H", key, f"{node['url']}/api/updates")
        except (FileNotFoundError, AssertionError):
            return {}
        return {each["name"]: each for each in json.loads(shown)}

    def all_are(self, *steps: tuple[str, str]) -> bool:
        """Version and step of each machine, in the order of their names."""
        found = sorted(self.updates().items())
        return [(each.get("version"), each.get("step")) for _, each in found] == list(steps)


def test_update_survives_the_death_of_its_only_source_and_reaches_all(tmp_path: Path) -> None:
    with lan(2) as net:
        hub, worker = [
            Slotted(host, tmp_path / host.name, roles=roles)
            for host, roles in zip(net.hosts, (HUB, WORKER), strict=True)
        ]
        hub.did("init")
        hub.start()
        worker.did("join", hub.did("invite"))
        worker.start()
        hub.sees(worker)
        wait_until(lambda: [each.get("compatible") for each in hub.updates().values()] == [KIND, KIND])
        bundle = fake_bundle(tmp_path / "new", compatible=KIND, version="2.0", size=SIZE)

        status, _, complaint = hub.said(
            "update", "apply", str(fake_bundle(tmp_path / "bad", compatible=KIND, version="2.0", signer="somebody"))
        )
        assert status == 1
        assert "the signature is not of builder" in complaint
        assert "its signature is good" in hub.did("update", "apply", str(bundle))
        content = worker.state / "updates"
        wait_until(lambda: any(each.stat().st_size for each in content.glob("*.part")))
        assert hub.program is not None
        hub.program.end(signal.SIGKILL)
        (part,) = content.glob("*.part")
        before = part.stat().st_size
        assert 0 < before < SIZE
        hub.start()
        wait_until(lambda: worker.all_are(("2.0", "good"), ("2.0", "good")))
        wait_until(lambda: hub.all_are(("2.0", "good"), ("2.0", "good")))
        shown = hub.did("update", "status")
        assert re.search(rf"{hub.name} \(here\)\s+{KIND}\s+2.0\s+B\s+good", shown), shown
        assert re.search(rf"{worker.name}\s+{KIND}\s+2.0\s+B\s+good", shown), shown

        hub.did("update", "rollback", worker.name)
        wait_until(lambda: hub.all_are(("2.0", "good"), ("1.0", "failed")))
        assert hub.updates()[worker.name]["reason"] == "a person wanted the version before"
