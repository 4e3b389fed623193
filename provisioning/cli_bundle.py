"""`mycoswarm update bundle`: an update of what was built here."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="IMAGE")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Instead of ….raucb beside the image.")
def bundle(source: Path, out: Path | None) -> None:
    """Make a signed update of a newly built IMAGE, for the nodes that run an older one of it.

    Nodes accept it if their image was built with the same key: yours is made at the first build and kept in
    ~/.local/share/mycoswarm/keys.

    \b
    mycoswarm update bundle edge-rpi4.img.zst
    """
    from provisioning.bundle import build_bundle
    from provisioning.signing import signer

    stem = source.name.removesuffix(".zst").removesuffix(".img").removesuffix(".squashfs")
    made = out or source.with_name(f"{stem}.raucb")
    info = build_bundle(source, made, signer())
    click.echo(f"{made}: {info.version} for {info.compatible}, {made.stat().st_size / 1e6:.0f} MB")
