"""`install.sh` and the Debian package on systems as people have them: Debian 12 and 13, Ubuntu 24.04."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import ROOT
from tests.images.roots import BOOKWORM, DISTRIBUTIONS, TRIXIE, Booted, Distribution, Root, unpacked_root

CONFIG = "/etc/mycoswarm/config.toml"
STATE = "/var/lib/mycoswarm"
OLDER = "0.0.9"
OF_TIMERS = "set at"
"""Stands above a list of timers that is not empty."""
UNITS = "ls /usr/lib/systemd/system/mycoswarm*"
NEITHER_OURS = (
    *("var/cache/", "var/lib/apt/", "var/log/", "var/lib/dpkg/", "tmp/", "var/tmp/", "run/", "root/"),
    *("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/subuid", "etc/subgid"),  # compared line by line
    *("var/lib/systemd/", "etc/machine-id", "etc/ld.so.cache", "etc/resolv.conf", "src", "etc/.pwd.lock"),
)
"""What apt, dpkg and a booting systemd keep for themselves."""
OF_MOSQUITTO = ("var/lib/mosquitto",)
"""What Debian's package of the broker leaves of itself when it is purged."""


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as it is now: people edit while tests run."""
    return _copy_of_source(tmp_path_factory.mktemp("source") / "mycoswarm")


@pytest.fixture(scope="session")
def packages(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages for Debian 12 and 13, of today's version and of an older one."""
    folder = tmp_path_factory.mktemp("packages")
    older = _copy_of_source(tmp_path_factory.mktemp("older") / "mycoswarm")
    version = _version_of(source)
    for name in ("pyproject.toml", "swarm/__init__.py"):
        text = (older / name).read_text()
        assert f'version = "{version}"' in text or f'__version__ = "{version}"' in text
        (older / name).write_text(text.replace(f'"{version}"', f'"{OLDER}"'))
    for tree, distribution in ((older, TRIXIE), (source, TRIXIE), (source, BOOKWORM)):
        _build(tree, distribution, folder)
    return folder


@pytest.fixture
def root_of(tmp_path: Path) -> Iterator[RootOf]:
    made = RootOf(tmp_path)
    yield made
    for root in made.made:
        shutil.rmtree(root.path, ignore_errors=True)


class RootOf:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Root] = []

    def __call__(self, distribution: Distribution) -> Root:
        self.made.append(unpacked_root(distribution, self.folder / distribution.suite))
        return self.made[-1]


@pytest.mark.parametrize("suite", DISTRIBUTIONS)
def test_install_sh_installs_answers_and_leaves_without_trace(suite: str, source: Path, root_of: RootOf) -> None:
    root = root_of(DISTRIBUTIONS[suite])
    with root.booted(source=source) as machine:
        machine.run("apt-get", "-q=2", "update")
        # Recommended by Debian's apt, so systems have it; in a root this small the broker would bring it.
        machine.run("apt-get", "-q=2", "--yes", "--no-install-recommends", "install", "adduser")
        before, users, had = root.files(), _accounts(root), _installed(machine)
        shown = machine.run("/src/install.sh")
        assert "mycoswarm is installed: hub, edge (mycoswarm-hub.service)" in shown
        _assert_answers(machine)
        machine.run("sh", "-c", f"systemd-analyze verify --man=no $({UNITS})")
        assert "nothing changed" in machine.run("/src/install.sh")
        left = {name for name in _installed(machine) - had if name.endswith(("-venv", "-dev", "-whl")) or name == "gcc"}
        assert left == set(), "what building needed is gone again"

        machine.run("sed", "-i", "s/^# mycoswarm on/# MINE/", CONFIG)
        machine.run("/src/install.sh", "--role", "worker")
        machine.wait_for("systemctl", "is-active", "mycoswarm-worker.service")
        assert machine.attempt("systemctl", "is-enabled", "mycoswarm-hub.service")[0] != 0
        assert "# MINE" in machine.run("cat", CONFIG)

        machine.run("/src/install.sh", "--uninstall")
        assert machine.attempt("systemctl", "is-active", "mycoswarm-worker.service")[0] != 0
        assert "# MINE" in machine.run("cat", CONFIG)
        machine.run("test", "-s", f"{STATE}/mycoswarm.db")
        assert "usr/lib/mycoswarm" not in root.files()

        machine.run("/src/install.sh", "--uninstall", "--purge")
        assert "not installed" in machine.run("/src/install.sh", "--uninstall", "--purge")
        assert _differences(before, root.files()) == []
        assert _accounts(root) - users - {"mosquitto"} == set()


def test_an_upgrade_keeps_configuration_and_data(packages: Path, root_of: RootOf) -> None:
    root = root_of(TRIXIE)
    shutil.copytree(packages, root.path / "packages")
    with root.booted() as machine:
        machine.run("apt-get", "-q=2", "update")
        _apt(machine, f"/packages/mycoswarm_{OLDER}+py3.13_amd64.deb")
        _assert_answers(machine)
        machine.run("sh", "-c", f"echo '[people]\nport = 7399' >> {CONFIG}")
        config = machine.run("cat", CONFIG)
        machine.run("mycoswarm", "role", "hub")
        machine.wait_for("mycoswarm", "ask", "set a timer for three hours")

        _apt(machine, f"/packages/{_newest(packages, TRIXIE)}")
        assert machine.run("cat", CONFIG) == config
        assert OLDER not in machine.run("mycoswarm", "--version")
        machine.wait_for("systemctl", "is-active", "mycoswarm-hub.service")
        assert "7399" in machine.wait_for("mycoswarm", "doctor", "--json", shows='"node"')
        machine.wait_for("mycoswarm", "timers", shows=OF_TIMERS)
        assert machine.run("stat", "-c", "%U:%G %a", CONFIG).strip() == "root:mycoswarm 640"

        machine.run("apt-get", "-q=2", "--yes", "remove", "mycoswarm")
        _apt(machine, f"/packages/{_newest(packages, TRIXIE)}")
        assert machine.run("cat", CONFIG) == config
        machine.wait_for("systemctl", "is-active", "mycoswarm-hub.service")
        machine.wait_for("mycoswarm", "timers", shows=OF_TIMERS)


def test_root_leaves_nothing_that_the_node_cannot_read(packages: Path, root_of: RootOf) -> None:
    root = root_of(BOOKWORM)
    shutil.copytree(packages, root.path / "packages")
    with root.booted() as machine:
        machine.run("apt-get", "-q=2", "update")
        _apt(machine, f"/packages/{_newest(packages, BOOKWORM)}")
        machine.run("mycoswarm", "init")
        machine.run("mycoswarm", "invite")
        owners = machine.run("find", STATE, "-printf", "%u\n").split()
        assert set(owners) == {"mycoswarm"}
        machine.run("systemctl", "restart", "mycoswarm-hub.service")
        assert "hub" in machine.wait_for("mycoswarm", "nodes")
        code, shown = machine.attempt("runuser", "-u", "nobody", "--", "mycoswarm", "ask", "hello")
        assert code == 2
        assert "sudo mycoswarm" in shown


def test_in_a_chroot_nothing_is_detected_enabled_or_started(packages: Path, root_of: RootOf) -> None:
    root = root_of(TRIXIE)
    shutil.copytree(packages, root.path / "packages")
    package = f"/packages/{_newest(packages, TRIXIE)}"
    root.chrooted("apt-get", "-q=2", "update")
    root.chrooted("apt-get", "-q=2", "--yes", "--no-install-recommends", "install", package)
    enabled = root.path / "etc/systemd/system/mycoswarm.target.wants"
    assert not list(enabled.glob("*"))
    assert "roles = []" in (root.path / CONFIG[1:]).read_text()
    root.chrooted("mycoswarm", "role", "edge")
    assert [each.name for each in enabled.iterdir()] == ["mycoswarm-edge.service"]
    assert 'roles = ["edge"]' in (root.path / CONFIG[1:]).read_text()
    modules = root.path / "usr/lib/mycoswarm/lib/python3.13/site-packages/swarm"
    assert (modules / "__pycache__/cli.cpython-313.pyc").exists()
    root.chrooted("dpkg", "--verify", "mycoswarm")


def test_what_cannot_be_is_told_before_anything_changes(source: Path, root_of: RootOf) -> None:
    root = root_of(BOOKWORM)
    shutil.copytree(source, root.path / "src")
    before = root.files()
    release = root.path / "etc/os-release"
    known = release.read_text()
    for text, said in (
        ('ID=fedora\nVERSION_ID=41\nPRETTY_NAME="Fedora Linux 41"\n', "this is Fedora Linux 41"),
        ('ID=raspbian\nVERSION_ID=12\nPRETTY_NAME="Raspbian 12"\n', "64-bit Raspberry Pi OS"),
        (known, "would then build" if not (root.path / "usr/bin/python3.11").exists() else "Building the package"),
    ):
        release.unlink()
        release.write_text(text)
        assert said in _told(root, "/src/install.sh", "--dry-run")
    assert "only root" in _told(root, "setpriv", "--reuid=65534", "/src/install.sh")
    assert "no role" in _told(root, "/src/install.sh", "--role", "king")
    after = root.files()
    assert _differences({**before, "etc/os-release": ""}, {**after, "etc/os-release": ""}) == []


def test_lintian_has_no_complaint_that_is_not_explained(packages: Path) -> None:
    shown = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", packages / _newest(packages, TRIXIE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout


def test_two_builds_of_the_same_source_are_the_same_bytes(packages: Path, source: Path, tmp_path: Path) -> None:
    again = _build(source, TRIXIE, tmp_path)
    assert again.read_bytes() == (packages / again.name).read_bytes()


# ---- what the tests share


def _assert_answers(machine: Booted) -> None:
    machine.wait_for("systemctl", "is-active", "mycoswarm-hub.service")
    assert ":" in machine.wait_for("mycoswarm", "ask", "what time is it")


def _installed(machine: Booted) -> set[str]:
    return set(machine.run("dpkg-query", "-W", "-f", "${Package}\n").split())


def _apt(machine: Booted, package: str) -> None:
    machine.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q=2", "--yes", "install", package)


def _told(root: Root, *command: str) -> str:
    try:
        return root.chrooted(*command)
    except AssertionError as error:
        return str(error)


def _differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    return sorted(path for path in changed if not path.startswith((*NEITHER_OURS, *OF_MOSQUITTO)))


def _accounts(root: Root) -> set[str]:
    files = (root.path / "etc" / name for name in ("passwd", "group", "shadow", "gshadow"))
    return {line.split(":")[0] for file in files for line in file.read_text().splitlines()}


def _copy_of_source(to: Path) -> Path:
    """What a checkout has."""
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


def _version_of(tree: Path) -> str:
    from provisioning.package.source import Source

    return Source(tree).version


def _build(tree: Path, distribution: Distribution, out: Path) -> Path:
    command = [sys.executable, "-B", "-m", "provisioning.package", "build", "--arch", "amd64"]
    done = subprocess.run(
        [*command, "--python", distribution.python, "--out", str(out)],
        cwd=tree,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def _newest(packages: Path, distribution: Distribution) -> str:
    found = [each.name for each in packages.glob(f"*+py{distribution.python}_*.deb") if OLDER not in each.name]
    assert len(found) == 1, found
    return found[0]
