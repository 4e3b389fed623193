"""A machine without a network, its settings wrong in part, on a disk larger than the image: real radios of the kernel
(mac80211_hwsim), a home's router and a phone in namespaces of their own. The tests are one story, in order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.guest import Guest
from tests.images.machines import made_ones_own

SETTINGS = """
hostname = "attic"
country = "DE"
time_zone = "Europe/Berlin"
ntp = ["no host!"]
[[wifi]]
ssid = "Gone"
password = "of-a-router-long-gone"
"""
HOME, PASSWORD = "Zu Hause ☕", 'a "good" password #1'
SUPPLICANT = 'ctrl_interface=DIR=/run/{who}\nnetwork={{\n ssid={ssid}\n {more}\n psk="{psk}"\n key_mgmt=WPA-PSK\n}}\n'
FORM = r"""
import re, sys, urllib.parse, urllib.request
page = urllib.request.urlopen("http://neverssl.example/", timeout=30).read().decode()
print(re.sub(r"<[^>]+>", " ", page))
key = re.search('name="key" value="([^"]+)"', page)[1]
form = {"key": key, "ssid": "other", "other": sys.argv[1], "password": sys.argv[2]}
print(urllib.request.urlopen("http://192.168.73.1/", urllib.parse.urlencode(form).encode(), timeout=30).read().decode())
"""


@pytest.fixture(scope="module")
def attic(worker_image: Path, folder: Path) -> Iterator[Guest]:
    disk = made_ones_own(worker_image, folder / "attic.img", SETTINGS)
    with disk.open("r+b") as file:
        file.truncate(disk.stat().st_size + 512 * 1024**2)
    guest = Guest("attic", disk, folder / "attic", None)
    with guest.powered():
        yield guest


def test_data_reaches_the_end_of_a_larger_disk(attic: Guest) -> None:
    size = int(attic.run("findmnt -bno SIZE /data"))
    assert size > 480 * 1024**2
    assert "CLEAN" in attic.run("dumpe2fs -h $(findmnt -no SOURCE /data) 2>/dev/null | grep state").upper()


def test_right_settings_count_and_the_wrong_one_is_told(attic: Guest) -> None:
    assert attic.run("hostname") == "attic"
    assert "CET" in attic.run("date") or "CEST" in attic.run("date")
    assert attic.run("cat /boot/mycoswarm/mycoswarm-problems.txt").startswith("mycoswarm.toml:5: ntp")
    assert "mycoswarm-applied.toml" in attic.run("ls /boot/mycoswarm")
    assert "of-a-router-long-gone" not in attic.run("cat /boot/mycoswarm/*.toml")
    attic.wait_for_console("belongs to no swarm yet")


def test_machine_without_a_network_becomes_an_access_point(attic: Guest) -> None:
    attic.run("modprobe mac80211_hwsim radios=3 && udevadm settle")
    attic.run("for who in phone home; do ip netns add $who; done")
    radios = attic.run("for n in 1 2; do cat /sys/class/net/wlan$n/phy80211/name; done").split()
    attic.run(f"iw phy {radios[0]} set netns name phone && iw phy {radios[1]} set netns name home")
    _router(attic)
    attic.run("systemctl start mycoswarm-wifi.service")
    attic.wait_for_console("this machine is the access point mycoswarm-[0-9a-f]{4}", seconds=400)
    said = attic.wait_for_console(r"connect a phone to the Wi-Fi mycoswarm-\w{4} with the password \d{12}")
    assert said.split()[-1] == attic.run("cat /data/mycoswarm-first-boot/access-point")
    assert said.split()[-1] in attic.run("cat /boot/mycoswarm/access-point.txt")
    rules = json.loads(attic.run("nft -j list set inet mycoswarm access_point"))
    assert "wlan0" in json.dumps(rules)


def test_wrong_password_is_told_on_the_page_and_the_right_one_is_kept(attic: Guest) -> None:
    _phone_joins(attic)
    first = _enter(attic, "a wrong password")
    assert "Trying" in first
    attic.wait_for_console("did not work: The password is wrong", seconds=300)
    attic.wait_for_console("this machine is the access point", times=2, seconds=300)
    _phone_joins(attic)
    second = _enter(attic, PASSWORD)
    assert "The password is wrong." in second
    attic.wait_for_console("Connected to Zu Hause", seconds=300)
    attic.wait_until(
        lambda: attic.run("systemctl is-active mycoswarm-wifi.service || true") == "inactive", "it did not end"
    )
    attic.wait_until(lambda: "10.55.0." in attic.run("ip -4 addr show wlan0"), "the usual Wi-Fi did not come up")
    assert "wlan0" not in attic.run("nft list set inet mycoswarm access_point")
    status, _ = attic.status_of("grep -q 'a \"good\" password' /data/network/wpa_supplicant/wpa_supplicant-wlan0.conf")
    assert status == 0


@pytest.mark.nightly
def test_access_point_ends_by_itself_once_the_usual_wifi_is_back(attic: Guest) -> None:
    attic.run("kill $(cat /tmp/phone.pid) || true; kill $(cat /tmp/router.pid) $(cat /tmp/home.pid)")
    attic.wait_until(lambda: "10.55.0." not in attic.run("ip -4 addr show wlan0"), "the address stayed")
    attic.run("systemctl start --no-block mycoswarm-wifi.service")
    attic.wait_for_console("this machine is the access point", times=3, seconds=400)
    _router(attic)
    attic.wait_for_console("There is a network again", seconds=900)
    attic.wait_until(
        lambda: attic.run("systemctl is-active mycoswarm-wifi.service || true") == "inactive", "it did not end"
    )
    assert "10.55.0." in attic.run("ip -4 addr show wlan0")
    assert "wlan0" not in attic.run("nft list set inet mycoswarm access_point")


def _router(attic: Guest) -> None:
    """The home's own access point and its addresses."""
    more = "mode=2\n frequency=2437\n proto=RSN\n pairwise=CCMP"
    conf = SUPPLICANT.format(who="home", ssid=HOME.encode().hex(), more=more, psk=PASSWORD)
    attic.run(f"cat >/tmp/home.conf <<'EOF'\n{conf}EOF")
    attic.run("ip netns exec home wpa_supplicant -B -i wlan2 -c /tmp/home.conf -P /tmp/router.pid")
    attic.run("ip -n home addr replace 10.55.0.1/24 dev wlan2 && ip -n home link set lo up")
    attic.run(
        "ip netns exec home dnsmasq --conf-file=/dev/null --port=0 --interface=wlan2 --bind-interfaces --user=root "
        "--dhcp-range=10.55.0.10,10.55.0.99,1h --dhcp-leasefile=/tmp/home.leases --pid-file=/tmp/home.pid --no-ping"
    )


def _phone_joins(attic: Guest) -> None:
    """The access point, by the password that the machine shows; addresses and names come from there."""
    password = attic.run("cat /data/mycoswarm-first-boot/access-point")
    name = re.findall(r"the access point (mycoswarm-\w{4})", attic.console())[-1]
    conf = SUPPLICANT.format(who="phone", ssid=name.encode().hex(), more="scan_ssid=1", psk=password)
    attic.run(f"cat >/tmp/phone.conf <<'EOF'\n{conf}EOF")
    attic.run(
        "kill $(cat /tmp/phone.pid) 2>/dev/null; sleep 1; ip -n phone link set lo up; ip -n phone addr flush dev wlan1"
    )
    attic.run("ip netns exec phone wpa_supplicant -B -i wlan1 -c /tmp/phone.conf -P /tmp/phone.pid")
    attic.run(
        "printf '%s\\n' '#!/bin/sh' '[ \"$1\" = bound ] || exit 0' "
        "'ip addr add $ip/24 dev $interface; ip route add default via $router; echo $dns >/tmp/phone.dns' "
        ">/tmp/lease.sh; chmod +x /tmp/lease.sh"
    )
    attic.run("ip netns exec phone busybox udhcpc -i wlan1 -s /tmp/lease.sh -n -q -t 30 -T 3", seconds=240)
    assert attic.run("cat /tmp/phone.dns") == "192.168.73.1"


def _enter(attic: Guest, password: str) -> str:
    """What the page said, asked for by another page's name, and what it answered."""
    attic.run("mkdir -p /etc/netns/phone 2>/dev/null || true")
    attic.run(f"cat >/tmp/form.py <<'EOF'\n{FORM}EOF")
    attic.run(f"cat >/tmp/password <<'EOF'\n{password}\nEOF")
    names = "mount --bind /tmp/resolv.conf $(readlink -f /etc/resolv.conf)"
    return attic.run(
        f"echo nameserver 192.168.73.1 >/tmp/resolv.conf; ip netns exec phone sh -c '{names}; "
        f'/usr/bin/python3 /tmp/form.py "{HOME}" "$(cat /tmp/password)"\'',
        seconds=120,
    )
