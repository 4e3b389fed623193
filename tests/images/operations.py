"""Somebody in the house who never rests: sets timers and cancels them, and says how often. Run on a hub's host.

`python -m tests.images.operations NODE.JSON`: each line it prints is the number of what was written to the ledger.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

from swarm.client import NodeClient
from swarm.errors import MycoswarmError

PAUSE_S = 0.1
"""So that it writes all the time, and fills no disk."""


def main(address: Path) -> None:
    """Until it is ended."""
    number = 0
    while True:
        client = NodeClient(json.loads(address.read_bytes())["url"], timeout_s=30.0)
        with contextlib.suppress(MycoswarmError):
            for words in ("set a timer for two hours", "cancel all timers"):
                list(client.ask(words))
                number += 1
        print(number, flush=True)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
