"""NVIDIA's kernel modules for the image of a GPU node: built where the image is built, for the kernel that it has.

Debian has their source only, for DKMS. It is compiled in a root of its own, with headers and compiler that the image
then does not have, and kept in the cache. At first boot instead it would need all those in the image, a place to write
in a root that is read-only, and minutes before the node can work; `docs/images.md` has what was measured.

The closed modules of the 550 series, because they drive everything from Maxwell (GTX 900) to Ada (RTX 40); the open
ones begin at Turing (GTX 16, RTX 20).
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from provisioning.image.recipe import COMPONENTS_GPU, SUITE
from provisioning.image.running import run
from swarm.errors import MycoswarmError

SOURCE = "nvidia-kernel-dkms"
TIMEOUT_S = 3600.0
STATUS = "var/lib/dpkg/status"


def nvidia_modules(root: Path, cache: Path, *, epoch: int, tell: Callable[[str], None]) -> dict[str, bytes]:
    """The modules for kernel and driver in the tar `root`, by their path in the root. Raises `MycoswarmError`."""
    release, driver = _release_and_driver(root)
    made_of = hashlib.sha256(" ".join(build_command(release, driver, Path("modules.tar"))).encode()).hexdigest()[:16]
    kept = cache / f"nvidia-{driver}-{release}-{made_of}.tar"
    if not kept.exists():
        tell(f"building NVIDIA's modules {driver} for {release}")
        with tempfile.TemporaryDirectory(prefix="mycoswarm-modules-", dir=cache) as folder:
            Path(folder).chmod(0o755)  # mmdebstrap reads and writes it as another user of its own namespace
            made = Path(folder) / "modules.tar"
            environment = {"SOURCE_DATE_EPOCH": str(epoch)}
            run(build_command(release, driver, made), doing="building NVIDIA's modules", timeout_s=TIMEOUT_S,
                environment=environment)  # fmt: skip
            made.replace(kept)
    with tarfile.open(kept) as tar:
        files = {entry.name: tar.extractfile(entry) for entry in tar if entry.isfile()}
        return {name.removeprefix("./"): file.read() for name, file in sorted(files.items()) if file is not None}


def build_command(release: str, driver: str, out: Path) -> list[str]:
    """How mmdebstrap makes a root with headers and compiler, builds in it, and throws it away.

    `release`: of the kernel, `6.12.48+deb13-amd64`; `driver`: Debian's version of it. Both must be the root's own: the
    libraries refuse modules of any other version.
    """
    build = (
        "set -e; "
        # Its installation has built them, if the headers were ready before; this does nothing then.
        f"dkms autoinstall -k {release}; cd /; "
        f"find usr/lib/modules/{release}/updates -name \\*.ko\\* | LC_ALL=C sort | "
        "tar --owner=0 --group=0 --mode=0644 --mtime=@0 --files-from=- --create --file=/modules.tar"
    )
    return [
        "mmdebstrap",
        "--variant=apt",
        f"--components={COMPONENTS_GPU}",
        '--aptopt=APT::Install-Recommends "false"',
        f"--include=linux-headers-{release},{SOURCE}={driver}",
        f"--customize-hook=chroot \"$1\" sh -c '{build}'",
        f"--customize-hook=download /modules.tar {out}",
        SUITE,
        "/dev/null",
    ]


def _release_and_driver(root: Path) -> tuple[str, str]:
    release = driver = ""
    with tarfile.open(root) as tar:
        for entry in tar:
            name = entry.name.removeprefix("./")
            parts = name.split("/")
            if parts[:3] == ["usr", "lib", "modules"] and len(parts) > 3:
                release = parts[3]
            elif name == STATUS and (file := tar.extractfile(entry)) is not None:
                found = re.search(r"^Package: libcuda1\n(?:.+\n)*?Version: (\S+)$", file.read().decode(), re.MULTILINE)
                driver = found[1] if found else ""
    if not release or not driver:
        raise MycoswarmError(f"{root.name} has no {'driver' if release else 'kernel'}")
    return release, driver
