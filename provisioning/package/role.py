"""What this machine is to be: found out from what it has, or said by a person; written where the node reads it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from swarm.errors import ConfigError, MycoswarmError
from swarm.packaged import CONFIG

if TYPE_CHECKING:
    from swarm.config import Role

TEMPLATE = Path("/usr/share/mycoswarm/config.toml")
WANTED = Path("/etc/systemd/system/mycoswarm.target.wants")

ROLES: dict[str, tuple[Role, ...]] = {
    "edge": ("edge",),
    "hub": ("hub", "edge"),
    "worker": ("worker",),
    "gpu": ("gpu", "worker"),
}
"""By the word that a person says, what stands in the configuration. A hub listens with its own microphone, if any."""

SMALL_KB = 1_500_000
"""A Raspberry Pi with less memory than this is a satellite of others: hub and engines want about a gigabyte."""

_NVIDIA, _DISPLAY = "0x10de", "0x03"
_ROLES_LINE = re.compile(r"^roles[ \t]*=[ \t]*\[[^\]#]*\][ \t]*(#.*)?$", re.MULTILINE)
_SECTION = re.compile(r"^\[swarm\][ \t]*(?:#.*)?$", re.MULTILINE)


def detected_role(root: Path = Path("/")) -> str:
    """What the machine with this /proc and /sys is best at: one of `ROLES`.

    A graphics card by NVIDIA: gpu. A small Raspberry Pi: edge. Everything else: hub, which does all of it alone, and
    more with others. Never worker: a machine that nobody can ask is only right where somebody says so.
    """
    if any(_is_nvidia(device) for device in (root / "sys/bus/pci/devices").glob("*")):
        return "gpu"
    if is_raspberry_pi(root):
        memory = re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
        if memory and int(memory[1]) < SMALL_KB:
            return "edge"
    return "hub"


def is_raspberry_pi(root: Path = Path("/")) -> bool:
    """Whether the machine with this /proc is one."""
    return "Raspberry Pi" in _text(root / "proc/device-tree/model")


def with_roles(text: str, roles: tuple[Role, ...]) -> str:
    """The configuration `text`, with `roles` in its [swarm]; everything else, comments too, stays as it is."""
    quoted = ", ".join(f'"{each}"' for each in roles)
    line = f"roles = [{quoted}]"
    section = _SECTION.search(text)
    if section is None:
        return f"{text.rstrip()}\n\n[swarm]\n{line}\n" if text.strip() else f"[swarm]\n{line}\n"
    following = re.compile(r"^\[", re.MULTILINE).search(text, section.end())
    end = following.start() if following else len(text)
    body = text[section.end() : end]
    changed, found = _ROLES_LINE.subn(line, body, count=1)
    if not found:
        changed = f"\n{line}{body}"
    return text[: section.end()] + changed + text[end:]


def unit_of(roles: tuple[str, ...], *, on_board: bool) -> str:
    """The one unit that runs a node with these roles: its limits and devices fit the most demanding of them.

    `on_board`: on a Raspberry Pi, where microphone, button and lights may hang on the board's own buses.
    """
    if "gpu" in roles:
        return "mycoswarm-gpu.service"
    if "edge" in roles and (on_board or "hub" not in roles):
        return "mycoswarm-edge.service"
    if "hub" in roles or not roles:
        return "mycoswarm-hub.service"
    return "mycoswarm-worker.service"


def write_role(role: str, config: Path = CONFIG, template: Path = TEMPLATE) -> None:
    """Put what `role` means into the configuration, made from the template if missing. Raises `MycoswarmError`."""
    from swarm.config import parse_config  # `install.sh` asks for the detected role before there is any library

    source = config if config.exists() else template
    try:
        before = source.read_text(encoding="utf-8")
        after = with_roles(before, ROLES[role])
        if source is config and after == before:
            return
        parse_config(before, origin=str(source))
        try:
            parse_config(after, origin=str(source))
        except ConfigError:
            raise ConfigError(
                f"{config}: [swarm] roles is written in a way that was not found", hint="set it by hand"
            ) from None
        _replace(config, after)
    except OSError as error:
        raise MycoswarmError(f"{config} cannot be written: {error.strerror}", hint="run it as root") from error


def _replace(config: Path, text: str) -> None:
    """As one step, with the owner and rights that the file or its folder had."""
    new = config.with_name(config.name + ".new")
    new.touch(mode=0o640)
    new.write_text(text, encoding="utf-8")
    like = config if config.exists() else config.parent
    owner = like.stat()
    os.chown(new, owner.st_uid, owner.st_gid)
    new.chmod(owner.st_mode & 0o640 if like is config else 0o640)
    new.replace(config)


def enable_unit(unit: str) -> None:
    """Let this unit, and no other role's, start at boot; in a chroot too. What runs now is left as it is."""
    others = [f"mycoswarm-{role}.service" for role in ROLES if f"mycoswarm-{role}.service" != unit]
    for other in others:  # on an image the folder is a link, which `disable` does not follow
        (WANTED / other).unlink(missing_ok=True)
    for command in (["disable", *others], ["enable", "mycoswarm.target", unit]):
        done = subprocess.run(
            ["systemctl", "--quiet", *command], capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode != 0:
            raise MycoswarmError(f"systemctl {' '.join(command)} failed", hint=done.stderr.strip() or "run it as root")


def _is_nvidia(device: Path) -> bool:
    return _text(device / "vendor").startswith(_NVIDIA) and _text(device / "class").startswith(_DISPLAY)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
