"""A Wyoming service between real hosts: network namespaces, real multicast."""

from __future__ import annotations

from tests.hosts import lan, needs_hosts

pytestmark = needs_hosts


def test_it_is_found_by_all_and_serves_only_whom_the_allow_list_names() -> None:
    with lan(3) as net:
        attic, named, stranger = net.hosts
        service = attic.python("-m", "tests.wyoming_host", "serve", named.address)
        service.line("serving")
        seen = f"attic-3f2a asr tcp://{attic.address}:10300"
        assert named.python("-m", "tests.wyoming_host", "look").line(seen).removeprefix(seen) == " pong"
        assert stranger.python("-m", "tests.wyoming_host", "look").line(seen).removeprefix(seen) == " parted"
        service.line(f"{stranger.address} wanted Wyoming's asr and may not")
