"""What Raspberry Pi Imager leaves on a card, read as settings. Nothing of it is executed.

With `init_format: cloudinit` it writes `user-data` (cloud-init's cloud-config), `network-config` (netplan, version 2)
and `meta-data` to the first FAT partition. What makes sense here is taken: hostname, ssh keys, time zone, locale and
Wi-Fi. Everything else is named and left alone. Whatever is wrong with the files, the machine still has to boot: what
cannot be read is a note, and never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from provisioning.settings import MAX_SSH_KEYS, MAX_WIFI, MEANT, Settings, WifiNetwork, mistake, network_mistake
from provisioning.ssh_keys import check_public_key
from swarm.errors import MycoswarmError

FILES = ("user-data", "network-config", "meta-data")
MAX_CHARS = 16 * 1024
"""Of one file. Imager's own are below 4 KB; a small board should not spend a minute on somebody's joke."""
MAX_DEPTH = 16
MAX_NOTES = 32

_TAKEN = {"hostname", "fqdn", "local-hostname", "timezone", "locale", "users", "ssh_authorized_keys"}
_SILENT = {"manage_etc_hosts", "packages", "apt", "preserve_hostname", "keyboard", "instance-id", "enable_ssh", "rpi"}
"""Imager writes them always, or they change nothing that a person would miss: no keyboard, no apt on a read-only root.
What boards need is switched on by the image."""


@dataclass(frozen=True)
class Imager:
    """What the files say, and what of it was not taken, each in a sentence for the log."""

    settings: Settings = field(default_factory=Settings)
    notes: tuple[str, ...] = ()


def read_imager(user_data: str = "", network_config: str = "", meta_data: str = "") -> Imager:
    """The contents of the three files; an empty one is none. Never raises."""
    reading = _Reading()
    user, network, meta = (
        reading.mapping(text, name) for name, text in zip(FILES, (user_data, network_config, meta_data), strict=True)
    )
    reading.take_user(user)
    reading.take_meta(meta)
    reading.take_network(network)
    return Imager(Settings(**reading.values), tuple(reading.notes))


@dataclass
class _Reading:
    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if len(self.notes) < MAX_NOTES and text not in self.notes:
            self.notes.append(text)

    def mapping(self, text: str, name: str) -> dict[str, Any]:
        if not text.strip():
            return {}
        try:
            found = _plain_yaml(text)
        except MycoswarmError as error:
            self.note(f"{name} cannot be read, and nothing of it is used: {error.for_log()}")
            return {}
        if found is None or found == "":
            return {}
        if not isinstance(found, dict):
            self.note(f"{name} holds no settings, and nothing of it is used")
            return {}
        return found

    def take(self, key: str, value: Any, where: str) -> None:
        """One value, if it is what `Settings` wants there."""
        if not isinstance(value, str) or not value:
            return
        candidate = {key: value}
        try:
            wrong = mistake(msgspec.convert(candidate, Settings))
        except msgspec.ValidationError:
            self.note(f"{where}: {_shown(value)} is not used: it has to be {MEANT[key]}")
            return
        if wrong is not None:
            self.note(f"{where}: {_shown(value)} is not used: {wrong[2].for_log()}")
        else:
            self.values.setdefault(key, value)

    def take_user(self, data: Mapping[str, Any]) -> None:
        name = data.get("hostname") or str(data.get("fqdn") or "").partition(".")[0]
        self.take("hostname", name.lower() if isinstance(name, str) else name, "user-data: hostname")
        self.take("time_zone", data.get("timezone"), "user-data: timezone")
        locale = data.get("locale")
        if isinstance(locale, str):
            self.take("locale", re.sub(r"\.utf-?8$", ".UTF-8", locale, flags=re.IGNORECASE), "user-data: locale")
        self.take_keys(data.get("ssh_authorized_keys"), "user-data: ssh_authorized_keys")
        users = data.get("users")
        for user in users if isinstance(users, list) else ():
            if isinstance(user, dict):
                self.take_person(user)
        if _is_yes(data.get("ssh_pwauth")) or "password" in data or "chpasswd" in data:
            self.note_no_password()
        for key in sorted(set(data) - _TAKEN - _SILENT - {"ssh_pwauth", "password", "chpasswd"}):
            self.note(f"user-data: {_shown(key)} is not used: nothing is executed, written or installed from there")

    def take_person(self, user: Mapping[str, Any]) -> None:
        if user.get("name", "root") != "root":
            self.note(f"user-data: no user {_shown(user['name'])} is made: by ssh one comes as root, with a key")
        for key in ("passwd", "plain_text_passwd", "hashed_passwd"):
            if user.get(key):
                self.note_no_password()
        for key in ("ssh_authorized_keys", "ssh-authorized-keys"):
            self.take_keys(user.get(key), "user-data: users: ssh_authorized_keys")
        if user.get("ssh_import_id"):
            self.note("user-data: ssh_import_id is not used: keys are not fetched from anywhere")

    def note_no_password(self) -> None:
        self.note("user-data: the password is not used: this system knows none, and ssh takes keys only")

    def take_keys(self, keys: Any, where: str) -> None:
        for key in keys if isinstance(keys, list) else ():
            line = key.strip() if isinstance(key, str) else ""
            taken = self.values.get("ssh_keys", ())
            try:
                check_public_key(line)
            except MycoswarmError as error:
                self.note(f"{where}: a line is not used: {error.for_log()}")
                continue
            if len(taken) >= MAX_SSH_KEYS:
                self.note(f"{where}: only {MAX_SSH_KEYS} keys are used")
                return
            if line not in taken:
                self.values["ssh_keys"] = (*taken, line)

    def take_meta(self, data: Mapping[str, Any]) -> None:
        for key in ("local-hostname", "hostname"):
            self.take("hostname", data.get(key), f"meta-data: {key}")

    def take_network(self, data: Mapping[str, Any]) -> None:
        inner = data.get("network", data)
        wifis = inner.get("wifis") if isinstance(inner, dict) else None
        for interface in wifis.values() if isinstance(wifis, dict) else ():
            if not isinstance(interface, dict):
                continue
            country = interface.get("regulatory-domain")
            self.take("country", country.upper() if isinstance(country, str) else None, "network-config: country")
            points = interface.get("access-points")
            for ssid, point in points.items() if isinstance(points, dict) else ():
                self.take_wifi(ssid, point if isinstance(point, dict) else {})
            if any(key in interface for key in ("addresses", "gateway4", "routes", "nameservers")):
                self.note("network-config: fixed addresses are not used: the machine asks the network for its own")
        if isinstance(inner, dict):
            for key in sorted(set(inner) - {"version", "renderer", "wifis"}):
                self.note(f"network-config: {_shown(key)} is not used: cables need no settings")

    def take_wifi(self, ssid: str, point: Mapping[str, Any]) -> None:
        where = f"network-config: Wi-Fi {_shown(ssid)}"
        auth = point.get("auth")
        auth = auth if isinstance(auth, dict) else {}
        if auth.get("key-management", "psk") not in ("none", "psk", "sae"):
            self.note(f"{where} is not used: only networks with a password, or none, are known here")
            return
        password = point.get("password") or auth.get("password") or ""
        hidden = _is_yes(point.get("hidden"))
        try:
            network = msgspec.convert({"ssid": ssid, "password": password, "hidden": hidden}, WifiNetwork)
        except msgspec.ValidationError:
            self.note(f"{where} is not used: name or password are not what they have to be")
            return
        wrong = network_mistake(network)
        if wrong is not None:
            self.note(f"{where} is not used: its {wrong[0]} {wrong[1].for_log()}")
        elif len(self.values.get("wifi", ())) < MAX_WIFI:
            self.values["wifi"] = (*self.values.get("wifi", ()), network)


def _plain_yaml(text: str) -> Any:
    """Mappings, lists and strings: no types to guess (`NO` is Norway), no tags, no aliases. Raises `MycoswarmError`."""
    import yaml

    if len(text) > MAX_CHARS:
        raise MycoswarmError(f"it is longer than {MAX_CHARS // 1024} KB")
    try:
        _refuse_tricks(yaml.parse(text, Loader=yaml.BaseLoader))
        return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  (knows strings, lists and mappings only)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise MycoswarmError(f"{line}{error.problem or 'no YAML'}") from error
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise MycoswarmError(f"it is no YAML: {type(error).__name__}") from error


def _refuse_tricks(events: Iterable[Any]) -> None:
    """While it is read: what is nested deeply takes the square of its length."""
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise MycoswarmError("it has an alias (*), which may stand for more than fits here")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise MycoswarmError(f"it is nested deeper than {MAX_DEPTH}")


def _is_yes(value: Any) -> bool:
    return isinstance(value, str) and value.lower() in ("true", "yes", "on", "1")


def _shown(text: object) -> str:
    plain = re.sub(r"[^\x20-\x7e\u00a0-\ud7ff]", "?", str(text))
    return f'"{plain if len(plain) <= 60 else plain[:57] + "..."}"'
