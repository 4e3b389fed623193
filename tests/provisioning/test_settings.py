import subprocess
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from provisioning.settings import (
    AUDIO_BOARDS,
    BOARDS_WITH_BUTTON,
    MAX_BYTES,
    AudioSettings,
    SatelliteSettings,
    Settings,
    WifiNetwork,
    combined,
    node_config,
    parse_settings,
    read_settings,
    settings_toml,
    without_secrets,
)
from provisioning.ssh_keys import check_public_key
from swarm.config import parse_config
from swarm.errors import ConfigError, MycoswarmError
from swarm.tokens import JoinToken

TOKEN = JoinToken(b"i" * 8, b"s" * 16, b"p" * 32, "a" * 26, (("192.168.1.5", 7335),)).text()
TEXT = f"""hostname = "kitchen-pi"
token = "{TOKEN}"
roles = ["edge"]
time_zone = "Europe/Berlin"
locale = "de_DE.UTF-8"
country = "DE"
ntp = ["192.168.1.1"]

[[wifi]]
ssid = "attic"
password = "a b c d e f"
[[wifi]]
ssid = "garden"

[audio]
board = "usb"
speaker = "Jabra"

[satellite]
area = "Kitchen"
wake_words = ["hey_jarvis"]

[config.bus]
broker = "mqtt://me:secret@192.168.1.2"
[[config.wyoming.satellites]]
url = "tcp://192.168.1.31:10700"
name = "hall"
"""


def test_everything_said_is_read_and_written_again() -> None:
    settings = parse_settings(TEXT, origin="mycoswarm.toml")
    assert settings.wifi == (WifiNetwork("attic", "a b c d e f"), WifiNetwork("garden"))
    assert settings.audio == AudioSettings(board="usb", speaker="Jabra")
    assert parse_settings(settings_toml(settings), origin="again") == settings


def test_an_empty_file_settles_nothing() -> None:
    assert parse_settings("", origin="mycoswarm.toml") == Settings()
    assert settings_toml(Settings()) == ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"kitchen-pi"', '"Kitchen_Pi"', ":1: hostname: has to be small letters"),
        ('"kitchen-pi"', '"kitchen-pi\\n"', ":1: hostname: has to be small letters"),
        (TOKEN, TOKEN[:-2], ":2: token: the join token is not complete"),
        ('"edge"', '"egde"', ":3: roles: has to be any of"),
        ("Berlin", "Berln", "did you mean Europe/Berlin?"),
        ("de_DE.UTF-8", "deutsch", ":5: locale: has to be a language"),
        ('"DE"', '"Germany"', ":6: country: has to be two capital letters"),
        ('"a b c d e f"', '"short"', ":11: wifi.password"),
        ('ssid = "garden"', 'sid = "garden"', ":12: wifi"),
        ('"usb"', '"hat"', ":16: audio.board: has to be one of none, usb"),
        ("area", "aera", "did you mean satellite.area?"),
        ("hey_jarvis", "hey_you", ":21: satellite.wake_words"),
        ("broker", "brocker", ":24: bus.brocker: no such key"),
        ('name = "hall"', 'nmae = "hall"', ":25: "),
        ("[config.bus]", "[config.satellite]\narea = 'Hall'\n[config.bus]", ":24: config.satellite.area says 'Hall'"),
        ("country", "hostname", "not valid TOML"),
        ("country", "county", "did you mean country?"),
        ('country = "DE"', "wifi = 3", "TOML"),
        ('country = "DE"', 'roles = "edge"', "TOML"),
        ('country = "DE"', 'ssh_keys = ["-----BEGIN OPENSSH PRIVATE KEY-----"]', ":6: ssh_keys: that is a private key"),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError) as caught:
        parse_settings(TEXT.replace(old, new, 1), origin="mycoswarm.toml")
    assert said in caught.value.for_person()
    assert caught.value.for_person().startswith("mycoswarm.toml:")
    assert "secret" not in caught.value.for_person()


def test_a_file_of_windows_is_read_and_a_huge_or_binary_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "mycoswarm.toml"
    path.write_bytes(b'\xef\xbb\xbfhostname = "attic"\r\n')
    assert read_settings(path).hostname == "attic"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="no UTF-8"):
        read_settings(path)
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="larger"):
        read_settings(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_settings(tmp_path / "none")


def test_secrets_are_taken_out_and_never_printed() -> None:
    settings = parse_settings(TEXT, origin="mycoswarm.toml")
    assert not any(word in f"{settings!r} {settings.wifi!r}" for word in ("secret", "a b c", "MYCO1"))
    left = settings_toml(without_secrets(settings))
    assert not any(word in left for word in ("secret", "a b c", "MYCO1"))
    assert "kitchen-pi" in left and "Europe/Berlin" in left


def test_what_one_source_leaves_open_another_fills() -> None:
    first = Settings(hostname="hall", audio=AudioSettings(speaker="Jabra"))
    second = Settings(
        hostname="other", country="DE", audio=AudioSettings(board="usb"), satellite=SatelliteSettings(area="Hall")
    )
    assert combined(first, second) == Settings(
        hostname="hall",
        country="DE",
        audio=AudioSettings(board="usb", speaker="Jabra"),
        satellite=SatelliteSettings(area="Hall"),
    )


def test_the_nodes_own_configuration_follows() -> None:
    assert node_config(parse_settings(TEXT, origin="mycoswarm.toml")) == {
        "bus": {"broker": "mqtt://me:secret@192.168.1.2"},
        "wyoming": {"satellites": [{"url": "tcp://192.168.1.31:10700", "name": "hall"}]},
        "satellite": {"speaker": "Jabra", "area": "Kitchen", "wake_words": ["hey_jarvis"]},
        "node": {"name": "kitchen-pi"},
        "swarm": {"roles": ["edge"]},
    }


@pytest.mark.parametrize("board", AUDIO_BOARDS)
def test_the_node_takes_what_follows_from_each_board(board: str) -> None:
    settings = parse_settings(f'[audio]\nboard = "{board}"', origin="x")
    parsed = parse_config(tomli_w.dumps(node_config(settings)), origin="config.toml")
    assert parsed.satellite.board == (board if board in BOARDS_WITH_BUTTON else "none")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_public_keys_of_ssh_keygen_are_taken_and_broken_ones_refused(kind: str, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / "key"], check=True)
    line = (tmp_path / "key.pub").read_text().strip()
    assert check_public_key(line) in line
    for wrong in (line[:30], f'command="sh" {line}', f"{line}\n{line}", line.replace("AAAA", "AAAB", 1), "", "ssh-rsa"):
        with pytest.raises(MycoswarmError):
            check_public_key(wrong)
    with pytest.raises(MycoswarmError, match="private key"):
        check_public_key((tmp_path / "key").read_text())


@examples(max_examples=30)
@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_as_a_mistake(text: str) -> None:
    try:
        settings = parse_settings(text, origin="x")
    except ConfigError:
        return
    assert parse_settings(settings_toml(settings), origin="again") == settings


@examples(max_examples=30)
@given(
    st.builds(
        Settings,
        hostname=st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?\Z"),
        wifi=st.lists(
            st.builds(
                WifiNetwork,
                ssid=st.text(st.characters(min_codepoint=32, exclude_categories=["C"]), min_size=1, max_size=8),
                password=st.from_regex(r"\A[ -~]{8,63}\Z"),
                hidden=st.booleans(),
            ),
            max_size=8,
        ).map(tuple),
        satellite=st.builds(
            SatelliteSettings, area=st.text(st.characters(min_codepoint=32, exclude_categories=["C"]), max_size=30)
        ),
    )
)
def test_all_settings_survive_the_file(settings: Settings) -> None:
    assert parse_settings(settings_toml(settings), origin="again") == settings
