"""Debian's part of a root: made by mmdebstrap, kept as a tar, found again by the hash of what it is made of.

What of it changes with each commit (the application, overlays) is laid over it in `system.py`.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from provisioning.image.recipe import BACKPORTS, ROOT_EPOCH, ROOT_OPTIONS, SUITE, Recipe
from provisioning.image.running import run
from provisioning.image.trees import pack
from swarm.errors import MycoswarmError

ROOT_TIMEOUT_S = 5400.0
"""An emulated processor takes a third of an hour, on a busy machine an hour."""
APT_WITH_SNAPSHOTS = (2, 9)


def root_command(recipe: Recipe, *, early: Path, out: Path) -> list[str]:
    """How mmdebstrap makes the root of `recipe` into the tar `out`; `early` is a tar of `recipe.early`.

    The mirror is the tool's default. A snapshot is chosen by apt's own option of a source, sources.list(5).
    """
    command = ["mmdebstrap", f"--arch={recipe.layout.architecture}", *ROOT_OPTIONS, *recipe.more_options]
    command.append(f"--include={','.join(recipe.packages)}")
    if any(name.endswith(f"/{SUITE}-backports") for name in recipe.packages):
        command.append(f"--setup-hook={BACKPORTS}")
    if recipe.snapshot:
        option = f"snapshot={recipe.snapshot}"
        command.append(
            f"--setup-hook=sed -i -e 's/^deb \\[/deb [{option} /;t' -e 's/^deb /deb [{option}] /' "
            '"$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*.list'
        )
    command.append(f"--essential-hook=tar-in {early} /")
    return [*command, SUITE, str(out)]


def cached_root(recipe: Recipe, cache: Path, *, tell: Callable[[str], None]) -> Path:
    """The tar of the root, from the cache or made now. Raises `MycoswarmError`."""
    cache.mkdir(parents=True, exist_ok=True)
    found = cache / f"root-{recipe.kind}-{recipe.root_id}.tar"
    if found.exists():
        tell(f"Debian's part of the root is kept from before ({found.name})")
        return found
    if recipe.snapshot:
        _require_snapshots()
    _require_emulation(recipe.layout.architecture)
    tell(f"making Debian's part of the root: {len(recipe.packages)} packages and what they need")
    with tempfile.TemporaryDirectory(prefix="mycoswarm-root-", dir=cache) as folder:
        early, made = Path(folder) / "early.tar", Path(folder) / "root.tar"
        Path(folder).chmod(0o755)  # mmdebstrap reads and writes it as another user of its own namespace
        pack(early, trees=recipe.early)
        environment = {"SOURCE_DATE_EPOCH": str(ROOT_EPOCH)}
        run(root_command(recipe, early=early, out=made), doing="making the root", timeout_s=ROOT_TIMEOUT_S,
            environment=environment)  # fmt: skip
        # Who is not root could not unpack devices; the kernel brings its own.
        run(["tar", "--delete", f"--file={made}", "--wildcards", "./dev/*"], doing="taking devices out of the root",
            timeout_s=ROOT_TIMEOUT_S)  # fmt: skip
        made.replace(found)
    return found


def _require_snapshots() -> None:
    said = run(["apt-get", "--version"], doing="asking apt for its version", timeout_s=10)
    version = re.match(r"apt (\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < APT_WITH_SNAPSHOTS:
        raise MycoswarmError(
            f"this machine's apt knows no snapshots of the archive ({said.split(' (')[0].strip()})",
            hint="build with --snapshot on Debian 13 or later, or without it",
        )


def _require_emulation(architecture: str) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine)
    emulator = {"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}[architecture]
    if machine != architecture and not Path("/proc/sys/fs/binfmt_misc", emulator).exists():
        raise MycoswarmError(
            f"this machine cannot run programs for {architecture}",
            hint="sudo apt install qemu-user-static binfmt-support, and mount binfmt_misc",
        )
