"""`mycoswarm up` on a machine whose two systems are in a file: `slotted_node.py SLOTS KIND up --config …`. When such a
machine starts anew, a new process takes the place of this one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from swarm.cli import main
from swarm.node import running
from swarm.updates.fake_slots import FakeSlots


def _start_anew() -> None:
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    slots, kind, *rest = sys.argv[1:]
    fake = FakeSlots(Path(slots), compatible=kind, version="1.0", restarted=_start_anew)
    vars(running)["system_here"] = lambda: fake  # a machine that runs no image has none
    sys.argv = ["mycoswarm", *rest]
    main()
