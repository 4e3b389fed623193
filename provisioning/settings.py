"""What a person settles before a machine boots for the first time: `mycoswarm.toml` on the image's first FAT partition.

Everything in it is optional; an image without it comes up, asks for its network and shows a code. It is read when the
machine starts, and then erased.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import tomli_w

from provisioning.ssh_keys import check_public_key
from provisioning.time_zones import nearest_zone
from swarm.config import ROLES, WAKE_WORDS, Config, Role, parse_config
from swarm.errors import ConfigError, MycoswarmError
from swarm.tokens import MAX_TOKEN_CHARS, parse_token
from swarm.toml_file import line_in_table, line_of, parse_table, shaped, unknown_key

FILE_NAME = "mycoswarm.toml"
MAX_BYTES = 64 * 1024
"""Largest file that is read."""

HOSTNAME = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?\Z"
"""RFC 1123, 2.1: a label, in small letters, or nothing. (`$` would take a line end behind it.)"""
MAX_WIFI = 8
MAX_SSH_KEYS = 32

AudioBoard = Literal["none", "usb", "respeaker-2mic", "voice-bonnet", "hifiberry-dac"]
AUDIO_BOARDS: tuple[str, ...] = get_args(AudioBoard)
BOARDS_WITH_BUTTON = ("respeaker-2mic", "voice-bonnet")
"""Which the node has to know too (`swarm.config.SatelliteSection.board`)."""
BOARDS_WITH_OVERLAY = (*BOARDS_WITH_BUTTON, "hifiberry-dac")
BOARD_FILE = "board.txt"
"""Which config.txt of a Raspberry Pi includes, on the boot partition of each slot."""

_HostOrAddress = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?\Z")]
_Text = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\Z")]


MEANT = {
    "hostname": "small letters, digits and hyphens, up to 63, such as kitchen-pi",
    "roles": f'any of {", ".join(ROLES)}, such as ["edge"]',
    "time_zone": "as the IANA database names it, such as Europe/Berlin",
    "locale": "a language, a country and UTF-8, such as en_GB.UTF-8",
    "ntp": 'names or addresses of time servers, such as ["192.168.1.1"]',
    "country": "two capital letters, such as DE",
    "audio.board": f"one of {', '.join(AUDIO_BOARDS)}",
    "wifi.ssid": "1 to 32 bytes, without control characters",
}
"""What belongs into a key, told to a person who wrote something else."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Root of all tables: an unknown key is an error."""


class WifiNetwork(Table, frozen=True):
    """[[wifi]]: a network that the machine joins by itself. Several: whichever is there."""

    ssid: Annotated[str, msgspec.Meta(min_length=1, max_length=32, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
    """At most 32 bytes of UTF-8."""
    password: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """8 to 63 printable ASCII characters, or 64 hexadecimal digits: the key that they and the name make. Empty: an
    open network."""
    hidden: bool = False
    """It does not announce its name."""

    def __repr__(self) -> str:
        return f"WifiNetwork({self.ssid!r})"  # the password stays out of logs


class AudioSettings(Table, frozen=True):
    """[audio]: what the machine hears and speaks with."""

    board: AudioBoard = "none"
    """A sound board that sits on the Pi's pins and needs its overlay; `usb` prefers what is plugged in by USB; `none`
    takes what is there."""
    microphone: _Text = "auto"
    """As in `swarm.config.SatelliteSection`."""
    speaker: _Text = "auto"


class SatelliteSettings(Table, frozen=True):
    """[satellite]: as in the node's configuration."""

    area: _Text = ""
    wake_words: Annotated[tuple[str, ...], msgspec.Meta(max_length=8)] = ()
    """Empty leaves the node's own."""


class Settings(Table, frozen=True):
    """The whole file."""

    hostname: Annotated[str, msgspec.Meta(pattern=HOSTNAME)] = ""
    """Empty: made from the machine's role and a few digits of its own."""
    token: Annotated[str, msgspec.Meta(max_length=2 * MAX_TOKEN_CHARS)] = ""
    """Of `mycoswarm invite`; good for one machine. Empty: it shows and says a code, for `mycoswarm approve`."""
    first: bool = False
    """It begins a swarm of its own, as `mycoswarm init` does, and lets the others in."""
    roles: Annotated[tuple[Role, ...], msgspec.Meta(max_length=4)] = ()
    """Empty: what the image was made for."""
    time_zone: Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2})?\Z")] = ""
    """`Europe/Berlin`; empty: UTC."""
    locale: Annotated[str, msgspec.Meta(pattern=r"^(([a-z]{2,3}_[A-Z]{2}|C)\.UTF-8)?\Z")] = ""
    """`en_GB.UTF-8`; empty: C.UTF-8."""
    ssh_keys: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_SSH_KEYS)] = ()
    """Lines as in `~/.ssh/id_ed25519.pub`. Empty: ssh stays off."""
    ntp: Annotated[tuple[_HostOrAddress, ...], msgspec.Meta(max_length=8)] = ()
    """Time servers. Empty: those that the network names, and the swarm."""
    country: Annotated[str, msgspec.Meta(pattern=r"^([A-Z]{2})?\Z")] = ""
    """ISO 3166, such as DE: which Wi-Fi channels are allowed where the machine stands."""
    wifi: Annotated[tuple[WifiNetwork, ...], msgspec.Meta(max_length=MAX_WIFI)] = ()
    audio: AudioSettings = AudioSettings()
    satellite: SatelliteSettings = SatelliteSettings()
    config: dict[str, Any] = {}
    """Any part of the node's configuration file, as `[config.bus]` with its keys."""

    def __repr__(self) -> str:
        said = [field for field in self.__struct_fields__ if getattr(self, field) != getattr(Settings(), field)]
        return f"Settings({', '.join(said)})"  # token and passwords stay out of logs


def read_settings(path: Path) -> Settings:
    """The file at `path`. Raises `ConfigError` naming file, line and key."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES // 1024} KB", hint="it holds settings and nothing else")
    try:
        # Windows' editor may have written the byte order mark and its own line ends.
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no UTF-8 text: {error}", hint="save it as UTF-8") from error
    return parse_settings(text, origin=str(path))


def parse_settings(text: str, *, origin: str) -> Settings:
    """The settings in `text`; `origin` is how errors call it. Raises `ConfigError` naming file, line and key."""
    data = parse_table(text, origin=origin)
    _refuse_unknown_keys(data, text, origin)
    settings = shaped(data, Settings, text, origin=origin, meant=MEANT)
    wrong = mistake(settings)
    if wrong is not None:
        key, index, error = wrong
        line = line_in_table(text, "wifi", index, key.partition(".")[2]) if index is not None else None
        raise ConfigError(f"{origin}:{line or line_of(text, key)}: {key}: {error}", hint=error.hint)
    if settings.config:
        _check_config(settings.config, text, origin)
        try:
            node_config(settings)
        except ConfigError as error:
            key = str(error).partition(" ")[0]
            raise ConfigError(f"{origin}:{line_of(text, key)}: {error}", hint=error.hint) from error
    return settings


def mistake(settings: Settings) -> tuple[str, int | None, MycoswarmError] | None:
    """The first value that has its shape and makes no sense: its key, which `[[wifi]]`, and what is wrong with it."""
    checks: list[tuple[str, Any]] = [("time_zone", lambda: _check_time_zone(settings.time_zone))]
    if settings.token:
        checks.append(("token", lambda: _check_token(settings)))
    checks += [("ssh_keys", lambda key=key: check_public_key(key)) for key in settings.ssh_keys]
    checks.append(("satellite.wake_words", lambda: _check_wake_words(settings.satellite.wake_words)))
    for key, check in checks:
        try:
            check()
        except MycoswarmError as error:
            return key, None, error
    for index, network in enumerate(settings.wifi):
        wrong = network_mistake(network)
        if wrong is not None:
            return f"wifi.{wrong[0]}", index, wrong[1]
    return None


def network_mistake(network: WifiNetwork) -> tuple[str, MycoswarmError] | None:
    """The key and what is wrong with it (IEEE 802.11: 32 bytes of name; 802.11i, annex H.4: the password)."""
    if len(network.ssid.encode()) > 32:
        return "ssid", MycoswarmError("longer than 32 bytes", hint="letters beyond ASCII take two or more each")
    if network.password and not re.fullmatch(r"[ -~]{8,63}|[0-9a-fA-F]{64}", network.password):
        hint = "8 to 63 letters, digits and signs of ASCII, or the key as 64 hexadecimal digits; empty: an open network"
        return "password", MycoswarmError("is no password of a Wi-Fi network", hint=hint)
    return None


def settings_toml(settings: Settings) -> str:
    """The file that says this, for people to read and change; only what is not the default."""
    said = msgspec.to_builtins(settings)
    wifi = said.pop("wifi", [])
    plain = {key: value for key, value in said.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in said.items() if isinstance(value, dict) and value}
    parts = [tomli_w.dumps(plain), *(f"[[wifi]]\n{tomli_w.dumps(network)}" for network in wifi), tomli_w.dumps(tables)]
    return "\n".join(part for part in parts if part)


def without_secrets(settings: Settings) -> Settings:
    """What may stay where everybody can read it: no token, no Wi-Fi, nothing of the node's own configuration, which
    may hold a broker's password."""
    return msgspec.structs.replace(settings, token="", wifi=(), config={})


def combined(first: Settings, second: Settings) -> Settings:
    """`first`, and where that says nothing, `second`."""
    chosen = {}
    for field in Settings.__struct_fields__:
        one, other = getattr(first, field), getattr(second, field)
        if isinstance(one, AudioSettings | SatelliteSettings):
            inner = {key: getattr(one, key) for key in msgspec.to_builtins(one)}
            chosen[field] = msgspec.structs.replace(other, **inner)
        else:
            chosen[field] = one or other
    return Settings(**chosen)


def node_config(settings: Settings) -> dict[str, Any]:
    """What the settings say for the node's `config.toml`, besides the folders and ports that an image settles.

    Raises `ConfigError` when `[config]` contradicts what is said before it.
    """
    satellite: dict[str, Any] = {}
    for key, value, default in (
        ("microphone", settings.audio.microphone, "auto"),
        ("speaker", settings.audio.speaker, "auto"),
        ("area", settings.satellite.area, ""),
        ("wake_words", list(settings.satellite.wake_words), []),
    ):
        if value != default:
            satellite[key] = value
    if settings.audio.board in BOARDS_WITH_BUTTON:
        satellite["board"] = settings.audio.board
    own: dict[str, dict[str, Any]] = {"satellite": satellite}
    own["node"] = {"name": settings.hostname} if settings.hostname else {}
    own["swarm"] = {"roles": list(settings.roles)} if settings.roles else {}
    whole = {section: dict(values) for section, values in settings.config.items()}
    for section, values in own.items():
        for key, value in values.items():
            if whole.setdefault(section, {}).setdefault(key, value) != value:
                raise ConfigError(
                    f"config.{section}.{key} says {whole[section][key]!r}, and the settings before it {value!r}",
                    hint="leave one of them out",
                )
    return {section: values for section, values in whole.items() if values}


def board_txt(settings: Settings) -> str:
    """What `BOARD_FILE` has to say; empty when the Pi's firmware need not know of the sound board."""
    board = settings.audio.board
    return f"dtoverlay={board}\n" if board in BOARDS_WITH_OVERLAY else ""


def _check_token(settings: Settings) -> None:
    parse_token(settings.token)
    if settings.first:
        raise MycoswarmError("a machine that begins a swarm (first) joins none", hint="leave one of them out")


def _check_time_zone(name: str) -> None:
    if not name:
        return
    near = nearest_zone(name)
    if near != name:
        hint = f"did you mean {near}?" if near else "such as Europe/Berlin; timedatectl list-timezones names all"
        raise MycoswarmError(f'"{name}" is no time zone', hint=hint)


def _check_wake_words(words: tuple[str, ...]) -> None:
    for word in words:
        if word not in WAKE_WORDS:
            raise MycoswarmError(f'"{word}" is no wake word', hint=f"wake words are: {', '.join(WAKE_WORDS)}")


def _refuse_unknown_keys(data: dict[str, Any], text: str, origin: str) -> None:
    for key in data:
        if key not in Settings.__struct_fields__:
            raise unknown_key(key, Settings.__struct_fields__, text, origin=origin)
    for table, shape in (("audio", AudioSettings), ("satellite", SatelliteSettings)):
        content = data.get(table)
        for key in content if isinstance(content, dict) else ():
            if key not in shape.__struct_fields__:
                known = [f"{table}.{each}" for each in shape.__struct_fields__]
                raise unknown_key(f"{table}.{key}", known, text, origin=origin)


def _check_config(config: dict[str, Any], text: str, origin: str) -> Config:
    """What the node itself would say about `[config]`, with the lines of the settings where they can be told."""
    alone = _config_alone(text)
    try:
        same = parse_table(alone, origin=origin) == config
    except ConfigError:
        same = False
    if same:
        return parse_config(alone, origin=origin)
    return parse_config(tomli_w.dumps(config), origin=f"{origin}: [config]")


def _config_alone(text: str) -> str:
    """The lines of `[config.…]` as the node's own file would have them, at the same line numbers."""
    inside, lines = False, []
    for line in text.split("\n"):
        header = re.match(r"(\s*\[+\s*)([\w.-]+)(\s*\]+.*)$", line)
        if header:
            inside = header[2].startswith("config.")
            line = f"{header[1]}{header[2].removeprefix('config.')}{header[3]}" if inside else ""
        lines.append(line if inside else "")
    return "\n".join(lines)
