"""`mycoswarm image flash`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provisioning.image.settings_options import chosen_settings, invited, say_settings, settings_options
from swarm.cli_common import config_option
from swarm.errors import MycoswarmError

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from provisioning.image.bmap import Bmap
    from provisioning.image.disks import Disk, DiskList
    from provisioning.settings import Settings


@click.command()
@click.argument("image_file", metavar="IMAGE", type=click.Path(path_type=Path))
@click.argument("disk", metavar="[/dev/DISK]", type=click.Path(path_type=Path, readable=False), required=False)
@click.option("--internal", is_flag=True, help="The disk is built in, and the right one.")
@click.option("--large", is_flag=True, help="The disk is larger than 2 TB, and the right one.")
@click.option("--model", metavar="NAME", help="The disk's model, instead of typing it when asked.")
@click.option("--signer", type=click.Path(path_type=Path, exists=True), metavar="PEM", help="Whose signature counts.")
@settings_options
@config_option
def flash(
    image_file: Path,
    disk: Path | None,
    internal: bool,
    large: bool,
    model: str | None,
    signer: Path | None,
    invite: bool,
    config_path: Path | None,
    **options: Any,
) -> None:
    """Write an image to a card or disk, check it, and say what is next. Needs root.

    Without a disk it shows those there are. All that is on the disk is lost: it asks for the name of its model first,
    and takes no disk that is mounted, read-only or this machine's own. With options about the machine, the card is made
    its own as `personalize` does, and the image stays for the next one.

    \b
    mycoswarm image flash mycoswarm-edge-pi.img.zst
    sudo mycoswarm image flash mycoswarm-edge-pi.img.zst /dev/sdb --hostname kitchen-pi --area Kitchen
    """
    from provisioning.image.disks import ThisMachine

    write_to(
        ThisMachine(),
        image_file,
        disk,
        settings=chosen_settings(invite=invite, **options),
        internal=internal,
        large=large,
        model=model,
        signer=signer,
        invite=(lambda settings: invited(settings, config_path)) if invite else None,
    )


def write_to(
    machine: DiskList,
    image: Path,
    path: Path | None,
    *,
    settings: Settings | None,
    internal: bool,
    large: bool,
    model: str | None,
    signer: Path | None,
    invite: Callable[[Settings], Settings] | None = None,
) -> None:
    """What the command does, with the disks of `machine`. `invite` adds a token, when all questions are answered."""
    from provisioning.image.checksums import check_sums
    from provisioning.image.disks import disks, find_disk, gigabytes
    from provisioning.image.flash import Device, check_image
    from provisioning.image.flash import flash as write_image
    from provisioning.image.personalize import put_settings, settings_of

    if not image.is_file():
        raise MycoswarmError(f"there is no image {image}", hint="mycoswarm image build makes one")
    vouched = check_sums(image, certificate=signer)
    bmap = _map_of(image)
    known = disks(machine)
    if path is None:
        _show(known, bmap.image_size, internal=internal, large=large)
        return
    disk = find_disk(path, known)
    _refuse(disk, bmap.image_size, internal=internal, large=large)
    if not os.access(disk.path, os.W_OK):
        raise MycoswarmError(f"{disk.path} may be written by root only", hint="run it with sudo")
    click.echo(f"image  {image.name}, {gigabytes(bmap.mapped_bytes)} to write; vouched for by {vouched}", err=True)
    click.echo(f"disk   {disk.model}, {gigabytes(disk.size)}, {disk.path}", err=True)
    with _Bars() as progress:
        check_image(image, bmap, progress)
    _confirm(disk, model)
    if invite is not None and settings is not None:
        settings = invite(settings)
    # A card may have been mounted, or another one put in, while its name was typed.
    now = find_disk(path, disks(machine))
    if (now.model, now.size) != (disk.model, disk.size):
        raise MycoswarmError(f"{disk.path} is another disk now: {now.model}", hint="begin again")
    _refuse(now, bmap.image_size, internal=internal, large=large)
    device = Device(disk.path)
    try:
        with _Bars() as progress:
            write_image(image, bmap, device, progress)
        if settings is not None:  # before the kernel sees the partitions: a desktop may mount them at once
            put_settings(disk.path, settings)
            device.flush()
        found = settings_of(disk.path)
    except KeyboardInterrupt:
        click.echo(f"\nstopped: {disk.path} holds no usable system now", err=True)
        raise
    finally:
        device.close()
    if settings is not None:
        if found != settings:
            raise MycoswarmError(f"the settings did not reach {disk.path}", hint="try again, or use another card")
        say_settings(settings, invited=invite is not None)
    click.echo(f"{disk.model} ({disk.path}) holds {image.name}, and was read back: it is right")
    _say_what_is_next(found)


def _map_of(image: Path) -> Bmap:
    from provisioning.image.bmap import make_bmap, read_bmap
    from provisioning.image.checksums import bmap_path

    if bmap_path(image).exists():
        return read_bmap(bmap_path(image))
    if image.suffix == ".zst":
        raise MycoswarmError(
            f"{image} has no block map beside it ({bmap_path(image).name})",
            hint=f"get it too, or decompress the image: zstd -d {image}",
        )
    return make_bmap(image, [(0, image.stat().st_size)])


def _show(known: tuple[Disk, ...], needed: int, *, internal: bool, large: bool) -> None:
    from provisioning.image.disks import gigabytes, refusals
    from swarm.tables import plain_table

    rows = []
    for each in known:
        why = refusals(each, needed, internal=internal, large=large)
        rows.append([str(each.path), each.model, gigabytes(each.size), why[0].because if why else "can be written"])
    if rows:
        click.echo(plain_table(rows, ("disk", "model", "size", ""), right=("size",)))
    click.echo("name the disk to write to; a card that was just put in takes a few seconds to show", err=True)


def _refuse(disk: Disk, needed: int, *, internal: bool, large: bool) -> None:
    from provisioning.image.disks import refusals

    why = refusals(disk, needed, internal=internal, large=large)
    if why:
        raise MycoswarmError(
            f"{disk.path} ({disk.model}) is not written: {'; '.join(each.because for each in why)}",
            hint="; ".join(each.do for each in why if each.do)
            if all(each.do for each in why)
            else "choose another disk",
        )


def _confirm(disk: Disk, model: str | None) -> None:
    click.echo(f"Everything on {disk.model} ({disk.path}) will be lost.", err=True)
    typed = model if model is not None else click.prompt("Type the disk's model to go on", default="", err=True)
    if " ".join(typed.split()).casefold() != disk.model.casefold():
        raise MycoswarmError(f'"{typed}" is not its model: nothing was written', hint=f"it is called {disk.model}")


def _say_what_is_next(settings: Settings) -> None:
    click.echo("\nNext: put it into its machine and switch that on. The first boot takes one to two minutes:", err=True)
    click.echo('  it says "ready" when it is part of the swarm, or what is missing', err=True)
    if not settings.token and not settings.first:
        click.echo("  it says and shows a code: run mycoswarm approve on a machine of the swarm and compare", err=True)
    if not settings.wifi:
        click.echo("  without a cable it opens a Wi-Fi of its own after two minutes, to choose yours", err=True)


class _Bars:
    """One progress bar after the other, at a terminal."""

    def __init__(self) -> None:
        self._phase, self._done = "", 0
        self._bar: ProgressBar[int] | None = None
        self._showing = ExitStack()

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._showing.close()

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase != self._phase or self._bar is None:
            self._showing.close()
            self._phase, self._done = phase, 0
            bar: ProgressBar[int] = click.progressbar(length=total, label=f"{phase:<9}", file=sys.stderr)
            self._bar = self._showing.enter_context(bar)
        self._bar.update(done - self._done)
        self._done = done
