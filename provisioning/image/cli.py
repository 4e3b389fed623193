"""`mycoswarm image`: builds images, makes them a machine's own, writes them to cards and disks.

Imports are made by the commands that need them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from provisioning.image.cli_build import build
from provisioning.image.cli_flash import flash
from provisioning.image.cli_fleet import fleet, manifest
from provisioning.image.settings_options import chosen_settings, personal_copy, settings_options
from swarm.cli_common import config_option


@click.group()
def image() -> None:
    """Build images, make them a machine's own, write them to cards and disks.

    \b
    mycoswarm image build --node edge --board rpi4
    mycoswarm image personalize IMAGE --hostname kitchen-pi --area Kitchen --invite
    mycoswarm image flash IMAGE /dev/sdX
    """


@click.command()
@click.argument("image_file", metavar="IMAGE", type=click.Path(path_type=Path))
@settings_options
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Otherwise IMAGE-HOSTNAME beside it.")
@config_option
def personalize(image_file: Path, out: Path | None, config_path: Path | None, **options: Any) -> None:
    """Make a copy of an image that is one machine's own.

    IMAGE is ….img or ….img.zst, and stays as it is. A token lets one machine in, once: make one copy for each machine.
    Whoever can read the copy can read the token and the Wi-Fi password in it.

    \b
    mycoswarm image personalize mycoswarm-edge-pi.img.zst --hostname kitchen-pi --area Kitchen --invite
    mycoswarm image personalize mycoswarm-edge-pi.img.zst --settings kitchen.toml --wifi Home --country DE
    """
    settings = chosen_settings(**options)
    if settings is None:
        raise click.UsageError("say what makes it your own, such as --hostname kitchen-pi --invite")
    made = personal_copy(image_file, settings, invite=options["invite"], config_path=config_path, out=out)
    click.echo(made)
    click.echo(f"write it to a card or disk with: mycoswarm image flash {made} /dev/…", err=True)


image.add_command(build)
image.add_command(personalize)
image.add_command(flash)
image.add_command(fleet)
image.add_command(manifest)

COMMANDS = (image,)
