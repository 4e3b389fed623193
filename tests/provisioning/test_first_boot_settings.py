"""A person's settings on the FAT partition become the machine's files, and their secrets leave it."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from provisioning.first_boot import steps
from provisioning.first_boot.applying import own_name, unit_for, wpa_supplicant_conf
from provisioning.first_boot.board import say_board
from provisioning.first_boot.machine import Machine
from provisioning.first_boot.reading import Unreadable, settings_in
from provisioning.first_boot.steps import FirstBoot
from provisioning.settings import Settings, WifiNetwork
from swarm.config import parse_config
from swarm.tokens import JoinToken

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBq1f8bQhJvKfVxJw4E3b6m8pQ7sT0uYxWzA1B2C3D4E anna@desk"
TOKEN = JoinToken(b"12345678", b"0123456789abcdef", b"p" * 32, "a" * 26, (("192.168.1.2", 7335),)).text()
PASSWORD = 'a "quoted" #secret'
WHOLE = f"""
hostname = "kitchen-pi"
token = "{TOKEN}"
time_zone = "Europe/Berlin"
locale = "en_GB.UTF-8"
ssh_keys = ["{KEY}"]
ntp = ["192.168.1.1"]
country = "DE"
[[wifi]]
ssid = "Zu Hause ☕"
password = '{PASSWORD}'
[satellite]
area = "Kitchen"
[config.bus]
broker = "mqtt://user:brokersecret@192.168.1.10"
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    for folder in (machine.boot, machine.data, machine.ssh, machine.state, machine.run, tmp_path / "etc"):
        folder.mkdir(parents=True)
    (tmp_path / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    for zone in ("Europe/Berlin", "Etc/UTC"):
        (machine.zones / zone).parent.mkdir(parents=True, exist_ok=True)
        (machine.zones / zone).write_text("TZif")
    machine.image_config.parent.mkdir(parents=True)
    machine.image_config.write_text('[swarm]\nroles = ["edge"]\n')
    return machine


def boot(machine: Machine) -> list[str]:
    run = FirstBoot(machine)
    run.prepare()
    return run.problems


def everything_on(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_settings_become_files_and_their_secrets_leave_the_card(machine: Machine) -> None:
    (machine.boot / "mycoswarm.toml").write_text(WHOLE)
    assert boot(machine) == []
    assert machine.done.exists()
    assert (machine.etc / "hostname").read_text() == "kitchen-pi\n"
    assert str((machine.etc / "localtime").readlink()) == "/usr/share/zoneinfo/Europe/Berlin"
    assert (machine.etc / "locale.conf").read_text() == "LANG=en_GB.UTF-8\n"
    assert "NTP=192.168.1.1\n" in (machine.etc / "timesyncd.conf").read_text()
    assert (machine.ssh / "authorized_keys").read_text() == f"{KEY}\n"
    assert (machine.ssh / "ssh_host_ed25519_key").read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert machine.token.read_text() == TOKEN
    config = parse_config(machine.node_config.read_text(), origin="")
    assert (config.node.name, config.node.state_dir) == ("kitchen-pi", "/var/lib/mycoswarm")
    assert (config.satellite.area, config.swarm.roles) == ("Kitchen", ("edge",))
    assert config.bus.broker.startswith("mqtt://user:")
    assert [path.name for path in machine.wanted_units.iterdir()] == ["mycoswarm-edge.service"]
    secrets = (machine.token, machine.wifi_config, machine.applied, machine.ssh / "ssh_host_ed25519_key")
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    on_card = everything_on(machine.boot)
    for secret in (TOKEN, PASSWORD, "brokersecret", "Hause"):
        assert secret.encode() not in on_card
    assert b"kitchen-pi" in on_card
    assert [path.name for path in machine.boot.iterdir()] == ["mycoswarm-applied.toml"]


def test_machine_without_settings_gets_a_name_of_its_own_and_no_ssh(machine: Machine) -> None:
    assert boot(machine) == []
    name = (machine.etc / "hostname").read_text().strip()
    assert name == own_name("0123456789abcdef0123456789abcdef", ("edge",))
    assert name != own_name("1123456789abcdef0123456789abcdef", ("edge",))
    assert not (machine.ssh / "ssh_host_ed25519_key").exists()
    assert not (machine.ssh / "authorized_keys").exists()
    assert not machine.token.exists()
    assert (machine.etc / "timesyncd.conf").read_text() == "[Time]\nNTP=\nFallbackNTP=\n"


def test_second_boot_changes_nothing(machine: Machine) -> None:
    (machine.boot / "mycoswarm.toml").write_text(WHOLE)
    boot(machine)
    machine.token.unlink()  # used meanwhile
    before = {path: path.stat().st_mtime_ns for path in machine.data.rglob("*") if path.is_file()}
    assert boot(machine) == []
    assert {path: path.stat().st_mtime_ns for path in machine.data.rglob("*") if path.is_file()} == before


def test_new_file_changes_what_it_names_and_nothing_else(machine: Machine) -> None:
    (machine.boot / "mycoswarm.toml").write_text(WHOLE)
    boot(machine)
    machine.token.unlink()
    (machine.boot / "mycoswarm.toml").write_text('roles = ["hub"]\n[satellite]\nwake_words = ["alexa"]\n')
    assert boot(machine) == []
    config = parse_config(machine.node_config.read_text(), origin="")
    assert config.swarm.roles == ("hub",)
    assert (config.satellite.area, config.satellite.wake_words) == ("Kitchen", ("alexa",))
    assert PASSWORD in machine.wifi_config.read_text()
    assert not machine.token.exists()
    assert [path.name for path in machine.wanted_units.iterdir()] == ["mycoswarm-hub.service"]


def test_raspberry_pi_imagers_files_are_applied_and_removed(machine: Machine) -> None:
    (machine.boot / "user-data").write_text(
        "#cloud-config\nhostname: bedroom\ntimezone: Europe/Berlin\nusers:\n- name: anna\n"
        f"  passwd: $5$hash\n  ssh_authorized_keys:\n  - {KEY}\nruncmd:\n- reboot\n"
    )
    (machine.boot / "network-config").write_text(
        'network:\n  version: 2\n  wifis:\n    wlan0:\n      regulatory-domain: "DE"\n      access-points:\n'
        '        "Home":\n          password: "topsecret"\n'
    )
    (machine.boot / "meta-data").write_text("instance-id: x\n")
    assert boot(machine) == []
    assert (machine.etc / "hostname").read_text() == "bedroom\n"
    assert 'psk="topsecret"' in machine.wifi_config.read_text()
    assert (machine.ssh / "authorized_keys").read_text() == f"{KEY}\n"
    assert b"topsecret" not in everything_on(machine.boot)
    assert [path.name for path in machine.boot.iterdir()] == ["mycoswarm-applied.toml"]


def test_one_mistake_does_not_cost_the_rest(machine: Machine) -> None:
    text = WHOLE.replace("Europe/Berlin", "Europe/Bärlin").replace("[satellite]", "[satellite]\nwake_words = ['hal']")
    (machine.boot / "mycoswarm.toml").write_text(text + "[config.node]\nlanguages = 'de'\n")
    problems = boot(machine)
    assert len(problems) == 3
    assert any("mycoswarm.toml:4: time_zone: " in each for each in problems)
    assert any("wake_words" in each for each in problems)
    assert any("languages" in each for each in problems)
    assert (machine.boot / "mycoswarm-problems.txt").read_text().splitlines() == problems
    assert (machine.run / "problems").read_text().splitlines() == problems
    config = parse_config(machine.node_config.read_text(), origin="")
    assert (config.node.name, config.satellite.area) == ("kitchen-pi", "Kitchen")
    assert config.bus.broker
    assert PASSWORD in machine.wifi_config.read_text()
    assert machine.token.exists()
    assert machine.done.exists()


def test_file_that_cannot_be_read_stays_to_be_mended_and_the_machine_comes_up(machine: Machine) -> None:
    (machine.boot / "mycoswarm.toml").write_text('hostname = "kitchen\n')
    [problem] = boot(machine)
    assert "mycoswarm.toml: not valid TOML" in problem
    assert parse_config(machine.node_config.read_text(), origin="").swarm.roles == ("edge",)
    assert (machine.boot / "mycoswarm.toml").exists()
    (machine.boot / "mycoswarm.toml").write_text('hostname = "kitchen"\n')
    assert boot(machine) == []
    assert (machine.etc / "hostname").read_text() == "kitchen\n"
    assert machine.done.exists()
    assert not (machine.boot / "mycoswarm-problems.txt").exists()


def test_power_cut_at_every_write_leaves_a_machine_that_ends_the_same(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each boot is cut at one write or removal later than the one before."""
    (machine.boot / "mycoswarm.toml").write_text(WHOLE)
    left = 0

    class PowerCut(BaseException):
        pass

    def cut_before(real: object) -> object:
        def does(*args: object, **named: object) -> object:
            nonlocal left
            if left == 0:
                raise PowerCut
            left -= 1
            return real(*args, **named)  # type: ignore[operator]

        return does

    for name in ("write_file", "write_link", "erase_file"):
        monkeypatch.setattr(steps, name, cut_before(getattr(steps, name)))
    cuts = 0
    for allowed in range(100):
        left = allowed
        try:
            FirstBoot(machine).prepare()
            break
        except PowerCut:
            cuts += 1
            assert machine.token.exists() or (machine.boot / "mycoswarm.toml").exists()
    assert cuts > 8
    assert machine.done.exists()
    assert machine.token.read_text() == TOKEN
    assert PASSWORD in machine.wifi_config.read_text()
    assert TOKEN.encode() not in everything_on(machine.boot)
    assert not list(tmp_path.rglob(".*-*"))


def test_firmware_is_told_of_the_sound_board_once_and_the_machine_starts_once_more(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = [tmp_path / "slot-a", tmp_path / "slot-b"]
    for slot in slots:
        slot.mkdir()
    # Mounting FAT is left out: kernels of test machines do not know it.
    monkeypatch.setattr(steps, "fit_board", lambda _, text: True in [say_board(slot, text) for slot in slots])
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("Raspberry Pi 4")
    (machine.boot / "mycoswarm.toml").write_text('[audio]\nboard = "respeaker-2mic"\n')
    assert boot(machine) == []
    assert {(slot / "board.txt").read_text() for slot in slots} == {"dtoverlay=respeaker-2mic\n"}
    (machine.ask / "reboot").unlink()
    assert boot(machine) == []
    assert not (machine.ask / "reboot").exists()
    assert machine.done.exists()


def test_settings_stay_on_the_card_where_nothing_can_be_kept(machine: Machine) -> None:
    (machine.boot / "mycoswarm.toml").write_text(WHOLE)
    machine.data_lost.write_text("/dev/mmcblk0p7 could not be mounted\n")
    [problem] = boot(machine)
    assert "/dev/mmcblk0p7 could not be mounted" in problem
    assert (machine.boot / "mycoswarm.toml").read_text() == WHOLE
    assert PASSWORD in machine.wifi_config.read_text()


@pytest.mark.parametrize(
    ("network", "lines"),
    [
        (WifiNetwork("Home"), ["ssid=486f6d65", "key_mgmt=NONE"]),
        (WifiNetwork("Home", "x" * 8), ['psk="xxxxxxxx"', "key_mgmt=WPA-PSK WPA-PSK-SHA256 SAE"]),
        (WifiNetwork("Home", "AB" * 32), [f"psk={'ab' * 32}", "key_mgmt=WPA-PSK WPA-PSK-SHA256"]),
        (WifiNetwork("}\nssid", "x" * 8, hidden=True), ["ssid=7d0a73736964", "scan_ssid=1"]),
    ],
)
def test_wifi_as_wpa_supplicant_reads_it(network: WifiNetwork, lines: list[str]) -> None:
    said = [line.strip() for line in wpa_supplicant_conf(Settings(wifi=(network,), country="DE")).splitlines()]
    assert set(lines) <= set(said)
    assert "country=DE" in said


@pytest.mark.parametrize(
    ("roles", "board", "pc"),
    [
        (("hub", "edge"), "edge", "hub"),
        (("edge",), "edge", "edge"),
        (("hub", "gpu"), "gpu", "gpu"),
        (("worker",), "worker", "worker"),
        ((), "worker", "worker"),
    ],
)
def test_unit_is_the_one_that_may_do_what_the_roles_need(roles: tuple[str, ...], board: str, pc: str) -> None:
    assert unit_for(roles, is_board=True) == f"mycoswarm-{board}.service"
    assert unit_for(roles, is_board=False) == f"mycoswarm-{pc}.service"


def test_what_is_no_settings_file_at_all_is_said() -> None:
    for data in (b"\xff\xfe", b"[", b"x" * 100_000):
        with pytest.raises(Unreadable):
            settings_in(data, origin="mycoswarm.toml")


def test_the_other_items_of_a_list_count() -> None:
    text = (
        'ntp = ["192.168.1.1", "no host!", "ntp.lan"]\n[[wifi]]\nssid = "A"\npassword = "short"\n[[wifi]]\nssid = "B"\n'
    )
    settings, wrong = settings_in(text.encode(), origin="f")
    assert settings.ntp == ("192.168.1.1", "ntp.lan")
    assert [each.ssid for each in settings.wifi] == ["B"]
    assert len(wrong) == 2
    assert tomllib.loads(text)["ntp"][0] == settings.ntp[0]
