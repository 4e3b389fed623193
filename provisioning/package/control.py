"""What dpkg is told about the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

from provisioning.package.target import Target

MAINTAINER_SCRIPTS = ("postinst", "prerm", "postrm")

_RECOMMENDS = ("libspeexdsp1", "mosquitto")
"""Without them it works: without the first it is not interrupted while it speaks, and it has a broker of its own."""
_RECOMMENDS_GPU = ("libcublas12",)
"""What faster-whisper computes with on NVIDIA's cards; the driver itself is the machine's owner's choice."""

_DESCRIPTION = """\
Description: voice assistant for the home that runs on its own machines
 A microphone, a speaker and a few retired computers become one assistant:
 they find each other, share the work, and nothing leaves the house.
 .
 With the node come its Python packages, of exactly the versions that it
 was tested with, in a folder of their own.
"""


def control(target: Target, version: str, installed_kib: int) -> str:
    """The control file of the package."""
    depends = [
        f"python{target.python}",
        "libc6 (>= 2.36)",
        "libgcc-s1",
        "libportaudio2",
        "libstdc++6 (>= 12)",
        "passwd",
        "systemd",
        "zlib1g",
    ]
    recommends = _RECOMMENDS + (_RECOMMENDS_GPU if target.gpu else ())
    return (
        f"Package: mycoswarm\nVersion: {version}\nArchitecture: {target.arch}\nSection: net\nPriority: optional\n"
        f"Maintainer: mycoswarm <mycoswarm@localhost>\nInstalled-Size: {installed_kib}\n"
        f"Depends: {', '.join(depends)}\nRecommends: {', '.join(recommends)}\n{_DESCRIPTION}"
    )


def checksums(root: Path) -> str:
    """The md5sums file: what `dpkg --verify` compares with."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return "".join(f"{_md5(path)}  {path.relative_to(root).as_posix()}\n" for path in files)


def installed_kib(root: Path) -> int:
    """As dpkg-gencontrol counts: each file in whole KiB, one KiB for what has no content."""
    return sum(
        max(1, -(-path.stat().st_size // 1024)) if path.is_file() and not path.is_symlink() else 1
        for path in root.rglob("*")
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
