"""Wi-Fi as texts: what wpa_supplicant, dnsmasq and networkd are told, and what wpa_cli answers. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

INTERFACE = "wlan0"
ADDRESS = "192.168.73.1"
"""This machine's, on its own access point."""
PREFIX = 24
CHANNEL_MHZ = 2412
"""Channel 1: allowed everywhere, and every phone has it."""
MAX_NETWORKS = 24


@dataclass(frozen=True)
class Seen:
    """A network in reach."""

    ssid: str
    signal_dbm: int
    has_password: bool


def access_point_name(machine_id: str) -> str:
    """The same at every boot, another on every machine; the digits are those of `own_name`."""
    return (
        f"mycoswarm-{hashlib.sha256(b'mycoswarm host name' + bytes(1) + machine_id.strip().encode()).hexdigest()[:4]}"
    )


def access_point_conf(name: str, password: str, country: str) -> str:
    """WPA2 with a password: what a person enters on the page is their home's password, and must not be overheard."""
    lines = ["ctrl_interface=DIR=/run/wpa_supplicant", "update_config=0", *([f"country={country}"] if country else [])]
    lines += ["network={", f"\tssid={name.encode().hex()}", "\tmode=2", f"\tfrequency={CHANNEL_MHZ}"]
    lines += ["\tkey_mgmt=WPA-PSK", "\tproto=RSN", "\tpairwise=CCMP", f'\tpsk="{password}"', "}"]
    return "\n".join(lines) + "\n"


def access_point_network() -> str:
    """For networkd: a file that counts before the usual ones."""
    return (
        f"[Match]\nName={INTERFACE}\n\n[Network]\nAddress={ADDRESS}/{PREFIX}\nConfigureWithoutCarrier=yes\n"
        "DHCP=no\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nMulticastDNS=no\n"
    )


def dnsmasq_arguments(leases: str) -> tuple[str, ...]:
    """Addresses for who connects, and this machine's own as the answer to every name (RFC 8952: a captive portal)."""
    net = ADDRESS.rpartition(".")[0]
    return (
        *("--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--log-facility=-"),
        *(f"--interface={INTERFACE}", "--except-interface=lo", "--bind-dynamic", "--dhcp-authoritative"),
        *(f"--dhcp-range={net}.10,{net}.250,255.255.255.0,10m", f"--dhcp-option=option:router,{ADDRESS}"),
        *(f"--dhcp-leasefile={leases}", f"--address=/#/{ADDRESS}", "--quiet-dhcp"),
    )


def networks_in(scan_results: str) -> tuple[Seen, ...]:
    """What `wpa_cli scan_results` lists, strongest first, each name once; hidden ones have no name."""
    found: dict[str, Seen] = {}
    for line in scan_results.splitlines()[:1_000]:
        columns = line.split("\t", 4)
        if len(columns) != 5 or not re.fullmatch(r"-?\d{1,4}", columns[2]):
            continue
        ssid = unescaped(columns[4])
        seen = Seen(ssid, int(columns[2]), "WPA" in columns[3] or "RSN" in columns[3] or "SAE" in columns[3])
        if ssid.strip("\0 ") and (ssid not in found or found[ssid].signal_dbm < seen.signal_dbm):
            found[ssid] = seen
    return tuple(sorted(found.values(), key=lambda each: -each.signal_dbm)[:MAX_NETWORKS])


def unescaped(text: str) -> str:
    r"""A name as wpa_supplicant prints it (`printf_encode`): `\xNN`, `\\`, `\"`, `\e`, `\n`, `\r`, `\t`."""
    plain = {"n": b"\n", "r": b"\r", "t": b"\t", "e": b"\x1b", "\\": b"\\", '"': b'"'}
    out = bytearray()
    for part in re.findall(r"\\x[0-9a-fA-F]{2}|\\.|[^\\]", text):
        if part.startswith("\\x"):
            out.append(int(part[2:], 16))
        elif part.startswith("\\"):
            out += plain.get(part[1], part.encode())
        else:
            out += part.encode()
    return out.decode(errors="replace")


def status_in(text: str) -> dict[str, str]:
    """What `wpa_cli status` says."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def why_not(states: Sequence[str], listed: str) -> str:
    """Why a network was not joined, from the states of the attempt, oldest first, and `wpa_cli list_networks`."""
    if "COMPLETED" in states:
        return "The network let this machine in, but gave it no address. Is its router all right?"
    if "TEMP-DISABLED" in listed or "4WAY_HANDSHAKE" in states:
        return "The password is wrong."
    if any(each in states for each in ("ASSOCIATING", "ASSOCIATED", "AUTHENTICATING")):
        return "The network did not let this machine in. Is the password right?"
    return "The network was not found. Is the name right, and the network near enough?"


def is_online(addresses: Mapping[str, Iterable[str]], up: Iterable[str], *, but: Iterable[str] = ()) -> bool:
    """Whether an interface that is up, other than those in `but`, has an address that a network gave it."""
    left = set(up) - set(but) - {"lo"}
    return any(_is_given(address) for name in left for address in addresses.get(name, ()))


def _is_given(text: str) -> bool:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return not (address.is_link_local or address.is_loopback or address.is_multicast or address.is_unspecified)
