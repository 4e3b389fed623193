"""The sound board on a Pi's pins: its firmware reads which one from `board.txt` beside each slot's kernel.

`image personalize` writes it there, and the board is known at the first boot already. A person's own file on the card
cannot: then it is written here, and the machine starts once more.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provisioning.first_boot.machine import Machine
from provisioning.first_boot.programs import run
from provisioning.settings import BOARD_FILE
from swarm.durable import write_file
from swarm.errors import MycoswarmError

LABELS = ("MYCOBOOT-A", "MYCOBOOT-B")

_log = logging.getLogger(__name__)


def fit_board(machine: Machine, text: str) -> bool:
    """Have both slots' firmware know it; whether it knew something else before. Raises `MycoswarmError`, `OSError`."""
    changed = False
    for label in LABELS:
        with _mounted(machine.root / "dev/disk/by-label" / label) as folder:
            changed = say_board(folder, text) or changed
    return changed


def say_board(folder: Path, text: str) -> bool:
    """In one of them."""
    file = folder / BOARD_FILE
    before = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    if before == text:
        return False
    write_file(file, text)
    _log.info("the board's firmware loads from the next start on: %s", text.strip() or "no sound board")
    return True


@contextmanager
def _mounted(device: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mycoswarm-boot-") as folder:
        run("mount", "-t", "vfat", "-o", "nosuid,nodev,noexec", str(device), folder)
        try:
            yield Path(folder)
        finally:
            with contextlib.suppress(MycoswarmError):  # what was written is on the card; the start anew unmounts it
                run("umount", folder)
