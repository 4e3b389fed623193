"""The kernel module by which a Raspberry Pi's firmware is asked to try the other slot once (`data/tryboot/`).

Debian's kernel cannot ask: `reboot "0 tryboot"` is known to Raspberry Pi's own kernel only. The module is built for
the very kernel that the root has, with Debian's headers and compiler in a root of their own, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from provisioning.image.layout import DATA
from provisioning.image.recipe import BACKPORTS, SUITE
from provisioning.image.running import run
from swarm.errors import MycoswarmError

SOURCE = DATA / "tryboot"
NAME = "mycoswarm-tryboot.ko"
TIMEOUT_S = 1800.0


def tryboot_module(root: Path, cache: Path, *, epoch: int, tell: Callable[[str], None]) -> dict[str, bytes]:
    """The module for the kernel in the tar `root`, by its path in the root. Raises `MycoswarmError`."""
    release = _release(root)
    sources = sorted(SOURCE.iterdir())
    made_of = hashlib.sha256(b"".join([release.encode(), *(path.read_bytes() for path in sources)])).hexdigest()[:16]
    kept = cache / f"tryboot-{release}-{made_of}.ko"
    if not kept.exists():
        tell(f"building a kernel module for {release}")
        with tempfile.TemporaryDirectory(prefix="mycoswarm-module-", dir=cache) as folder:
            Path(folder).chmod(0o755)  # mmdebstrap reads and writes it as another user of its own namespace
            made = Path(folder) / NAME
            environment = {"SOURCE_DATE_EPOCH": str(epoch)}
            run(build_command(release, sources, made), doing="building a kernel module", timeout_s=TIMEOUT_S,
                environment=environment)  # fmt: skip
            made.replace(kept)
    return {f"usr/lib/modules/{release}/updates/{NAME}": kept.read_bytes()}


def build_command(release: str, sources: list[Path], out: Path) -> list[str]:
    """How mmdebstrap makes a root with compiler and headers, builds in it, and throws it away.

    `release`: of the kernel, `7.3.4+deb13-arm64`.
    """
    base = release.removesuffix("-arm64")
    native = os.uname().machine == "aarch64"
    compiler, prefix = ("gcc", "") if native else ("gcc-aarch64-linux-gnu", "aarch64-linux-gnu-")
    headers = f"/usr/src/linux-headers-{release}"
    build = (
        "set -e; cd /build; "
        # Not installed: they would bring a compiler that runs on the target, and the kernel itself.
        f"apt-get download linux-headers-{release}:arm64; dpkg-deb -x ./linux-headers-*.deb /; "
        f"make -C {headers} M=/build ARCH=arm64 CROSS_COMPILE={prefix} KBUILD_BUILD_TIMESTAMP=@0 modules; "
        f"{prefix}strip --strip-debug {NAME}"
    )
    return [
        "mmdebstrap",
        "--variant=apt",
        *([] if native else ["--architectures=amd64,arm64"]),
        f"--include={compiler},make,linux-kbuild-{base},linux-headers-{base}-common",
        f"--setup-hook={BACKPORTS}",
        '--customize-hook=mkdir "$1"/build && chmod 0777 "$1"/build',
        *(f"--customize-hook=upload {path} /build/{path.name}" for path in sources),
        f"--customize-hook=chroot \"$1\" sh -c '{build}'",
        f"--customize-hook=download /build/{NAME} {out}",
        SUITE,
        "/dev/null",
    ]


def _release(root: Path) -> str:
    with tarfile.open(root) as tar:
        for entry in tar:
            parts = entry.name.removeprefix("./").split("/")
            if parts[:3] == ["usr", "lib", "modules"] and len(parts) > 3:
                return parts[3]
    raise MycoswarmError(f"{root.name} has no kernel")
