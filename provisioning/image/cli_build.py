"""`mycoswarm image build`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import click

from provisioning.image.settings_options import chosen_settings, personal_copy, settings_options
from swarm.cli_common import config_option

_SNAPSHOT = re.compile(r"\d{8}T\d{6}Z")


@click.command()
@click.option("--node", type=click.Choice(["edge", "worker", "gpu"]), required=True, help="What the machine is to be.")
@click.option("--board", required=True, metavar="BOARD", help="x86_64, rpi3, rpi4, rpi5 or zero2w.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("dist"), show_default=True, help="Folder for it.")
@click.option("--cache", type=click.Path(path_type=Path), help="Where Debian's part is kept.  [~/.cache/mycoswarm]")
@click.option("--keys", type=click.Path(path_type=Path), help="Your signing key.  [~/.local/share/mycoswarm/keys]")
@click.option("--snapshot", default="", metavar="DATE", help="Debian as it was then: 20261101T000000Z.")
@settings_options
@config_option
def build(
    node: str,
    board: str,
    out: Path,
    cache: Path | None,
    keys: Path | None,
    snapshot: str,
    config_path: Path | None,
    **options: Any,
) -> None:
    """Build an image and print the files that were made.

    With options about the machine, a copy for that one machine is made beside it, as `personalize` does.

    The first build for a kind of board downloads Debian; later ones take what is kept. All Raspberry Pis have the same
    image. The same source, SOURCE_DATE_EPOCH and archive make the same bytes.

    \b
    mycoswarm image build --node worker --board x86_64
    mycoswarm image build --node edge --board rpi4 --out /srv/images
    mycoswarm image build --node edge --board rpi4 --hostname kitchen-pi --area Kitchen --invite
    """
    if snapshot and not _SNAPSHOT.fullmatch(snapshot):
        raise click.BadParameter("a date and time such as 20261101T000000Z", param_hint="--snapshot")
    settings = chosen_settings(**options)
    made = built(node, board, out=out, cache=cache, keys=keys, snapshot=snapshot)
    for path in made:
        click.echo(path)
    if settings is not None:
        click.echo(personal_copy(made[0], settings, invite=options["invite"], config_path=config_path))


def built(
    node: str, board: str, *, out: Path, cache: Path | None = None, keys: Path | None = None, snapshot: str = ""
) -> list[Path]:
    """Builds an image, telling how far it is; the files that were made, the compressed image first. Raises
    `MycoswarmError`."""
    from provisioning.image.build import Inputs, build_image
    from provisioning.image.recipe import recipe
    from provisioning.package.build import SOURCE_ROOT, build_package
    from provisioning.package.source import Source
    from provisioning.package.target import Target
    from provisioning.signing import signer

    def package(python: str, architecture: str, gpu: bool, folder: Path) -> Path:
        return build_package(Target(python, architecture, gpu), out=folder)

    inputs = Inputs(
        build_package=package,
        signer=signer(keys),
        cache=cache or _cache_folder(),
        epoch=int(os.environ.get("SOURCE_DATE_EPOCH") or Source(SOURCE_ROOT).epoch()),
    )
    return build_image(recipe(node, board, snapshot=snapshot), inputs, out, lambda line: click.echo(line, err=True))


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mycoswarm"
