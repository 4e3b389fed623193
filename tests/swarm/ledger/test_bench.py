import asyncio
from pathlib import Path

from swarm.ledger.bench import measure_appends, measure_join


def test_appends_are_measured(tmp_path: Path) -> None:
    measured = asyncio.run(measure_appends(tmp_path, singly=20, grouped=600))
    assert min(measured.singly_per_s, measured.grouped_per_s, measured.syncs_per_s) > 0


def test_a_new_node_gets_everything_in_a_process_of_its_own(tmp_path: Path) -> None:
    measured = asyncio.run(measure_join(tmp_path, operations=1500))
    assert measured.operations == 1500 + 2
    assert measured.took_s > 0
    assert measured.resident_mb > 10
