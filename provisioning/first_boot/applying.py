"""What settings mean for the machine: the files that say it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tomli_w

from provisioning.first_boot.machine import Machine
from provisioning.settings import Settings, node_config
from swarm.config import parse_config, wanted_roles
from swarm.errors import ConfigError

STATE_DIR = "/var/lib/mycoswarm"


@dataclass(frozen=True)
class File:
    """One file as it is to be."""

    path: Any
    """A `Path`."""
    content: str
    mode: int = 0o644
    owner: str = ""
    """User and group by name, `user:group`; empty: whoever writes it."""


def own_name(machine_id: str, roles: Sequence[str]) -> str:
    """A host name for a machine that got none: the same at every boot, another on every machine."""
    digits = hashlib.sha256(b"mycoswarm host name\0" + machine_id.strip().encode()).hexdigest()[:4]
    return f"{roles[0] if roles else 'node'}-{digits}"


def unit_for(roles: Sequence[str], *, is_board: bool) -> str:
    """The unit that runs a node of these roles; they differ in what they may use and how much."""
    order = ("gpu", "edge", "hub") if is_board else ("gpu", "hub", "edge")
    return f"mycoswarm-{next((role for role in order if role in roles), 'worker')}.service"


def node_toml(settings: Settings, image: Mapping[str, Any]) -> tuple[str, tuple[str, ...], str]:
    """The node's configuration, the roles that it has by it, and what could not be taken, if anything.

    `image` is what the image itself says. Settings that its own reader refuses are left out.
    """
    wrong = ""
    try:
        over = node_config(settings)
        text = tomli_w.dumps(_laid_over(image, over))
        config = parse_config(text, origin="the settings")
    except ConfigError as error:
        wrong = error.for_log()
        text = tomli_w.dumps(_laid_over(image, {}))
        config = parse_config(text, origin="the image")
    return text, wanted_roles(config), wrong


def files_for(settings: Settings, machine: Machine, *, node_toml: str, hostname: str, ssh_on: bool) -> tuple[File, ...]:
    """All that is written for these settings; the same settings give the same files."""
    files = [
        File(machine.etc / "hostname", f"{hostname}\n"),
        File(machine.etc / "hosts", f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {hostname}\n"),
        File(machine.etc / "locale.conf", f"LANG={settings.locale or 'C.UTF-8'}\n"),
        File(machine.etc / "timesyncd.conf", timesyncd_conf(settings.ntp)),
        File(machine.node_config, node_toml, 0o640, "root:mycoswarm"),
        File(machine.wifi_config, wpa_supplicant_conf(settings), 0o600),
    ]
    if ssh_on:
        files.append(File(machine.ssh / "authorized_keys", "".join(f"{key}\n" for key in settings.ssh_keys)))
    return tuple(files)


def timesyncd_conf(ntp: Sequence[str]) -> str:
    """Drop-in of timesyncd.conf(5). What DHCP names is asked too; nothing else, ever."""
    return f"[Time]\nNTP={' '.join(ntp)}\nFallbackNTP=\n"


def wpa_supplicant_conf(settings: Settings) -> str:
    """As in wpa_supplicant.conf(5); names as hexadecimal digits, so that nothing in them means anything."""
    lines = ["ctrl_interface=DIR=/run/wpa_supplicant GROUP=netdev", "update_config=0"]
    if settings.country:
        lines.append(f"country={settings.country}")
    for network in settings.wifi:
        lines += ["network={", f"\tssid={network.ssid.encode().hex()}"]
        if network.hidden:
            lines.append("\tscan_ssid=1")
        if not network.password:
            lines.append("\tkey_mgmt=NONE")
        elif len(network.password) == 64:
            lines += ["\tkey_mgmt=WPA-PSK WPA-PSK-SHA256", f"\tpsk={network.password.lower()}"]
        else:
            # WPA2 and WPA3, whichever there is. Quoted text has no escapes: it ends at the line's last quote.
            lines += ["\tkey_mgmt=WPA-PSK WPA-PSK-SHA256 SAE", "\tieee80211w=1", f'\tpsk="{network.password}"']
        lines.append("}")
    return "\n".join(lines) + "\n"


def _laid_over(image: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {section: dict(values) for section, values in image.items()}
    for section, values in over.items():
        whole[section] = {**whole.get(section, {}), **values}
    whole["node"] = {"state_dir": STATE_DIR, **whole.get("node", {})}
    return whole
