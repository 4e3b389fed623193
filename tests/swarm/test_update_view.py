"""What a person sees of updates."""

from __future__ import annotations

import pytest

from swarm.node.seen import system_view
from swarm.node_state import SystemView
from swarm.transfer.content import Content
from swarm.updates.shared import Offer, Report
from swarm.updates.view import Live, NodeUpdate, Step, step_of
from swarm.updates_table import updates_table

OFFER = Offer("x", Content("0" * 64, 1, "0" * 64), "mycoswarm-edge-pi", "2.0")
REPORT = Report("slots", "1.0", "mycoswarm-edge-pi", "A", offer="x")


@pytest.mark.parametrize(
    ("report", "live", "step", "percent", "reason"),
    [
        (REPORT, Live(fetching=True, percent=40), "fetching", 40, ""),
        (REPORT, Live(fetching=True, percent=40, trouble="the disk is full"), "waiting", None, "the disk is full"),
        (REPORT, None, "waiting", None, "it is off"),
        (Report("slots", "1.0", state="ready"), Live(), "waiting", None, "it is off"),
        (Report("slots", "1.0", state="installing"), Live(percent=30), "installing", 30, ""),
        (Report("slots", "1.0", state="restarting"), None, "restarting", None, ""),
        (Report("slots", "2.0", state="good"), Live(), "good", None, ""),
        (Report("slots", "1.0", state="failed", reason="deaf"), Live(), "failed", None, "deaf"),
    ],
)
def test_step_of_a_node(report: Report, live: Live | None, step: Step, percent: int | None, reason: str) -> None:
    assert step_of(report, OFFER, live, "it is off") == (step, percent, reason)
    assert step_of(report, None, live, "it is off") == ("none", None, "")


def test_table_says_it_in_a_line_each() -> None:
    shown = updates_table(
        [
            NodeUpdate("a", "attic", True, here=True, way="slots", version="2.0", slot="B", offered="2.0", step="good"),
            NodeUpdate("b", "kitchen", True, way="slots", version="1.0", offered="2.0", step="fetching", percent=40),
            NodeUpdate(
                "c", "cellar", False, way="slots", version="1.0", offered="2.0", step="waiting", reason="it is off"
            ),
            NodeUpdate("d", "laptop", True, way="package", version="1.0"),
            NodeUpdate("e", "new", False),
        ]
    )
    lines = [line.split() for line in shown.splitlines()[2:]]
    assert lines[0] == ["attic", "(here)", "2.0", "B", "good"]
    assert lines[1] == ["kitchen", "1.0", "2.0", "fetching", "40", "%"]
    assert " ".join(lines[2]) == "cellar 1.0 2.0 off; waiting: it is off"
    assert "sudo apt install" in " ".join(lines[3])
    assert lines[-1] == ["new", "off;", "not", "known"]


def test_home_assistant_is_told_what_is_offered_and_why_not() -> None:
    update = NodeUpdate("a", "attic", True, way="slots", version="1.0", offered="2.0", step="fetching", percent=40)
    assert system_view(update) == SystemView("1.0", "2.0", in_progress=True, percent=40)
    failed = NodeUpdate("a", "attic", True, way="slots", version="1.0", offered="2.0", step="failed", reason="deaf")
    assert system_view(failed) == SystemView("1.0", "2.0", summary="not installed: deaf")
    assert system_view(NodeUpdate("a", "attic", True, way="slots", version="1.0")) == SystemView("1.0", "1.0")
    assert system_view(NodeUpdate("a", "attic", True, way="package", version="1.0")) is None
