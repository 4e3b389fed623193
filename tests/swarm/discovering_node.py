"""A program that discovers on a host of `tests.hosts`, and says what it finds as lines of JSON.

SIGTERM ends it with a goodbye; SIGUSR1 makes it say what it keeps and what it costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil

from swarm.candidate import Change, Found
from swarm.discovery import Discovery
from swarm.mdns_service import Announcement


def say(**fields: object) -> None:
    sys.stdout.write(json.dumps({**fields, "at": time.monotonic()}) + "\n")
    sys.stdout.flush()


def changed(change: Change) -> None:
    candidate = change.candidate
    say(
        event="found" if isinstance(change, Found) else "gone",
        node=candidate.node_id,
        swarm=candidate.swarm_id,
        addresses=candidate.addresses,
        port=candidate.port,
        source=candidate.source,
        roles=candidate.roles,
        enrol=candidate.enrol_port,
    )


async def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--node", default="")
    options.add_argument("--swarm", default="")
    options.add_argument("--port", type=int, default=7334)
    options.add_argument("--roles", default="")
    options.add_argument("--enrol", type=int, default=0)
    options.add_argument("--lifetime", type=float, default=120.0)
    options.add_argument("--known", default="")
    options.add_argument("--state", default="")
    chosen = options.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        discovery = Discovery(
            swarm_id=chosen.swarm,
            state_dir=Path(chosen.state or scratch),
            on_change=changed,
            known=set(chosen.known.split(",")).__contains__,
            lifetime_s=chosen.lifetime,
        )
        announcement = None
        if chosen.node:
            roles = tuple(filter(None, chosen.roles.split(",")))
            announcement = Announcement(chosen.node, chosen.swarm, chosen.port, roles, chosen.enrol)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, lambda: stats(discovery))
        say(event="starting")
        await discovery.start(announcement)
        say(event="started")
        await stop.wait()
        await discovery.close()
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        say(event="ended", left=left)


def stats(discovery: Discovery) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    say(
        event="stats",
        kept=[candidate.node_id for candidate in discovery.candidates()],
        refused=discovery.refused,
        imitations=discovery.imitations,
        rss_kb=psutil.Process().memory_info().rss // 1024,
        cpu_s=usage.ru_utime + usage.ru_stime,
    )


if __name__ == "__main__":
    asyncio.run(main())
