"""Wi-Fi: what programs are told and answer, and the page on which a person enters it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from provisioning.first_boot.access_point import NEWLY_ON_S, speech
from provisioning.first_boot.portal import Portal
from provisioning.first_boot.wifi import (
    Seen,
    access_point_conf,
    access_point_name,
    dnsmasq_arguments,
    is_online,
    networks_in,
    unescaped,
    why_not,
)
from provisioning.settings import WifiNetwork
from tests.provisioning.chromium import browser, needs_chromium

SCANNED = (
    "bssid / frequency / signal level / flags / ssid\n"
    "aa:aa:aa:aa:aa:aa\t2412\t-70\t[WPA2-PSK-CCMP][ESS]\tHome\n"
    "bb:bb:bb:bb:bb:bb\t5180\t-50\t[WPA2-PSK+SAE-CCMP][ESS]\tHome\n"
    'cc:cc:cc:cc:cc:cc\t2437\t-60\t[ESS]\tCaf\\xc3\\xa9 \\"x\\"\\\\\n'
    "dd:dd:dd:dd:dd:dd\t2437\t-40\t[WPA2-PSK-CCMP][ESS]\t\n"
    "ee:ee:ee:ee:ee:ee\t2437\t-41\t[WPA2-PSK-CCMP][ESS]\t\\x00\\x00\n"
    "nonsense\n"
)
NETWORKS = (Seen("<b>Home</b>", -50, True), Seen("Café", -80, False))


def test_networks_are_listed_once_strongest_first_and_by_their_real_names() -> None:
    assert networks_in(SCANNED) == (Seen("Home", -50, True), Seen('Café "x"\\', -60, False))


def test_what_a_stranger_calls_a_network_breaks_nothing() -> None:
    @given(st.text(max_size=80))
    def check(name: str) -> None:
        assert isinstance(unescaped(name), str)
        assert len(networks_in(f"aa:aa:aa:aa:aa:aa\t2412\t-70\t[ESS]\t{name}\n")) <= 1

    check()
    many = "".join(f"aa:aa:aa:aa:aa:aa\t2412\t-70\t[ESS]\tn{number}\n" for number in range(5_000))
    assert len(networks_in(many)) == 24


@pytest.mark.parametrize(
    ("states", "listed", "why"),
    [
        (["SCANNING"], "", "was not found"),
        (["SCANNING", "ASSOCIATING", "SCANNING"], "", "did not let this machine in"),
        (["SCANNING", "ASSOCIATED", "4WAY_HANDSHAKE", "SCANNING"], "", "password is wrong"),
        (["SCANNING"], "0\tHome\tany\t[TEMP-DISABLED]", "password is wrong"),
        (["4WAY_HANDSHAKE", "COMPLETED"], "0\tHome\tany\t[CURRENT]", "no address"),
    ],
)
def test_it_is_told_why_a_network_was_not_joined(states: list[str], listed: str, why: str) -> None:
    assert why in why_not(states, listed)


@pytest.mark.parametrize(
    ("addresses", "up", "online"),
    [
        ({"lo": ["127.0.0.1"], "eth0": ["169.254.3.4", "fe80::1%eth0"]}, ["lo", "eth0"], False),
        ({"eth0": ["192.168.1.5"]}, ["eth0"], True),
        ({"eth0": ["192.168.1.5"]}, [], False),
        ({"eth0": ["fd00::5"]}, ["eth0"], True),
        ({"wlan0": ["192.168.73.1"]}, ["wlan0"], False),
        ({"eth0": ["nonsense"]}, ["eth0"], False),
    ],
)
def test_a_network_is_one_that_gave_an_address(addresses: dict[str, list[str]], up: list[str], online: bool) -> None:
    assert is_online(addresses, up, but=["wlan0"]) is online


def test_access_point_has_a_password_and_a_name_of_its_own() -> None:
    conf = access_point_conf(access_point_name("0123"), "123456789012", "DE")
    assert 'psk="123456789012"' in conf
    assert "proto=RSN" in conf
    assert access_point_name("0123") != access_point_name("1123")
    assert re.fullmatch(r"mycoswarm-[0-9a-f]{4}", access_point_name("0123"))
    assert "--dhcp-range=192.168.73.10,192.168.73.250,255.255.255.0,10m" in dnsmasq_arguments("x")


def test_access_point_tells_its_password_to_who_is_near_and_wakes_nobody_at_night() -> None:
    said = speech("mycoswarm-12ab", "123456789012", "", on_for_s=60.0)
    assert said.startswith("I have no network. Connect your phone to the Wi-Fi mycoswarm 12ab.")
    assert said.endswith("The password is 1 2 3 4, 5 6 7 8, 9 0 1 2.")
    assert speech("mycoswarm-12ab", "123456789012", "", on_for_s=NEWLY_ON_S) == ""
    entered = speech("mycoswarm-12ab", "123456789012", "The password is wrong.", on_for_s=2 * NEWLY_ON_S)
    assert entered.startswith("The password is wrong. I have no network.")


class Entered:
    """The page at a port of its own, and what was entered there."""

    def __init__(self) -> None:
        self.networks: list[WifiNetwork] = []
        self.url = ""
        self.host = ""

    async def take(self, network: WifiNetwork) -> None:
        self.networks.append(network)

    @asynccontextmanager
    async def serving(self, *, wrong: str = "") -> AsyncIterator[None]:
        portal = Portal("mycoswarm-1234", NETWORKS, self.take, wrong=wrong)
        probe = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = probe.sockets[0].getsockname()[1]
        probe.close()
        await probe.wait_closed()
        self.host, self.url = f"127.0.0.1:{port}", f"http://127.0.0.1:{port}/"
        runner = web.AppRunner(portal.app(hosts=(self.host,)), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield
        finally:
            await runner.cleanup()


def test_every_other_page_leads_to_this_one_and_no_other_site_enters_anything() -> None:
    async def scenario() -> None:
        entered = Entered()
        async with entered.serving(), aiohttp.ClientSession() as http:
            for path, host in (("generate_204", "connectivitycheck.gstatic.com"), ("", "captive.apple.com")):
                async with http.get(entered.url + path, headers={"Host": host}, allow_redirects=False) as answer:
                    assert (answer.status, answer.headers["Location"]) == (302, entered.url)
            async with http.get(entered.url) as answer:
                key = re.search(r'name="key" value="([^"]+)"', await answer.text())
                assert key is not None
            form = {"key": key[1], "ssid": "1", "other": "", "password": ""}
            async with http.post(entered.url, data=form, headers={"Origin": "http://evil.example"}) as answer:
                assert answer.status == 403
            async with http.post(entered.url, data={**form, "key": "guessed"}) as answer:
                assert answer.status == 403
            async with http.post(entered.url, data={**form, "ssid": "other", "other": "x" * 40}) as answer:
                assert answer.status == 400
            async with http.post(entered.url, data={**form, "password": "x" * 10_000}) as answer:
                assert answer.status == 413
            async with http.post(entered.url, data={**form, "ssid": "0"}) as answer:
                assert "This network has a password." in await answer.text()
            assert entered.networks == []
            async with http.post(entered.url, data=form) as answer:
                assert answer.status == 200
            assert entered.networks == [WifiNetwork("Café")]

    asyncio.run(scenario())


@needs_chromium
def test_person_enters_the_wifi_in_a_browser_without_scripts() -> None:
    async def scenario() -> None:
        entered = Entered()
        async with entered.serving(wrong="The password is wrong."), AsyncExitStack() as closing:
            page = await closing.enter_async_context(
                browser(scripts=False, resolve=f"MAP captive.example:80 {entered.host}")
            )
            await page.open("http://captive.example/hotspot-detect.html")
            text = await page.shows("Which Wi-Fi shall mycoswarm-1234 use?")
            assert await page.address() == entered.url
            assert "The password is wrong." in text
            assert "<b>Home</b> (strong)" in text
            assert "Café (weak, no password)" in text
            await page.click("input[type=password]")
            await page.type("short")
            await page.click("button")
            await page.shows("8 to 63 letters")
            assert entered.networks == []
            await page.click("input[value=other]")
            await page.click("input[name=other]")
            await page.type("Attic ☂")
            await page.click("input[type=password]")
            await page.type('top "secret" #1')
            await page.click("button")
            await page.shows("joins Attic ☂")
        assert entered.networks == [WifiNetwork("Attic ☂", 'top "secret" #1', hidden=True)]

    asyncio.run(scenario())
