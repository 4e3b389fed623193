"""The static files of `systemd/`, judged by the programs that will read them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / "systemd"
IMAGE_UNITS = HERE / "image/usr/lib/systemd/system"
SYSTEM = Path("/usr/lib/systemd/system")
ROLES = ("edge", "hub", "worker", "gpu")
EXPOSED_AT_MOST = 20
"""Tenths; more must be explained in the unit, by the name of the program that says so."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not SYSTEM.is_dir(),
    reason="systemd-analyze is not installed here: the units are looked at where it is (package systemd)",
)


def _services() -> list[Path]:
    return sorted([*HERE.glob("*.service"), *IMAGE_UNITS.glob("*.service")])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which our units lie beside this machine's, with a stand-in for each program that they start."""
    made = tmp_path_factory.mktemp("root")
    units = made / "usr/lib/systemd/system"
    shutil.copytree(SYSTEM, units, symlinks=True)
    for each in HERE.glob("mycoswarm*"):
        shutil.copy(each, units)
    shutil.copytree(IMAGE_UNITS, units, dirs_exist_ok=True)
    for unit in units.rglob("mycoswarm*"):
        if unit.is_file():
            for program in re.findall(r"^Exec\w+=[-+@:!|]*(/\S+)", unit.read_text(), re.MULTILINE):
                stub = made / program[1:]
                stub.parent.mkdir(parents=True, exist_ok=True)
                stub.touch(0o755)
    return made


@needs_systemd
def test_systemd_finds_nothing_wrong(root: Path) -> None:
    ours = sorted(path.name for folder in (HERE, IMAGE_UNITS) for path in folder.glob("mycoswarm*") if path.is_file())
    assert len(ours) >= 10
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={root}", *ours], capture_output=True, text=True, check=False
    )
    about_ours = [line for line in said.stderr.splitlines() if "mycoswarm" in line]
    assert not about_ours and said.returncode == 0, said.stderr


@needs_systemd
@pytest.mark.parametrize("unit", _services(), ids=lambda unit: unit.name)
def test_service_is_sealed_or_says_why_not(unit: Path, root: Path) -> None:
    said = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            f"--root={root}",
            f"--threshold={EXPOSED_AT_MOST}",
            unit.name,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    verdict = re.search(r"Overall exposure level for \S+: ([\d.]+)", said.stdout)
    assert verdict, said.stderr
    if said.returncode:
        assert "systemd-analyze security" in unit.read_text(), f"{verdict[0]}, and the unit does not say why"


def _beyond_the_role(unit: Path) -> list[str]:
    """What all four have: without the part of this role, and what says which role it is."""
    own, _, rest = unit.read_text().partition("# ---- Of this role")
    common = own.partition("[Unit]")[2] + rest.partition("# ---- Hardening")[2].partition("# Without these")[0]
    return [
        line
        for line in common.splitlines()
        if not line.startswith(("Description=", "Conflicts=", "After=", "Wants=", "#"))
    ]


def test_roles_differ_in_nothing_but_their_own_part() -> None:
    units = [HERE / f"mycoswarm-{role}.service" for role in ROLES]
    first = _beyond_the_role(units[0])
    assert len(first) > 40
    for unit in units[1:]:
        assert _beyond_the_role(unit) == first, unit.name


def test_one_role_excludes_the_others() -> None:
    for role in ROLES:
        (excluded,) = re.findall(r"^Conflicts=(.*)$", (HERE / f"mycoswarm-{role}.service").read_text(), re.MULTILINE)
        assert set(excluded.split()) == {f"mycoswarm-{other}.service" for other in ROLES if other != role}


def test_units_allow_the_networks_that_the_program_itself_allows() -> None:
    from swarm.egress import is_lan

    (allowed,) = set(
        re.findall(
            r"^IPAddressAllow=(.*)$",
            "".join((HERE / f"mycoswarm-{role}.service").read_text() for role in ROLES),
            re.MULTILINE,
        )
    )
    named = {"localhost": ["127.0.0.1", "::1"], "link-local": ["169.254.1.1", "fe80::1"], "multicast": []}
    for word in allowed.split():
        for address in named.get(word, [word.partition("/")[0].replace(".0.0.0", ".0.0.1")]):
            assert is_lan(address), address


def test_package_changes_nothing_of_a_machine_that_a_person_has() -> None:
    ours = {path.relative_to(HERE).as_posix() for path in HERE.rglob("*") if path.is_file()}
    everywhere = {path for path in ours if not path.startswith("image/")}
    assert not [path for path in everywhere if re.search(r"nft|journald|zram|timesync|sysctl|system\.conf|ssh", path)]
    assert "image/etc/nftables.conf" in ours


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a network namespace to try the rules in")
def test_firewall_loads_twice_and_takes_a_persons_line() -> None:
    rules = HERE / "image/etc/nftables.conf"
    line = "add element inet mycoswarm opened_tcp { 10300, 10700 }"
    tried = subprocess.run(
        ["unshare", "--net", "sh", "-euc", f"nft -f {rules}; nft -f {rules}; nft '{line}'; nft list ruleset"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )
    assert tried.returncode == 0, tried.stderr
    assert "hook input priority filter; policy drop" in tried.stdout
    assert tried.stdout.count("chain input") == 1 and "10300, 10700" in tried.stdout


def _scripts() -> list[Path]:
    return [
        path for path in (HERE / "image").rglob("*") if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh")
    ]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed here")
def test_scripts_have_nothing_that_shellcheck_warns_of() -> None:
    scripts = _scripts()
    assert scripts
    said = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("asked", ["", "soon", "-5", "12; reboot", "1", "99999999999", "4102444800"])
def test_clock_is_not_set_to_what_is_no_time_of_this_image(asked: str, tmp_path: Path) -> None:
    file = tmp_path / "clock"
    file.write_text(asked)
    tried = subprocess.run(
        [HERE / "image/usr/lib/mycoswarm/set-clock", file], capture_output=True, text=True, check=False
    )
    assert tried.returncode == 1 and "the node asked for" in tried.stderr
    assert not file.exists()
