"""What a machine is to be: seen in its /proc and /sys, and written into its configuration."""

from pathlib import Path

import pytest

from provisioning.package.role import ROLES, detected_role, unit_of, with_roles, write_role
from provisioning.package.tree import DEBIAN
from swarm.config import parse_config
from swarm.errors import ConfigError

PI_3 = ("Raspberry Pi 3 Model B Rev 1.2\0", 948_304)
PI_5 = ("Raspberry Pi 5 Model B Rev 1.0\0", 8_000_000)


def machine(
    root: Path, *, board: str = "", memory_kb: int = 8_000_000, cards: tuple[tuple[str, str], ...] = ()
) -> Path:
    (root / "proc" / "device-tree").mkdir(parents=True)
    if board:
        (root / "proc/device-tree/model").write_text(board)
    (root / "proc/meminfo").write_text(f"MemTotal:       {memory_kb} kB\nMemFree: 1 kB\n")
    for number, (vendor, kind) in enumerate(cards):
        device = root / "sys/bus/pci/devices" / f"0000:0{number}:00.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text(vendor + "\n")
        (device / "class").write_text(kind + "\n")
    return root


def test_an_ordinary_computer_is_a_hub(tmp_path: Path) -> None:
    assert detected_role(machine(tmp_path, cards=(("0x8086", "0x030000"),))) == "hub"


def test_a_graphics_card_by_nvidia_makes_a_gpu_node(tmp_path: Path) -> None:
    assert detected_role(machine(tmp_path, cards=(("0x8086", "0x030000"), ("0x10de", "0x030200")))) == "gpu"


def test_only_the_sound_of_such_a_card_makes_none(tmp_path: Path) -> None:
    assert detected_role(machine(tmp_path, cards=(("0x10de", "0x040300"),))) == "hub"


def test_a_small_raspberry_pi_is_a_satellite_and_a_big_one_a_hub(tmp_path: Path) -> None:
    assert detected_role(machine(tmp_path / "3", board=PI_3[0], memory_kb=PI_3[1])) == "edge"
    assert detected_role(machine(tmp_path / "5", board=PI_5[0], memory_kb=PI_5[1])) == "hub"


def test_a_machine_that_tells_nothing_is_a_hub(tmp_path: Path) -> None:
    assert detected_role(tmp_path) == "hub"


@pytest.mark.parametrize(
    ("roles", "on_board", "unit"),
    [
        ((), False, "hub"),
        (("hub", "edge"), False, "hub"),
        (("hub", "edge"), True, "edge"),
        (("edge",), False, "edge"),
        (("worker",), True, "worker"),
        (("gpu", "worker", "hub"), False, "gpu"),
    ],
)
def test_the_unit_fits_the_most_demanding_role(roles: tuple[str, ...], on_board: bool, unit: str) -> None:
    assert unit_of(roles, on_board=on_board) == f"mycoswarm-{unit}.service"


CONFIGS = [
    "",
    "[node]\nname = 'attic'\n",
    "[swarm]\n",
    "[swarm]\nport = 7334\n[policy]\n",
    '[swarm]\nroles = ["hub"]  # mine\nport = 1\n',
    "# [swarm]\n[swarm]   # here\nport = 7334\nroles=[]\n\n[[routing.rule]]\ntype = 'chat'\n",
    (DEBIAN / "config.toml").read_text(),
]


@pytest.mark.parametrize("text", CONFIGS)
@pytest.mark.parametrize("role", ROLES)
def test_roles_are_written_and_nothing_else_changes(text: str, role: str) -> None:
    before, after = parse_config(text, origin="before"), parse_config(with_roles(text, ROLES[role]), origin="after")
    assert after.swarm.roles == ROLES[role]
    assert (after.node.state_dir, after.swarm.port, after.routing) == (
        before.node.state_dir,
        before.swarm.port,
        before.routing,
    )
    kept = [line for line in text.splitlines() if line and not line.startswith("roles")]
    assert [line for line in with_roles(text, ROLES[role]).splitlines() if line in kept] == kept


def test_writing_a_role_twice_changes_the_file_once(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    write_role("edge", config, DEBIAN / "config.toml")
    first = config.stat()
    write_role("edge", config, DEBIAN / "config.toml")
    assert config.stat().st_mtime_ns == first.st_mtime_ns
    assert config.stat().st_mode & 0o777 == 0o640


def test_roles_written_in_an_odd_way_are_told_and_left_alone(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    text = 'swarm = { roles = ["hub"] }\n'
    config.write_text(text)
    with pytest.raises(ConfigError, match="in a way that was not found"):
        write_role("edge", config)
    assert config.read_text() == text
