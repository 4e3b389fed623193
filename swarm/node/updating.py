"""How this node is updated: by its two slots (`provisioning.slots`), by its package, or by its checkout."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from swarm import __version__
from swarm.errors import MycoswarmError, StorageError
from swarm.packaged import is_packaged
from swarm.updates.slots import Bundle, Slots, SlotState, UpdateRefused

LAYOUT = Path("/usr/lib/mycoswarm/slots.toml")
"""An image has it (`provisioning.slots.layout`); looked at before anything of that package is imported."""
ASK_REBOOT = Path("/run/mycoswarm/ask/reboot")
"""Root restarts the machine when it is there (mycoswarm-ask-reboot.path)."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ENDED_BADLY = ("rolled-back", "refused", "failed")


def system_here() -> Slots | SlotState:
    """The slots of this machine, or how it is without."""
    if LAYOUT.exists() and find_spec("provisioning.slots") is not None:
        return ImageSlots()
    return SlotState("package" if is_packaged() else "checkout", __version__)


def install_here(bundle: Path) -> Iterator[str]:
    """Install a bundle, an older one too, beside what runs; lines for a person while it goes on. For root only. Raises
    `MycoswarmError`."""
    from provisioning.slots import rauc

    yield from rauc.install(bundle, downgrade=True)


class ImageSlots:
    """The `Slots` of an image. All that waits, waits in a thread; RAUC's service does what needs root."""

    async def state(self) -> SlotState:
        """See `Slots`."""
        return await asyncio.to_thread(_state)

    async def inspect(self, path: Path) -> Bundle:
        """See `Slots`."""
        return await asyncio.to_thread(_inspected, path)

    async def check(self, path: Path) -> Bundle:
        """See `Slots`."""
        return await asyncio.to_thread(_checked, path)

    async def install(self, path: Path, progress: Callable[[int], None]) -> None:
        """See `Slots`."""
        loop = asyncio.get_running_loop()

        def tell(percent: int) -> None:
            loop.call_soon_threadsafe(progress, percent)

        await asyncio.to_thread(_install, path, tell)

    async def restart(self) -> None:
        """See `Slots`."""
        try:
            await asyncio.to_thread(ASK_REBOOT.touch)
        except OSError as error:
            raise StorageError(
                f"cannot ask for a restart of this machine: {ASK_REBOOT}: {error.strerror or error}",
                hint="restart it by hand: the new version starts then",
            ) from error

    async def rollback(self) -> None:
        """See `Slots`."""
        from provisioning.slots import rauc

        await asyncio.to_thread(rauc.rollback)


def _state() -> SlotState:
    from provisioning.slots import rauc

    found = rauc.status()
    if found is None:
        raise MycoswarmError(f"{LAYOUT} is there, and this machine has no slots")
    last = found.last
    return SlotState(
        "slots",
        found.version,
        found.compatible,
        slot=next((each.slot for each in found.slots if each.running), ""),
        boot=BOOT_ID.read_text().strip(),
        good=not found.on_trial,
        reason=last.reason if last is not None and last.outcome in ENDED_BADLY else "",
    )


def _inspected(path: Path) -> Bundle:
    from provisioning.slots import rauc

    try:
        info = rauc.bundle_info(path)
    except rauc.UpdateFailed as error:
        raise UpdateRefused(str(error), hint=error.hint) from error
    return Bundle(info.compatible, str(info.version))


def _checked(path: Path) -> Bundle:
    from provisioning.slots import rauc
    from provisioning.slots.version import parse_version

    bundle, found = _inspected(path), rauc.status()
    if found is None or bundle.compatible != found.compatible:
        raise UpdateRefused(f"it is for {bundle.compatible}, and this machine is {found and found.compatible}")
    if parse_version(bundle.version) < parse_version(found.version):
        raise UpdateRefused(
            f"{bundle.version} is older than {found.version}, which runs here",
            hint="to install it all the same, on this machine: sudo mycoswarm update apply --allow-downgrade FILE",
        )
    return bundle


def _install(path: Path, progress: Callable[[int], None]) -> None:
    from provisioning.slots import rauc

    try:
        for line in rauc.install(path):
            if percent := re.match(r"\s*(\d{1,3}) %", line):
                progress(int(percent[1]))
    except rauc.UpdateFailed as error:
        raise UpdateRefused(str(error), hint=error.hint) from error
