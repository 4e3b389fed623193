"""What the project depends on, as the versions that `constraints.txt` pins and as wheels for the target."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from provisioning.package.target import Target
from swarm.errors import MycoswarmError

WITHOUT_WHEEL = {"3.12": ("pocketsphinx",)}
"""By Python, what has only its source there: it is built, and so on a machine of the target's kind only."""
TIMEOUT_S = 1800.0


def install_dependencies(target: Target, source: Path, into: Path, *, scratch: Path) -> None:
    """Put the project's dependencies into the folder `into`, without running anything of the target.

    Raises `MycoswarmError` when one has no wheel for the target, or another version than the pinned one would come.
    """
    pins = pinned(source / "constraints.txt")
    command = [*_uv(), "pip", "install", "--quiet", "--no-compile", "--link-mode", "copy", "--target", str(into)]
    command += ["--python-version", target.python, "--python-platform", target.platform, "--only-binary", ":all:"]
    command += ["--constraint", str(source / "constraints.txt"), "--requirement", str(source / "pyproject.toml")]
    for extra in target.extras:
        command += ["--extra", extra]
    if missing := WITHOUT_WHEEL.get(target.python, ()):
        wheels = _build_wheels([f"{name}=={pins[name]}" for name in missing], target, scratch / "wheels")
        command += ["--find-links", str(wheels)]
    _run(command, "the project's dependencies cannot be fetched")
    wrong = unpinned(installed(into), pins)
    if wrong:
        raise MycoswarmError(
            f"not the pinned versions: {', '.join(wrong)}",
            hint="constraints.txt names one version of everything that a node runs: add or correct it there",
        )


def pinned(constraints: Path) -> dict[str, str]:
    """By normalised name, the version that the file pins."""
    lines = constraints.read_text(encoding="utf-8").split()
    return {_normal(name): version for name, _, version in (line.partition("==") for line in lines)}


def installed(folder: Path) -> dict[str, str]:
    """By normalised name, the version of each distribution in a site-packages folder."""
    found = (path.name.removesuffix(".dist-info").rpartition("-") for path in folder.glob("*.dist-info"))
    return {_normal(name): version for name, _, version in sorted(found)}


def unpinned(found: dict[str, str], pins: dict[str, str]) -> list[str]:
    """What is there in another version than the pinned one, or is not pinned at all."""
    return [f"{name} {version}" for name, version in found.items() if pins.get(name) != version]


def _normal(name: str) -> str:
    """As PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _build_wheels(requirements: list[str], target: Target, into: Path) -> Path:
    if not target.is_here:
        raise MycoswarmError(
            f"{', '.join(requirements)}: no wheel for Python {target.python}",
            hint=f"build on an {target.arch} machine with Python {target.python}, as install.sh does",
        )
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run([*command, "--wheel-dir", str(into), *requirements], f"{', '.join(requirements)} cannot be built")
    return into


def _uv() -> list[str]:
    try:
        from uv import find_uv_bin
    except ImportError:
        raise MycoswarmError(
            "uv is not installed", hint="pip install -c constraints.txt '.[build]' brings what packages are built with"
        ) from None
    return [find_uv_bin()]


def _run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S)
    if done.returncode != 0:
        said = "\n  ".join((done.stderr.strip() or done.stdout.strip() or "(it said nothing)").splitlines()[-12:])
        raise MycoswarmError(failure, hint=said)
