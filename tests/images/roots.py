"""Systems as people have them: minimal roots of Debian and Ubuntu, booted with systemd in a container.

A root is made once by mmdebstrap from the distribution's own archive and kept, beside the images, under a hash of its
recipe.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.images.built import images_folder

INCLUDED = "apt,systemd-sysv,dbus,python3,ca-certificates,iproute2"
"""What a small installation has at least, and no container otherwise."""
MAKE_S, BOOT_S, COMMAND_S = 1800.0, 120.0, 1200.0
POLL_S = 0.1
TRUSTED = Path("/etc/ssl/certs")
"""The host's certificates: what looks into TLS on the way out of a test machine is in there."""
PASSED_ON = ("PIP_", "UV_", "SSL_", "http_proxy", "https_proxy", "no_proxy")
"""How the host reaches the package index, so does the container."""

_V2_ONLY = """
set -e
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
exec "$@"
"""
"""nspawn wants one kind of cgroups, and a /run that is no disk; both only for itself."""


@dataclass(frozen=True)
class Distribution:
    """What mmdebstrap is told."""

    suite: str
    python: str
    components: str = "main"
    keyring_from: str = ""
    """The suite of Debian whose package `ubuntu-keyring` says whom to believe; empty believes the host's Debian."""


BOOKWORM = Distribution("bookworm", "3.11")
TRIXIE = Distribution("trixie", "3.13")
NOBLE = Distribution("noble", "3.12", "main,universe", keyring_from="trixie")
DISTRIBUTIONS = {each.suite: each for each in (BOOKWORM, TRIXIE, NOBLE)}


def tarball(distribution: Distribution) -> Path:
    """The root as a tar archive; takes a minute or two the first time."""
    folder = images_folder()
    folder.mkdir(parents=True, exist_ok=True)
    recipe = hashlib.sha256(f"{distribution} {INCLUDED}".encode()).hexdigest()[:16]
    path = folder / f"root-{distribution.suite}-{recipe}.tar"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            Path(scratch).chmod(0o755)  # apt reads the keys there as nobody in particular
            made = Path(scratch) / "root.tar"
            command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--components={distribution.components}"]
            command += [f"--include={INCLUDED}"]
            if distribution.keyring_from:
                command.append(f"--keyring={_ubuntu_keyring(distribution.keyring_from, Path(scratch))}")
            _run([*command, distribution.suite, str(made)], MAKE_S)
            made.rename(path)
    return path


def _ubuntu_keyring(suite: str, scratch: Path) -> Path:
    """Ubuntu's keys from a package of Debian, which apt checks by Debian's own."""
    keys = scratch / "keys"
    _run(["mmdebstrap", "--quiet", "--variant=extract", "--include=ubuntu-keyring", suite, str(keys)], MAKE_S)
    return keys / "usr/share/keyrings/ubuntu-archive-keyring.gpg"


class Root:
    """An unpacked system in the folder `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def files(self) -> dict[str, str]:
        """By path, what each file of the root is: kind, rights, owner, where a link leads."""
        listed = subprocess.run(
            ["find", ".", "-xdev", "-printf", r"%P\t%y %m %U:%G %l\n"], cwd=self.path, capture_output=True, check=True
        )
        lines = listed.stdout.decode(errors="surrogateescape").splitlines()
        return dict(line.split("\t", 1) for line in lines)

    def chrooted(self, *command: str, **environment: str) -> str:
        """What the command prints in the root as an image build runs it: nothing is booted."""
        mounted = 'mount --bind /proc "$0/proc"; exec chroot "$0" "$@"'
        unshared = ["unshare", "-m", "--propagation", "private", "sh", "-c", mounted, str(self.path)]
        plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        return _run([*unshared, *command], COMMAND_S, {**plain, **environment})

    @contextmanager
    def booted(self, *, source: Path | None = None) -> Iterator[Booted]:
        """systemd as the first process of a container with the host's network; `source` is to be seen at /src."""
        command = ["unshare", "-m", "--propagation", "private", "bash", "-c", _V2_ONLY, "nspawn"]
        command += [
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
            f"--directory={self.path}",
        ]
        command += [f"--bind-ro={TRUSTED}"] + ([f"--bind-ro={source}:/src"] if source else []) + ["--boot"]
        with (
            (self.path.parent / f"{self.path.name}.log").open("wb") as log,
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT) as nspawn,
        ):
            try:
                yield Booted(self, _leader(nspawn))
            finally:
                nspawn.terminate()  # it lets the container shut down in order
                try:
                    nspawn.wait(BOOT_S)
                except subprocess.TimeoutExpired:
                    nspawn.kill()


class Booted:
    """A running container."""

    def __init__(self, root: Root, leader: int) -> None:
        self.root = root
        self._leader = leader
        deadline = time.monotonic() + BOOT_S
        while self.attempt("systemctl", "is-system-running")[1].strip() not in ("running", "degraded"):
            assert time.monotonic() < deadline, f"{root.path} does not boot: see {root.path}.log"
            time.sleep(POLL_S)

    def run(self, *command: str) -> str:
        """What the command prints; it has to succeed."""
        code, shown = self.attempt(*command)
        assert code == 0, f"{' '.join(command)} → {code}\n{shown}"
        return shown

    def attempt(self, *command: str) -> tuple[int, str]:
        """The command's exit status, and all that it prints."""
        passed_on = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        passed_on.pop("PIP_FIND_LINKS", None)  # a folder of the host
        done = subprocess.run(
            ["nsenter", "--target", str(self._leader), "--all", "--", *command],
            env={**passed_on, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_S,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def wait_for(self, *command: str, shows: str = "", within_s: float = 90.0) -> str:
        """What the command prints once it succeeds and shows that."""
        deadline = time.monotonic() + within_s
        while True:
            code, shown = self.attempt(*command)
            if code == 0 and shows in shown:
                return shown
            assert time.monotonic() < deadline, f"{' '.join(command)} → {code}\n{shown}"
            time.sleep(POLL_S)


def unpacked_root(distribution: Distribution, path: Path) -> Root:
    """A root of the distribution in the folder `path`, to be changed at will."""
    path.mkdir(parents=True)
    _run(["tar", "--numeric-owner", "-C", str(path), "-xf", str(tarball(distribution))], MAKE_S)
    return Root(path)


def _leader(nspawn: subprocess.Popen[bytes]) -> int:
    """The container's first process, as the host counts."""
    deadline = time.monotonic() + BOOT_S
    while time.monotonic() < deadline:
        assert nspawn.poll() is None, "systemd-nspawn ended"
        children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
        for child in children:
            if Path(f"/proc/{child}/comm").read_text().strip() in ("systemd", "init"):
                return int(child)
        time.sleep(POLL_S)
    raise AssertionError("the container has no first process")


def _run(command: list[str], timeout_s: float, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False, env=environment
    )
    assert done.returncode == 0, (
        f"{' '.join(command)} → {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout + done.stderr
