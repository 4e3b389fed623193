"""`python -m provisioning.first_boot COMMAND`; see the package."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.first_boot.machine import Machine
from swarm.errors import MycoswarmError

if TYPE_CHECKING:
    from provisioning.first_boot.telling import Telling
    from swarm.config import Config

CONFIG = Path("/etc/mycoswarm/config.toml")


def main(arguments: list[str] | None = None) -> int:
    """The exit status; what went wrong is in the log."""
    parser = argparse.ArgumentParser(prog="python -m provisioning.first_boot", description=__doc__)
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("--root", type=Path, default=Path("/"), help="where the machine's file system is")
    parser.add_argument("--config", type=Path, default=CONFIG, help="the node's configuration")
    given = parser.parse_args(arguments)
    # journald has the time and the unit already.
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        COMMANDS[given.command](Machine(given.root), given.config)
    except MycoswarmError as error:
        logging.getLogger(__name__).error("%s", error.for_log())
        return 1
    return 0


def _prepare(machine: Machine, config: Path) -> None:
    from provisioning.first_boot.steps import FirstBoot

    os.umask(0o022)  # what is secret gets its mode by name
    FirstBoot(machine).prepare()


def _enrol(machine: Machine, config: Path) -> None:
    import asyncio

    from provisioning.first_boot.enrolling import Enrolling
    from swarm.config import load_config

    async def enrol() -> None:
        own = load_config(config)
        async with _telling(machine, own) as telling:
            await Enrolling(machine, own, telling).run()

    asyncio.run(enrol())


def _show(machine: Machine, config: Path) -> None:
    from provisioning.first_boot.showing import show

    show(machine)


def _wifi(machine: Machine, config: Path) -> None:
    import asyncio

    from provisioning.first_boot.access_point import WifiHelp
    from swarm.config import load_config

    async def help_out() -> None:
        async with _telling(machine, load_config(config)) as telling:
            await WifiHelp(machine, telling, work=machine.root / "run/mycoswarm-wifi").run()

    asyncio.run(help_out())


def _telling(machine: Machine, config: Config) -> Telling:
    from provisioning.first_boot.telling import Telling
    from swarm.config import wanted_roles

    speaks = config.satellite.speaker != "none" and not {"hub", "edge"}.isdisjoint(wanted_roles(config))
    return Telling(machine, config.state_dir, satellite=config.node.name if speaks else "")


COMMANDS = {"prepare": _prepare, "enrol": _enrol, "show": _show, "wifi": _wifi}

if __name__ == "__main__":
    raise SystemExit(main())
