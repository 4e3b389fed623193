"""Machines made of an image as a person makes one: settings on its first partition, then power."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from swarm.errors import MycoswarmError
from tests.images.disk import Disk, copy_disk
from tests.images.guest import BOOT_S, X86_64, Direct, Guest, Hardware
from tests.images.home_lan import HomeLan

SETTINGS = "/mycoswarm.toml"
NODES_PORT = 7334
CONFIG = "/etc/mycoswarm/config.toml"
STATE = "/var/lib/mycoswarm"
NODE_KEY = f"{STATE}/identity/node.key"
ROOM = 2 * 1024**3
"""By how much a person's disk is larger than the image."""


def made_ones_own(image: Path, target: Path, settings: str) -> Path:
    """A disk with the image and these settings, TOML, as a person with a card reader and an editor leaves it."""
    copy_disk(image, target)
    with target.open("r+b") as disk:
        disk.truncate(image.stat().st_size + ROOM)
    Disk(target).fat_with_label("MYCOBOOT").write(SETTINGS, settings.encode())
    return target


def toml(**values: object) -> str:
    """Keys of the settings that are no tables."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


class Member:
    """A booted machine that has joined, or will, the swarm of a home."""

    def __init__(
        self, name: str, image: Path, folder: Path, home: HomeLan, *, roles: tuple[str, ...] = (), more: str = "",
        hardware: Hardware = X86_64, direct: Direct | None = None, stick: Path | None = None, talkative: bool = True,
    ) -> None:  # fmt: skip
        """`more` is TOML of the settings, tables at its end."""
        self.name = name
        self.home = home
        self.token = home.invite()
        said = toml(hostname=name, token=self.token, **({"roles": list(roles)} if roles else {}))
        disk = made_ones_own(image, folder / f"{name}.img", said + more)
        self.guest = Guest(
            name, disk, folder / name, home.network, hardware=hardware, direct=direct, stick=stick, talkative=talkative
        )

    @contextlib.contextmanager
    def powered(self) -> Iterator[Member]:
        """It is on and has joined, and its system has started; afterwards the power is cut."""
        with self.guest.powered():
            self.wait_joined()
            yield self

    def wait_joined(self, *, seconds: float = BOOT_S) -> None:
        """Until the hub sees it alive."""
        self.guest.wait_until(
            lambda: self.seen().get("state") == "alive", f"the hub did not see {self.name} alive", seconds=seconds
        )

    def wait_gone(self, *, seconds: float = BOOT_S) -> None:
        """Until the hub does not see it alive any more."""
        self.guest.wait_until(
            lambda: self.seen().get("state") != "alive", f"the hub still saw {self.name} alive", seconds=seconds
        )

    def seen(self) -> dict[str, Any]:
        """The hub's line about it in `mycoswarm nodes`; nothing when it has none."""
        return self.home.hub.view().get(self.name, {})

    def did(self, *arguments: str) -> str:
        """What a command of the command line printed on the machine, as its owner gives it."""
        return self.guest.run(f"mycoswarm {shlex.join(arguments)}")

    def identity(self) -> Mapping[str, str]:
        """What makes the machine itself, from the inside."""
        ask = {
            "machine id": "cat /etc/machine-id",
            "node": f"sha256sum <{NODE_KEY}",
            "host key": "cat /data/ssh/ssh_host_ed25519_key.pub 2>/dev/null || echo none: ssh is off",
            "host name": "hostname",
        }
        return {what: self.guest.run(command).strip() for what, command in ask.items()}

    def reported(self) -> str:
        """Why it is not well, for an assertion: failed units and their last words."""
        try:
            units = self.guest.run("systemctl --failed --plain --no-legend | cut -d' ' -f1")
            words = [self.guest.run(f"journalctl -b --no-pager -n 25 -u {unit}") for unit in units.split()]
        except (AssertionError, MycoswarmError):
            return self.guest.last_words()
        return "\n".join([units, *words])
