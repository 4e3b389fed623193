import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from provisioning.image.imager import MAX_CHARS, read_imager
from provisioning.settings import Settings, WifiNetwork, parse_settings, settings_toml

HEX_KEY = "0123456789abcdef" * 4
USER_DATA = """#cloud-config
hostname: kitchen-pi
manage_etc_hosts: true
packages:
- avahi-daemon

apt:
  conf: |
    Acquire {
      Check-Date "false";
    };

timezone: Europe/Oslo
keyboard:
  model: pc105
  layout: "no"

enable_ssh: true
users:
- name: anna
  groups: users,adm,dialout,audio,netdev,video,plugdev,cdrom,games,input,gpio,spi,i2c,render,sudo
  shell: /bin/bash
  lock_passwd: false
  passwd: $5$abc$def
  ssh_authorized_keys:
    - KEY
  sudo: ALL=(ALL) NOPASSWD:ALL

ssh_pwauth: true

runcmd:
  - [ rfkill, unblock, wifi ]
"""
NETWORK_CONFIG = f"""network:
  version: 2
  wifis:
    wlan0:
      dhcp4: true
      regulatory-domain: NO
      access-points:
        "Hjemme \\"5 GHz\\"":
          hidden: true
          password: "{HEX_KEY}"
      optional: true
"""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ssh") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "anna@desk", "-f", path], check=True)
    return Path(f"{path}.pub").read_text().strip()


def test_what_imager_writes_is_read(key: str) -> None:
    found = read_imager(USER_DATA.replace("KEY", key), NETWORK_CONFIG, "instance-id: rpi-imager-1700000000\n")
    assert found.settings == Settings(
        hostname="kitchen-pi",
        time_zone="Europe/Oslo",
        country="NO",  # no boolean
        ssh_keys=(key,),
        wifi=(WifiNetwork('Hjemme "5 GHz"', HEX_KEY, hidden=True),),
    )
    assert [note for note in found.notes if "password" in note] == [
        "user-data: the password is not used: this system knows none, and ssh takes keys only"
    ]
    assert [note for note in found.notes if "runcmd" in note] != []
    assert [note for note in found.notes if "anna" in note] != []
    assert len(found.notes) == 3
    assert parse_settings(settings_toml(found.settings), origin="again") == found.settings


def test_older_form_of_the_network_and_an_open_one() -> None:
    found = read_imager(
        network_config='version: 2\nwifis:\n  wlan0:\n    access-points:\n      "cafe":\n        password: ""'
    )
    assert found.settings.wifi == (WifiNetwork("cafe"),)
    assert found.notes == ()


def test_hostname_comes_from_meta_data_when_nothing_else_says_one() -> None:
    assert read_imager(meta_data="local-hostname: attic").settings.hostname == "attic"
    assert read_imager(user_data="hostname: hall", meta_data="local-hostname: attic").settings.hostname == "hall"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("hostname: my_pi", "", ""), "hostname"),
        (("hostname: [a, b", "", ""), "line 1"),
        (("- a list", "", ""), "holds no settings"),
        (("a: &x [1]\nb: *x", "", ""), "alias"),
        (("hostname: !!python/object/apply:os.system [id]", "", ""), ""),
        (("x" * (MAX_CHARS + 1), "", ""), "longer"),
        (("[" * 5000, "", ""), "nested"),
        (("ssh_authorized_keys: [ssh-ed25519 AAAA]", "", ""), "mistyped"),
        (("", "wifis: {w: {access-points: {home: {password: short}}}}", ""), "password"),
        (("", "wifis: {w: {access-points: {work: {auth: {key-management: eap}}}}}", ""), "only networks"),
    ],
)
def test_what_is_wrong_is_a_note_and_nothing_of_it_is_used(files: tuple[str, str, str], said: str) -> None:
    found = read_imager(*files)
    assert found.settings == Settings()
    assert said in "\n".join(found.notes)


def test_one_wrong_value_leaves_the_others() -> None:
    found = read_imager("hostname: my_pi\ntimezone: Europe/Berlin", NETWORK_CONFIG)
    assert (found.settings.hostname, found.settings.time_zone, len(found.settings.wifi)) == ("", "Europe/Berlin", 1)


def test_secrets_stay_out_of_notes_and_of_what_is_printed() -> None:
    found = read_imager(
        network_config='wifis: {w: {access-points: {a: {password: "verysecret"}, b: {password: "s3cr€t-word"}}}}'
    )
    assert len(found.settings.wifi) == 1
    assert "secret" not in f"{found.settings!r}" and "s3cr" not in " ".join(found.notes)


@examples(max_examples=30)
@given(st.text(max_size=400), st.text(max_size=400), st.text(max_size=100))
@example("{", "wifis: [", "? :")
@example("hostname: {a: b}", "network: 3", "- ")
@example(
    "users: [[], {ssh_authorized_keys: {a: b}}, {ssh_authorized_keys: [[], {}]}]",
    "wifis: {w: {access-points: {[a]: 1}}}",
    "",
)
@example("hostname: \ud800", "", "")
def test_any_text_gives_settings_that_can_be_written_and_read(user: str, network: str, meta: str) -> None:
    found = read_imager(user, network, meta)
    assert parse_settings(settings_toml(found.settings), origin="again") == found.settings


FRAGMENTS = st.recursive(
    st.sampled_from(["home", "secret-word", "NO", "true", "", "a" * 70, "Europe/Berlin", "ssh-ed25519 AAAA"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["hostname", "users", "ssh_authorized_keys", "network", "wifis", "wlan0", "access-points", "password"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@examples(max_examples=30)
@given(FRAGMENTS, FRAGMENTS)
def test_any_structure_gives_settings_that_can_be_written_and_read(user: object, network: object) -> None:
    import yaml

    found = read_imager(yaml.safe_dump(user), yaml.safe_dump(network))
    assert parse_settings(settings_toml(found.settings), origin="again") == found.settings
