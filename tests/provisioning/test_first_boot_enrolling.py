"""A machine comes to belong to a swarm by itself: `enrol` as the unit runs it, against a hub that runs beside it.

The clock of the machine is libfaketime's, and the script that the unit runs turns that one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from provisioning.first_boot.machine import Machine as Places
from swarm.identity import open_identity
from tests.hosts import ROOT
from tests.whole.lan_machines import clock_shifted, needs_faketime
from tests.whole.running_node import wait_until
from tests.whole.swarm_machines import WORKER, Machine, machines

SETTER = ROOT / "systemd/image/usr/lib/mycoswarm/set-clock"
DATE = """#!{python}
# What `date` is for set-clock here: it turns the clock of libfaketime, and never this machine's.
import sys
import time
from pathlib import Path

file = Path("{clock}")
[asked] = [each for each in sys.argv[1:] if each != "--utc"]
if asked == "+%s":
    print(int(time.time() + float(file.read_text())))
else:
    file.write_text(format(float(asked.removeprefix("--set=@")) - time.time(), "+f"))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Founded as first boot founds it, by `first = true` in the settings, while its node runs."""
    with machines(tmp_path_factory.mktemp("hub"), ("first", [WORKER])) as [first]:
        places = Places(first.folder / "root")
        places.ask.mkdir(parents=True)
        places.state.mkdir(parents=True)
        (places.state / "found-swarm").touch()
        first.start()
        with enrolling(first, places) as program:
            assert program.wait(40) == 0, said(program)
        assert shown(places) == {"state": "ready", "text": "first is ready."}
        assert not (places.state / "found-swarm").exists()
        assert first.swarm().swarm().admits
        yield first


class Joiner:
    """A machine that was just switched on; its clock is off by so many seconds."""

    def __init__(self, hub: Machine, folder: Path, *, clock_s: float = 0.0) -> None:
        sections = {"swarm": {"peers": [f"127.0.0.1:{hub.nodes_port}"], "enrolment_port": hub.enrolment_port}}
        self.node = Machine(folder / "new", WORKER, sections)
        self.places = Places(folder / "root")
        for each in (self.places.ask, self.places.state):
            each.mkdir(parents=True)
        self.clock = folder / "clock"
        self.clock.write_text(f"{clock_s:+f}")
        self.env = {**clock_shifted(0), "FAKETIME_TIMESTAMP_FILE": str(self.clock), "FAKETIME_NO_CACHE": "1"}
        del self.env["FAKETIME"]

    def has_used_its_token(self) -> bool:
        return not self.places.token.exists()

    def is_member(self) -> bool:
        return open_identity(self.node.state / "identity").certificate is not None

    def sets_clock(self) -> None:
        """As the unit does that the file starts."""
        date = self.clock.parent / "bin/date"
        date.parent.mkdir()
        date.write_text(DATE.format(python=sys.executable, clock=self.clock))
        date.chmod(0o755)
        done = subprocess.run(
            ["sh", SETTER, self.places.ask / "clock"],
            env={"PATH": f"{date.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def enrolling(node: Machine, places: Places, env: Mapping[str, str] = {}) -> Iterator[subprocess.Popen[bytes]]:
    log = places.root / "enrol.log"
    with log.open("ab") as out:
        program = subprocess.Popen(
            [sys.executable, "-m", "provisioning.first_boot", "enrol", "--root", places.root, "--config", node.config],
            env={**os.environ, **env},
            cwd=ROOT,
            stdout=out,
            stderr=out,
        )
        program.log = log  # type: ignore[attr-defined]
        try:
            yield program
        finally:
            program.kill()
            program.wait()


def said(program: subprocess.Popen[bytes]) -> str:
    return str(program.log.read_text())  # type: ignore[attr-defined]


def shown(places: Places) -> dict[str, str]:
    try:
        found = json.loads((places.ask / "show").read_text())
    except FileNotFoundError:
        return {}
    assert isinstance(found, dict)
    return found


@needs_faketime
def test_machines_whose_clocks_are_wrong_join_and_have_the_hubs_time(hub: Machine, tmp_path: Path) -> None:
    with ExitStack() as closing:
        joining = []
        for year in (1970, 2045):
            off = (year - 1970) * 365.25 * 86_400 + 600 - time.time()
            joiner = Joiner(hub, tmp_path / str(year), clock_s=off)
            joiner.places.token.write_text(hub.token())
            program = closing.enter_context(enrolling(joiner.node, joiner.places, joiner.env))
            joining.append((joiner, program, off))
        for joiner, program, off in joining:
            wait_until((joiner.places.ask / "clock").exists, partial(said, program))
            assert abs(float(joiner.clock.read_text()) - off) < 1
            joiner.sets_clock()
            assert abs(float(joiner.clock.read_text())) < 5
        for joiner, program, _ in joining:
            wait_until(joiner.has_used_its_token, partial(said, program))
            assert joiner.is_member()
            assert "machine's clock" not in said(program)
            assert "ledger comes later" not in said(program), "TLS looks at the clock"


def test_power_cut_while_joining_costs_nothing(hub: Machine, tmp_path: Path) -> None:
    """Cut when the certificate was asked for and its files are half written; the token is used then."""
    joiner = Joiner(hub, tmp_path)
    joiner.places.token.write_text(hub.token())
    with enrolling(joiner.node, joiner.places) as program:
        identity = joiner.node.state / "identity"
        wait_until(lambda: (identity / "bundle.pem").exists(), lambda: said(program))
        program.send_signal(signal.SIGKILL)
    (identity / "node.crt").unlink(missing_ok=True)
    for path in identity.glob("ledger.db*"):
        path.unlink()
    assert joiner.places.token.exists()
    with enrolling(joiner.node, joiner.places) as program:
        wait_until(lambda: not joiner.places.token.exists(), lambda: said(program))
    assert joiner.is_member()


def test_token_that_was_withdrawn_is_told(hub: Machine, tmp_path: Path) -> None:
    joiner = Joiner(hub, tmp_path)
    joiner.places.token.write_text(hub.token())
    hub.did("invite", "--withdraw", "all")
    hub.token()  # keeps the port open: somebody is there to say no
    with enrolling(joiner.node, joiner.places) as program:
        wait_until(lambda: "does not open this swarm" in shown(joiner.places).get("text", ""), lambda: said(program))
        assert shown(joiner.places)["state"] == "problem"
        assert "run: mycoswarm approve" in shown(joiner.places)["text"]
    assert not joiner.is_member()
