from __future__ import annotations

import asyncio

import pytest

from swarm.candidate import Candidate
from swarm.errors import ConfigError
from swarm.static_peers import MAX_PEERS, StaticPeer, parse_peer, parse_peers, resolve


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.168.1.10:7000", "192.168.1.10", 7000),
        ("192.168.1.10", "192.168.1.10", 7334),
        ("[fd00::1]:7000", "fd00::1", 7000),
        ("[fd00::1]", "fd00::1", 7334),
        ("fd00::1", "fd00::1", 7334),
        ("[fe80::1%eth0]:7000", "fe80::1%eth0", 7000),
        ("attic.local:7000", "attic.local", 7000),
        ("attic", "attic", 7334),
        ("127.0.0.1:1", "127.0.0.1", 1),
    ],
)
def test_peer_is_read(text: str, host: str, port: int) -> None:
    assert parse_peer(text, default_port=7334) == StaticPeer(host, port)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no host"),
        ("attic:", "port"),
        ("attic:0", "port"),
        ("attic:x", "port"),
        ("attic:65536", "port"),
        ("attic:99999999", "port"),
        ("8.8.8.8", "outside the LAN"),
        ("[2001:4860::1]:7000", "outside the LAN"),
        ("fe80::1", "interface"),
        ("https://attic:7000", "port"),
        ("two words", "no host"),
        ("[attic]:7000", "no host"),
        ("a" * 300, "no host"),
        ("-x", "no host"),
    ],
)
def test_wrong_peer_is_named_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        parse_peer(text, default_port=7334)
    assert f'"{text}"' in str(caught.value)
    assert caught.value.hint


def test_peers_are_few_and_each_once() -> None:
    assert len(parse_peers(("attic", "attic:7334", "cellar"), default_port=7334)) == 2
    with pytest.raises(ConfigError, match="33 static peers"):
        parse_peers(("attic",) * (MAX_PEERS + 1), default_port=7334)


def test_peer_is_resolved_to_addresses_of_the_lan_or_to_nothing() -> None:
    async def both() -> tuple[Candidate | None, ...]:
        peers = (StaticPeer("10.0.0.1", 1), StaticPeer("localhost", 2), StaticPeer("no.such.host.invalid", 3))
        return tuple([await resolve(peer) for peer in peers])

    address, name, nothing = asyncio.run(both())
    assert address == Candidate("", "", ("10.0.0.1",), 1, "static")
    assert name is not None
    assert set(name.addresses) <= {"127.0.0.1", "::1"}
    assert nothing is None
