"""What the node tells the supervisor that started it: sd_notify(3), in the few lines that it is.

One datagram of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names; who started the node without one hears
nothing. The watchdog is fed by the event loop itself: a loop that stands still feeds nobody, and systemd ends the node.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress

MAX_STATUS = 200
"""Characters that are shown of what the node does."""

_log = logging.getLogger(__name__)


class Supervisor:
    """Whoever waits for word of this process; nobody where `socket_name` is empty."""

    def __init__(self, socket_name: str = "", *, watchdog_s: float | None = None) -> None:
        """`watchdog_s`: how long it may hear nothing before it ends this process; None for as long as it likes."""
        self._address = "\0" + socket_name[1:] if socket_name.startswith("@") else socket_name
        self._watchdog_s = watchdog_s
        self._status = ""

    @classmethod
    def of_environment(cls, environment: MutableMapping[str, str], *, pid: int) -> Supervisor:
        """The one that started the process `pid`. Its variables are taken out of `environment`: a child that speaks the
        same protocol, as Mosquitto does, would else speak in the node's name."""
        name = environment.pop("NOTIFY_SOCKET", "")
        allowed_us = environment.pop("WATCHDOG_USEC", "")
        about = environment.pop("WATCHDOG_PID", "")
        is_meant = about in ("", str(pid)) and allowed_us.isascii() and allowed_us.isdigit() and int(allowed_us) > 0
        return cls(
            name if name.startswith(("/", "@")) else "", watchdog_s=int(allowed_us) / 1e6 if is_meant and name else None
        )

    def ready(self, status: str) -> None:
        """The node is up; `status` is what it does."""
        self._status = _one_line(status)
        self._tell("READY=1", f"STATUS={self._status}")

    def status(self, status: str) -> None:
        """What it does now; told when it is news."""
        if (line := _one_line(status)) != self._status:
            self._status = line
            self._tell(f"STATUS={line}")

    def stopping(self) -> None:
        """It ends, because it was asked to."""
        self._tell("STOPPING=1", "STATUS=ending")

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Feed the watchdog, three times as often as it must be, as long as the event loop turns."""
        feeding = asyncio.create_task(self._feed(), name="watchdog")
        try:
            yield
        finally:
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding

    async def following(self, says: Callable[[], str], every_s: float = 10.0) -> None:
        """Tell what `says` says, until it is cancelled."""
        while self._address:
            self.status(says())
            await asyncio.sleep(every_s)

    async def _feed(self) -> None:
        while self._watchdog_s is not None:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 3)

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as way:
                way.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            # One that hears nothing decides by itself what that means.
            _log.warning("the supervisor at NOTIFY_SOCKET cannot be told: %s", error)


def supervisor_of_this_process() -> Supervisor:
    """The one that started it; see `Supervisor.of_environment`."""
    return Supervisor.of_environment(os.environ, pid=os.getpid())


def _one_line(text: str) -> str:
    return " ".join(text.split())[:MAX_STATUS]
