"""A node starts while its machine is being let into a swarm, as on every first boot."""

from __future__ import annotations

from pathlib import Path

from swarm.private_file import claimed
from swarm.roster import LEDGER
from tests.whole.swarm_machines import WORKER, machines


def test_node_that_starts_meanwhile_leaves_the_ledger_alone_until_the_machine_was_let_in(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", []), ("second", [WORKER])) as [first, second]:
        first.did("init")
        first.start()
        second.did("join", first.token())
        folder = second.state / "identity"
        for path in folder.glob(f"{LEDGER}*"):  # as it is once the certificate was written, and nothing else
            path.unlink()
        with claimed(folder):
            second.launch()
            second.wait_for_log("just being let into a swarm")
            assert not list(folder.glob(f"{LEDGER}*"))
            assert "is up" not in second.log_text()
        second.wait_for_log("the node second is up")
        first.sees(second)
        second.sees(first)


def test_who_was_let_in_belongs_to_the_swarm_whatever_its_disk_does_to_the_ledger(tmp_path: Path) -> None:
    with machines(tmp_path, ("first", []), ("second", [WORKER])) as [first, second]:
        first.did("init")
        first.start()
        ledger = second.state / "identity" / LEDGER
        ledger.parent.mkdir(parents=True)
        ledger.touch()
        second.did("join", first.token())
        assert "belongs to a swarm already" in second.failed("join", first.token())
        second.launch()
        second.wait_for_log("ledger.db is damaged: it is empty")
        assert second.wait() == 1
        ledger.unlink()  # as it says
        second.start()
        first.sees(second)
