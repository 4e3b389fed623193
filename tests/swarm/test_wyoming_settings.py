from __future__ import annotations

import pytest

from swarm.config import Config, parse_config
from swarm.errors import ConfigError


def wyoming(text: str) -> Config:
    return parse_config(f"[wyoming]\n{text}\n", origin="config.toml")


def test_nothing_listens_as_it_comes() -> None:
    section = Config().wyoming
    assert section.services == ()
    assert section.satellite is False
    assert section.host == "127.0.0.1"


def test_an_allow_list_opens_the_ports_to_the_lan() -> None:
    section = wyoming('services = ["asr", "tts"]\nallow = ["192.168.1.10", "fd00::/64"]').wyoming
    assert section.host == ""
    assert section.ports()["asr"] == 10300


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('services = ["sing"]', 2, "sing"),
        ('services = ["asr"]\nallow = ["attic"]', 3, "no address and no network"),
        ('allow = ["8.8.8.8"]', 2, "beyond the LAN"),
        ('allow = ["0.0.0.0/0"]', 2, "beyond the LAN"),
        ('services = ["asr"]\naddress = "192.168.1.5"', 1, "wyoming.allow names nobody"),
        ('address = "8.8.8.8"', 2, "no address of a LAN"),
        ('address = "attic"', 2, "no address"),
        ('services = ["asr", "tts"]\nasr_port = 1\ntts_port = 1', 2, "one port"),
        ('[[wyoming.satellites]]\nurl = "http://x:1"\nname = "a"', 2, "no Wyoming service"),
        ('[[wyoming.satellites]]\nurl = "tcp://x"\nname = "a"', 2, "no Wyoming service"),
        (
            '[[wyoming.satellites]]\nurl="tcp://x:1"\nname="a"\n[[wyoming.satellites]]\nurl="tcp://y:1"\nname="a"',
            5,
            "two are called",
        ),
    ],
)
def test_a_section_that_makes_no_sense_is_told_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        wyoming(text)
    assert str(raised.value).startswith(f"config.toml:{line}:"), str(raised.value)
