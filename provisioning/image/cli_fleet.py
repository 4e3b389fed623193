"""`mycoswarm image fleet` and `mycoswarm image manifest`: images for many machines, and for Raspberry Pi Imager."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarm.cli_common import config_option

if TYPE_CHECKING:
    from provisioning.image.fleet import Prepared
    from provisioning.plan import PlannedMachine


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Otherwise a folder named like the plan.")
@click.option("--base", type=click.Path(path_type=Path), default=Path("dist"), show_default=True, help="Built images.")
@click.option("--images", "own_images", is_flag=True, help="An image for each machine, too, with its settings in it.")
@click.option("--invite", is_flag=True, help="A token for each machine, good for 7 days, of the node that runs here.")
@click.option("--dry-run", is_flag=True, help="Only show what would be made.")
@config_option
def fleet(
    plan: Path, out: Path | None, base: Path, own_images: bool, invite: bool, dry_run: bool, config_path: Path | None
) -> None:
    """Prepare the cards and disks of many machines: two Pis, three office PCs, one GPU box.

    PLAN is a TOML file (docs/images.md). For each machine a file with its settings and its own token is made, to flash
    one image for each kind with; images that are missing are built. What is there already is kept: after an
    interruption, run it again.

    \b
    mycoswarm image fleet home.toml --dry-run
    mycoswarm image fleet home.toml --invite
    """
    from provisioning.image.fleet import base_image, image_name, prepare
    from provisioning.image.settings_options import INVITED_FOR_S, new_token, require_swarm
    from provisioning.plan import read_plan

    machines = read_plan(plan)
    kinds = {image_name(each): each for each in machines}
    found = {name: base_image(base, name) for name in kinds}
    _show(machines, found, tokens=invite)
    if dry_run:
        click.echo("nothing was made", err=True)
        return
    if invite:
        require_swarm(config_path)  # told now, and not after building
    images = {}
    for name, machine in kinds.items():
        images[name] = found[name] or _built(machine, base)
    prepared = prepare(
        machines,
        out or plan.with_suffix(""),
        images=images,
        own_images=own_images,
        new_token=(lambda: new_token(config_path)) if invite else None,
        tokens_last_s=INVITED_FOR_S,
        tell=lambda line: click.echo(line, err=True),
    )
    _say_what_is_next(prepared, own_images=own_images)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--url", "base_url", default="", metavar="URL", help="Where the folder is on the web, if it is.")
def manifest(folder: Path, base_url: str) -> None:
    """Write the list by which Raspberry Pi Imager offers the images in DIR, and print its path.

    In Imager 2: App options, Content repository, Use custom file. Imager then asks for hostname, Wi-Fi and ssh key, and
    the machine reads them at its first boot. A password is not used: there is none to log in with.

    \b
    mycoswarm image manifest dist
    """
    from provisioning.image.imager_manifest import write_manifest

    click.echo(write_manifest(folder, base_url=base_url))


def _built(machine: PlannedMachine, base: Path) -> Path:
    from provisioning.image.cli_build import built

    return built(machine.node, machine.board, out=base)[0]


def _show(machines: Sequence[PlannedMachine], found: dict[str, Path | None], *, tokens: bool) -> None:
    from provisioning.image.fleet import image_name
    from swarm.tables import plain_table

    rows = []
    for each in machines:
        settings, image = each.settings, found[image_name(each)]
        if settings.first:
            swarm = "begins it"
        else:
            swarm = "has a token" if settings.token else "gets a token" if tokens else "asks by code"
        shown = image.name if image else f"{image_name(each)}: is built first"
        rows.append([settings.hostname, each.board, ", ".join(settings.roles) or each.node, settings.satellite.area])
        rows[-1] += [swarm, shown, each.note]
    headers = ["machine", "board", "role", "area", "swarm", "image", "note"]
    width = len(headers) if any(row[-1] for row in rows) else len(headers) - 1
    click.echo(plain_table([row[:width] for row in rows], headers[:width]))


def _say_what_is_next(prepared: Sequence[Prepared], *, own_images: bool) -> None:
    from provisioning.settings import read_settings

    click.echo("\nNext, for each machine, with its card or disk:", err=True)
    for each in prepared:
        options = "" if own_images else f" --settings {each.settings}"
        click.echo(f"sudo mycoswarm image flash {each.image} /dev/…{options}")
    if any(read_settings(each.settings).token for each in prepared):
        click.echo("Each holds a token, which is good for one machine: write it to one card only.", err=True)
