"""Runs the programs that images are made with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from swarm.errors import MycoswarmError

PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "mksquashfs": "squashfs-tools",
    "sfdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "mdir": "mtools",
    "mtype": "mtools",
    "lsblk": "util-linux",
    "mke2fs": "e2fsprogs",
    "zstd": "zstd",
    "dtc": "device-tree-compiler",
    "depmod": "kmod",
    "openssl": "openssl",
}
"""What building needs, and the Debian package that each is in."""

SBIN = ("/usr/sbin", "/sbin")
MAX_SAID = 2000


def require_programs(names: Sequence[str]) -> None:
    """Raises `MycoswarmError` that names all that are missing at once."""
    missing = sorted({PROGRAMS[name] for name in names if find(name) is None})
    if missing:
        raise MycoswarmError(
            f"it needs programs that are not here: {', '.join(missing)}",
            hint=f"sudo apt install {' '.join(missing)}",
        )


def find(name: str) -> str | None:
    """The program's path; those of administrators are found too, whoever asks."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *SBIN)))


def run(
    argv: Sequence[str | Path],
    *,
    doing: str,
    timeout_s: float,
    text: str = "",
    stdin: Path | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Runs a program to its end and gives what it printed.

    `doing` completes "… failed"; `text` or the file `stdin` is its input. Raises `MycoswarmError` with the end of what
    it said when it fails or takes longer than `timeout_s`.
    """
    variables = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC", **(environment or {})}
    program = find(str(argv[0]))
    if program is None:
        package = PROGRAMS.get(str(argv[0]), str(argv[0]))
        raise MycoswarmError(f"{doing} needs the program {argv[0]}", hint=f"sudo apt install {package}")
    try:
        if stdin is not None:
            with stdin.open("rb") as file:
                done = subprocess.run(
                    [program, *map(str, argv[1:])],
                    stdin=file, capture_output=True, env=variables, cwd=folder, timeout=timeout_s, check=False,
                )  # fmt: skip
        else:
            done = subprocess.run(
                [program, *map(str, argv[1:])],
                input=text.encode(), capture_output=True, env=variables, cwd=folder, timeout=timeout_s, check=False,
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise MycoswarmError(f"{doing} took longer than {timeout_s:.0f} s and was given up") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise MycoswarmError(f"{doing} failed ({argv[0]}, exit status {done.returncode})", hint=said[-MAX_SAID:])
    return done.stdout.decode(errors="replace")
