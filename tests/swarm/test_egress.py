import socket
from typing import Any

import pytest

from swarm.egress import is_lan, require_lan
from swarm.errors import MycoswarmError


@pytest.mark.parametrize(
    "address",
    (
        *("127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.10", "169.254.3.4"),
        *("::1", "fe80::1%eth0", "fd12::1", "::ffff:192.168.1.10"),
    ),
)
def test_own_and_private_addresses_are_of_the_lan(address: str) -> None:
    assert is_lan(address)


@pytest.mark.parametrize(
    "address",
    (
        *("8.8.8.8", "172.32.0.1", "11.0.0.1", "192.169.0.1", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1"),
        *("192.0.2.1", "2606:4700::1111", "::", "::ffff:8.8.8.8", "64:ff9b::808:808"),
    ),
)
def test_every_other_address_is_not(address: str) -> None:
    assert not is_lan(address)


def test_a_public_address_is_refused_by_name() -> None:
    with pytest.raises(MycoswarmError, match=r"8\.8\.8\.8 .*outside the LAN"):
        require_lan("8.8.8.8")
    require_lan("localhost")
    require_lan("[::1]")


def test_a_name_with_one_public_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolver(*_arguments: Any, **_options: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in ("192.168.1.2", "203.0.113.9")]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with pytest.raises(MycoswarmError, match=r"ollama\.home \(203\.0\.113\.9\) is outside"):
        require_lan("ollama.home")


@pytest.mark.parametrize("host", ["", "no such host", "a" * 300, "x..y"])
def test_a_host_that_is_none_is_an_error(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: Any, **_options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(MycoswarmError, match="cannot be found"):
        require_lan(host)
