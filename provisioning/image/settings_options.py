"""The options by which a person settles a machine, for every command that makes or writes an image."""

from __future__ import annotations

import getpass
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from swarm.errors import ConfigError, MycoswarmError

if TYPE_CHECKING:
    from provisioning.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

INVITED_FOR_S = 7 * 86_400.0
"""Time to write the card, and to carry it to where it belongs."""

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_OPTIONS = (
    click.option("--settings", "settings_file", type=_FILE, metavar="FILE", help="Settings as in mycoswarm.toml."),
    click.option("--hostname", metavar="NAME", help="What the machine is called."),
    click.option("--token", metavar="MYCO1-…", help="Join the swarm with this token."),
    click.option("--invite", is_flag=True, help="Join the swarm of the node that runs here: makes a token for 7 days."),
    click.option("--first", is_flag=True, help="Begin a swarm: this is its first machine."),
    click.option("--role", "roles", multiple=True, metavar="ROLE", help="hub, edge, gpu or worker; can be repeated."),
    click.option("--area", metavar="ROOM", help="The room it stands in."),
    click.option("--wifi", metavar="SSID", help="Join this Wi-Fi; the password is asked for."),
    click.option("--wifi-password-file", type=_FILE, metavar="FILE", help="Read the Wi-Fi password from here."),
    click.option("--country", metavar="XX", help="Where it stands, for Wi-Fi: DE, GB, US …"),
    click.option("--ssh-key", "ssh_keys", multiple=True, type=_FILE, metavar="FILE", help="Allow ssh with this key."),
    click.option("--time-zone", metavar="ZONE", help="Such as Europe/Berlin; otherwise this machine's."),
    click.option("--locale", metavar="LOCALE", help="Such as en_GB.UTF-8."),
    click.option("--audio", "sound_board", metavar="BOARD", help="The sound board: usb, respeaker-2mic, … none."),
    click.option("--microphone", metavar="NAME", help="A part of the name of the sound device, or none."),
    click.option("--speaker", metavar="NAME", help="A part of the name of the sound device, or none."),
)


def settings_options(command: Command) -> Command:
    """Adds the options; `chosen_settings(**those)` makes settings of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen_settings(
    *,
    settings_file: Path | None,
    hostname: str | None,
    token: str | None,
    invite: bool,
    first: bool,
    roles: tuple[str, ...],
    area: str | None,
    wifi: str | None,
    wifi_password_file: Path | None,
    country: str | None,
    ssh_keys: tuple[Path, ...],
    time_zone: str | None,
    locale: str | None,
    sound_board: str | None,
    microphone: str | None,
    speaker: str | None,
) -> Settings | None:
    """What the options say, over what `--settings` says; None when nothing was said.

    Asks for the Wi-Fi's password at the terminal. The token of `--invite` is not in it yet: `invited` adds it, when
    nothing else can go wrong. Raises `MycoswarmError`.
    """
    from provisioning.settings import Settings, combined, parse_settings, read_settings, settings_toml

    if sum((bool(token), invite, first)) > 1:
        raise click.UsageError("choose one of --token, --invite and --first")
    if wifi_password_file and not wifi:
        raise click.UsageError("--wifi-password-file belongs to --wifi SSID")
    said: dict[str, Any] = {
        "hostname": hostname,
        "first": first,
        "roles": list(roles),
        "country": country,
        "time_zone": time_zone,
        "locale": locale,
        "ssh_keys": [key for path in ssh_keys for key in _keys_in(path)],
        "audio": {"board": sound_board, "microphone": microphone, "speaker": speaker},
        "satellite": {"area": area},
    }
    said["audio"] = {key: value for key, value in said["audio"].items() if value}
    said["satellite"] = {key: value for key, value in said["satellite"].items() if value}
    given = {key: value for key, value in said.items() if value}
    if not (given or token or invite or wifi or settings_file):
        return None
    base = read_settings(settings_file) if settings_file else Settings()
    settings = combined(_parsed(given), base)
    if wifi:
        network = {"ssid": wifi, "password": _wifi_password(wifi, wifi_password_file)}
        settings = combined(_parsed({"wifi": [network]}), settings)
    if not settings.time_zone:
        settings = combined(_parsed({"time_zone": own_time_zone()}), settings)
    if token:
        settings = combined(_parsed({"token": token}), settings)
    settings = parse_settings(settings_toml(settings), origin="the settings")
    if invite and (settings.token or settings.first):
        raise click.UsageError("--invite makes a token, and the settings have one, or begin a swarm")
    return settings


def invited(settings: Settings, config_path: Path | None) -> Settings:
    """The same, with a token of the node that runs here. Raises `MycoswarmError`."""
    from provisioning.settings import Settings, combined

    return combined(Settings(token=new_token(config_path)), settings)


def new_token(config_path: Path | None) -> str:
    """A token of the node that runs here: under sudo that of the person who said it. Raises `MycoswarmError`."""
    return _asked(config_path, token=True)


def require_swarm(config_path: Path | None) -> None:
    """Raises `MycoswarmError` when no node runs here that belongs to a swarm."""
    _asked(config_path, token=False)


def _asked(config_path: Path | None, *, token: bool) -> str:
    # In a process of its own: who asks a node becomes its user for good, and root has a disk to write afterwards.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as child:
        answer, wrong, hint = child.submit(_answer_or_why_not, config_path, token).result()
    if wrong:
        raise MycoswarmError(wrong, hint=hint)
    return answer


def _answer_or_why_not(config_path: Path | None, token: bool) -> tuple[str, str, str]:
    import swarm.config
    import swarm.swarm_client  # noqa: F401  (another user may not read where Python and this program are)
    from swarm.cli_common import load, swarm_node

    try:
        _be_who_said_sudo()
        node = swarm_node(load(config_path))
        if token:
            return node.invite(INVITED_FOR_S).token, "", ""
        if not node.swarm().swarm_id:
            return "", "this machine belongs to no swarm", "mycoswarm init begins one, mycoswarm join joins one"
        return "", "", ""
    except MycoswarmError as error:
        return "", str(error), error.hint


def _be_who_said_sudo() -> None:
    import pwd

    from swarm.packaged import is_packaged

    person = os.environ.get("SUDO_UID", "")
    if os.geteuid() != 0 or is_packaged() or not person.isdecimal() or person == "0":
        return
    try:
        found = pwd.getpwuid(int(person))
    except KeyError:
        return
    os.initgroups(found.pw_name, found.pw_gid)
    os.setgid(found.pw_gid)
    os.setuid(found.pw_uid)
    os.environ["HOME"] = found.pw_dir


def personal_copy(
    image: Path, settings: Settings, *, invite: bool, config_path: Path | None, out: Path | None = None
) -> Path:
    """Makes the copy for one machine, and says what it is. Raises `MycoswarmError`."""
    from provisioning.image.boot_partition import boot_partition
    from provisioning.image.personalize import default_out, personalized

    if image.suffix != ".zst" and image.is_file():
        boot_partition(image)  # a file that is no image costs no token
    if invite:
        settings = invited(settings, config_path)
    made = personalized(image, settings, out or default_out(image, settings))
    say_settings(settings, invited=invite)
    return made


def say_settings(settings: Settings, *, invited: bool) -> None:
    """What the machine will be, in a few lines; no secrets."""
    from provisioning.settings import WifiNetwork

    def told(network: WifiNetwork) -> str:
        return f'"{network.ssid}"' + ("" if network.password else " (open)")

    click.echo(f"  name       {settings.hostname or 'made from its role, at the first boot'}", err=True)
    if settings.roles or settings.satellite.area:
        click.echo(f"  is         {', '.join(settings.roles) or 'what the image is for'}", nl=False, err=True)
        click.echo(f", in {settings.satellite.area}" if settings.satellite.area else "", err=True)
    click.echo(f"  network    cable{''.join(f', or Wi-Fi {told(each)}' for each in settings.wifi)}", err=True)
    click.echo(f"  time zone  {settings.time_zone or 'UTC'}", err=True)
    click.echo(f"  ssh        {_count(len(settings.ssh_keys), 'key') if settings.ssh_keys else 'off'}", err=True)
    if settings.audio.board != "none":
        click.echo(f"  audio      {settings.audio.board}", err=True)
    if settings.first:
        swarm = "begins one"
    elif invited:
        swarm = "joins the one of the node here, with a token that is good for 7 days and for one machine"
    elif settings.token:
        swarm = "joins with its token, which is good for one machine: write one card with it"
    else:
        swarm = "none yet: it says a code when it is up, for mycoswarm approve"
    click.echo(f"  swarm      {swarm}", err=True)
    if settings.wifi and not settings.country:
        click.echo("  Without --country some Wi-Fi channels stay off, on 5 GHz most.", err=True)


def own_time_zone() -> str:
    """This machine's, as systemd keeps it (localtime(5)); empty when it has none."""
    try:
        target = Path("/etc/localtime").readlink()
    except OSError:
        return ""
    _, found, zone = str(target).partition("zoneinfo/")
    return zone if found and zone not in ("UTC", "Etc/UTC") else ""


def _parsed(values: dict[str, Any]) -> Settings:
    """Checked as a file would be, and the error names the option."""
    import tomli_w

    from provisioning.settings import parse_settings

    try:
        return parse_settings(tomli_w.dumps(values), origin="the settings")
    except ConfigError as error:
        key, _, message = str(error).partition(": ")[2].partition(": ")
        raise ConfigError(f"{_option_of(key)}: {message}", hint=error.hint) from None


def _option_of(key: str) -> str:
    named = {"audio.board": "--audio", "roles": "--role", "ssh_keys": "--ssh-key", "satellite.area": "--area"}
    named |= {"wifi.ssid": "--wifi", "wifi.password": "the password of --wifi"}
    return named.get(key, f"--{key.rpartition('.')[2].replace('_', '-')}")


def _keys_in(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MycoswarmError(f"cannot read {path}: {error}") from error
    if "PRIVATE KEY" in text:
        raise MycoswarmError(f"{path} is a private key, which belongs on no other machine", hint=f"name {path}.pub")
    keys = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise MycoswarmError(f"{path} has no key in it", hint="ssh-keygen -t ed25519 makes one")
    return keys


def _wifi_password(ssid: str, path: Path | None) -> str:
    if path is not None:
        text = path.read_text(encoding="utf-8", errors="replace")
        return text.removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise MycoswarmError(
            f'the password of the Wi-Fi "{ssid}" cannot be asked for: there is no terminal',
            hint="name a file with --wifi-password-file; an empty file means an open network",
        )
    return getpass.getpass(f'password of the Wi-Fi "{ssid}" (empty: an open network): ')


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
