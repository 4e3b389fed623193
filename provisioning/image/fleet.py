"""A folder with what is needed to write one card or disk for each planned machine.

For each machine its settings with a token of its own, `HOSTNAME.toml`, and if wanted an image that holds them. What is
there already is kept: a run that was interrupted, or lacked something, is simply repeated.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from provisioning.image.checksums import NotVerified, check_sums, sums_path
from provisioning.image.personalize import personalized
from provisioning.image.recipe import recipe
from provisioning.plan import PlannedMachine
from provisioning.settings import Settings, read_settings, settings_toml
from swarm.errors import MycoswarmError
from swarm.private_file import make_private_folder, write_private

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """One machine's part of the folder."""

    machine: PlannedMachine
    settings: Path
    image: Path
    """Its own, or the one for all of its kind."""


def image_name(machine: PlannedMachine) -> str:
    """How the images for this kind of machine begin. Raises `MycoswarmError` for a board that nobody knows."""
    return recipe(machine.node, machine.board).name


def base_image(folder: Path, name: str) -> Path | None:
    """The newest image of that name in the folder."""
    whole = re.compile(rf"{re.escape(name)}-[0-9][\w.+~]*\.img\.zst")  # a machine's own copy has its name behind that
    found = [path for path in folder.glob(f"{name}-*.img.zst") if whole.fullmatch(path.name)]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def prepare(
    machines: Sequence[PlannedMachine],
    out: Path,
    *,
    images: dict[str, Path],
    own_images: bool,
    new_token: Callable[[], str] | None,
    tokens_last_s: float,
    tell: Tell,
) -> list[Prepared]:
    """Makes what is not there yet. `images` are by `image_name`; without `new_token` machines ask by code.

    Raises `MycoswarmError`; what was made until then stays, and is taken the next time.
    """
    make_private_folder(out)
    prepared = []
    for machine in machines:
        base = images[image_name(machine)]
        path = out / f"{machine.settings.hostname}.toml"
        settings = _kept(path, machine.settings, tokens_last_s=tokens_last_s, replaces=new_token is not None, tell=tell)
        if settings is None:
            settings = machine.settings
            if new_token is not None and not settings.token and not settings.first:
                settings = msgspec.structs.replace(settings, token=new_token())
            write_private(path, settings_toml(settings).encode())
            tell(f"{path}: made")
        image = base
        if own_images:
            image = out / f"{machine.settings.hostname}.img.zst"
            if _is_whole(image, newer_than=path):
                tell(f"{image}: kept")
            else:
                sums_path(image).unlink(missing_ok=True)
                personalized(base, settings, image)
                tell(f"{image}: made")
        prepared.append(Prepared(machine, path, image))
    return prepared


def _kept(path: Path, planned: Settings, *, tokens_last_s: float, replaces: bool, tell: Tell) -> Settings | None:
    """The settings of an earlier run, if they still serve. Raises `MycoswarmError` when they say something else."""
    if not path.exists():
        return None
    found = read_settings(path)
    if msgspec.structs.replace(found, token="") != msgspec.structs.replace(planned, token="") or (
        planned.token and found.token != planned.token
    ):
        raise MycoswarmError(
            f"{path} says something else than the plan does", hint="remove it to make it anew, or name another --out"
        )
    if found.token and not planned.token and replaces and time.time() - path.stat().st_mtime > tokens_last_s:
        tell(f"{path}: its token is too old")
        return None
    if not found.token and replaces and not found.first:
        return None  # made without tokens before
    tell(f"{path}: kept")
    return found


def _is_whole(image: Path, *, newer_than: Path) -> bool:
    """Its checksums are written last."""
    if not image.exists() or not sums_path(image).exists():
        return False
    if image.stat().st_mtime < newer_than.stat().st_mtime:
        return False
    try:
        check_sums(image)
    except NotVerified:
        return False
    return True
