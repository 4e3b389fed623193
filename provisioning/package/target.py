"""For which machines packages are built."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

from swarm.errors import MycoswarmError

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""By Debian's name of the architecture, the kernel's."""

PYTHONS = ("3.11", "3.12", "3.13")
"""Debian 12, Ubuntu 24.04, Debian 13; Raspberry Pi OS has the Python of the Debian that it is made of."""

GLIBC = "2_36"
"""Wheels may want no newer glibc than that of Debian 12, the oldest system here; all pins have such wheels."""


@dataclass(frozen=True, slots=True)
class Target:
    """The machine that a package is for."""

    python: str
    """One of `PYTHONS`: the one that `/usr/bin/python3` is there."""
    arch: str
    """As `dpkg --print-architecture` says it: one of `MACHINES`."""
    gpu: bool = False
    """With the libraries for models on a GPU."""

    def __post_init__(self) -> None:
        """Raises `MycoswarmError` for a machine that there are no packages for."""
        if self.python not in PYTHONS:
            raise MycoswarmError(
                f"no package for Python {self.python}",
                hint=f"there are packages for the Python of Debian 12 and 13 and Ubuntu 24.04: {', '.join(PYTHONS)}",
            )
        if self.arch not in MACHINES:
            raise MycoswarmError(
                f"no package for the architecture {self.arch}",
                hint="mycoswarm runs on 64-bit machines: amd64 and arm64; a Raspberry Pi needs the 64-bit system",
            )

    @property
    def platform(self) -> str:
        """As uv calls it."""
        return f"{MACHINES[self.arch]}-manylinux_{GLIBC}"

    @property
    def extras(self) -> tuple[str, ...]:
        """Which of the project's extras are in the package."""
        return ("edge", "hub", "gpu") if self.gpu else ("edge", "hub")

    @property
    def is_here(self) -> bool:
        """Whether this very interpreter is what the package would run on."""
        return (
            platform.machine() == MACHINES[self.arch] and f"{sys.version_info[0]}.{sys.version_info[1]}" == self.python
        )

    def version(self, project: str) -> str:
        """The package's version: of two that differ only in this, apt takes the one for the newer Python."""
        return f"{project}+py{self.python}" + ("+gpu" if self.gpu else "")
