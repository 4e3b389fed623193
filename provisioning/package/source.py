"""The project's own files, as far as they go into a package, and the one number that changes with any of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

from provisioning.package.target import Target
from swarm.errors import MycoswarmError

UNIT_SUFFIXES = frozenset({".service", ".target", ".path", ".timer", ".socket", ".slice"})
TABLES = {
    "sysusers.d": "usr/lib/sysusers.d",
    "tmpfiles.d": "usr/lib/tmpfiles.d",
    "system-preset": "usr/lib/systemd/system-preset",
}
"""By folder below systemd/, where it goes. What else is there is for images alone: a machine that somebody set up keeps
its firewall and its journal."""
_UNKNOWN = 1_767_225_600
"""2026 began; where neither the caller nor git knows a time, any will do that is the same for everybody."""
DOCUMENTS = ("README.md", "CHANGELOG.md", "LICENSE")


class Source:
    """The project's source tree at `root`. Raises `MycoswarmError` when there is none."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise MycoswarmError(
                f"{root} is not the project's source tree",
                hint="packages are built from a checkout: name it by --source",
            ) from None
        self.version: str = project["project"]["version"]
        self.packages: list[str] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

    def python_files(self) -> list[Path]:
        """Everything in the Python packages, relative to the root, sorted.

        Links are left out: those in the trees for images lead to places of the image, or of whoever builds.
        """
        found = (path for name in self.packages for path in (self.root / name).rglob("*"))
        files = (path for path in found if path.is_file() and not path.is_symlink())
        return sorted(path.relative_to(self.root) for path in files if "__pycache__" not in path.parts)

    def system_files(self) -> dict[str, Path]:
        """By place on the node, what systemd is told: units, users, folders."""
        folder = self.root / "systemd"
        placed = {
            f"usr/lib/systemd/system/{path.name}": path for path in folder.iterdir() if path.suffix in UNIT_SUFFIXES
        }
        for name, place in TABLES.items():
            placed |= {f"{place}/{path.name}": path for path in (folder / name).glob("*.*")}
        return dict(sorted(placed.items()))

    def build_id(self, target: Target) -> str:
        """32 hexadecimal digits over everything that the package is made of."""
        digest = hashlib.sha256(f"{target}\n".encode())
        files = [*self.python_files(), *(path.relative_to(self.root) for path in self.system_files().values())]
        for each in (*files, *map(Path, ("pyproject.toml", "constraints.txt", *DOCUMENTS))):
            content = (self.root / each).read_bytes()
            digest.update(f"{each}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()[:32]

    def epoch(self) -> int:
        """The time that every file in the package has: `SOURCE_DATE_EPOCH`, else that of the last commit."""
        if given := os.environ.get("SOURCE_DATE_EPOCH"):
            return int(given)
        if shutil.which("git") is None:
            return _UNKNOWN
        command = ["git", "-C", str(self.root), "log", "-1", "--format=%ct"]
        log = subprocess.run(command, capture_output=True, text=True, check=False)
        return int(log.stdout) if log.returncode == 0 and log.stdout.strip() else _UNKNOWN
