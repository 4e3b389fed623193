"""Which version ran here at most: after an update that was no good, an older one starts with what a newer one wrote.

::

    <state folder>/newest-version    such as 0.6.0
"""

from __future__ import annotations

from pathlib import Path

from swarm.private_file import write_private

FILE = "newest-version"
MAX_BYTES = 64


def note_version(state_dir: Path, version: str) -> None:
    """This version runs here. Written only when it is news. Raises `StorageError`."""
    if numbers(version) > numbers(newest_version(state_dir)):
        write_private(state_dir / FILE, f"{version}\n".encode())


def newest_version(state_dir: Path) -> str:
    """The newest one that ever ran here; empty when that is not known."""
    try:
        with (state_dir / FILE).open("rb") as file:
            return file.read(MAX_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return ""


def numbers(version: str) -> tuple[int, ...]:
    """By which versions compare: `0.10.1` is newer than `0.9`."""
    return tuple(int(part) if part.isascii() and part.isdigit() else 0 for part in version.split(".")[:4])
