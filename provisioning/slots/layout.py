"""Where on the disk the slots are, and RAUC's configuration that follows from it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from provisioning.slots.model import BootWay, Slot
from provisioning.slots.raspberry_pi import RaspberryPi
from provisioning.slots.systemd_boot import SystemdBoot
from swarm.errors import ConfigError

LAYOUT = Path("/usr/lib/mycoswarm/slots.toml")
BOOT = Path("/boot/mycoswarm")
UPDATE_FOLDER = Path("/data/update")
HANDLER = "/usr/lib/mycoswarm/boot-slots"
PARTUUIDS = Path("/dev/disk/by-partuuid")

PartUuid = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{2}|-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$")
]


class Partitions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One partition for each slot, by PARTUUID, as `blkid` writes it."""

    A: PartUuid
    B: PartUuid

    def of(self, slot: Slot) -> str:
        """The slot's PARTUUID."""
        return self.A if slot is Slot.A else self.B


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`slots.toml`::

    way = "systemd-boot"                  # or "raspberry-pi"
    compatible = "mycoswarm-worker-amd64"
    [root]
    A = "2b3e…"
    B = "9c1d…"
    [boot]                                # raspberry-pi only: the FATs boot-a and boot-b
    A = "4d59434f-02"
    B = "4d59434f-03"
    """

    way: Literal["systemd-boot", "raspberry-pi"]
    compatible: Annotated[str, msgspec.Meta(pattern=r"^mycoswarm-[a-z0-9-]{1,60}$")]
    """What an update must be made for: node and board, `mycoswarm-edge-rpi4`."""
    root: Partitions
    boot: Partitions | None = None

    def boot_way(self) -> BootWay:
        """Who decides on its boot partition."""
        return SystemdBoot() if self.way == "systemd-boot" else RaspberryPi()


def parse_layout(text: str) -> Layout:
    """Raises `ConfigError`."""
    try:
        layout = msgspec.convert(tomllib.loads(text), Layout)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"the layout of the slots ({LAYOUT.name}): {error}") from error
    if (layout.boot is None) == (layout.way == "raspberry-pi"):
        raise ConfigError(f"the layout of the slots ({LAYOUT.name}): [boot] belongs to raspberry-pi, and only there")
    return layout


def layout_text(layout: Layout) -> str:
    """`slots.toml` of the layout."""
    tables = {"root": layout.root, "boot": layout.boot}
    lines = [f'way = "{layout.way}"', f'compatible = "{layout.compatible}"']
    for name, table in tables.items():
        if table is not None:
            lines += [f"[{name}]", f'A = "{table.A}"', f'B = "{table.B}"']
    return "".join(f"{line}\n" for line in lines)


def is_slotted() -> bool:
    """This machine runs an image, with two slots."""
    return LAYOUT.exists()


def system_conf(layout: Layout) -> str:
    """`/etc/rauc/system.conf`. Bundles of the format `plain` are refused: what is not covered by dm-verity would be
    read twice, once to check and once to write."""
    slots = "".join(
        f"""
[slot.rootfs.{index}]
device={PARTUUIDS}/{layout.root.of(slot)}
type=raw
bootname={slot}
"""
        for index, slot in enumerate(Slot)
    )
    return f"""[system]
compatible={layout.compatible}
bootloader=custom
bundle-formats=verity
mountprefix=/run/rauc/mnt
data-directory=/data/rauc
activate-installed=true

[keyring]
path=/etc/rauc/keyring.pem
use-bundle-signing-time=true

[handlers]
bootloader-custom-backend={HANDLER}
pre-install={HANDLER}
{slots}"""
