"""What RAUC, the hooks of bundles and the units call: `/usr/lib/mycoswarm/boot-slots WHAT …`.

::

    get-primary | set-primary SLOT | get-state SLOT | set-state SLOT good|bad | get-current
                             RAUC's custom boot loader backend, as its documentation calls it
    (nothing)                RAUC's pre-install handler: is the mounted bundle one for here
    take SLOT DEVICE         the hook of a bundle, after its root was written to DEVICE
    settle                   at each start
    attempt                  while the machine goes down for a reboot: what the firmware must be told
    give-up REASON           this start is no good: back to the other slot, if this is a trial
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from provisioning.slots import admission
from provisioning.slots.model import Slot, SlotState
from provisioning.slots.node import NodeSlots, give_up, image_version, this_node
from provisioning.slots.record import Update, write_update
from swarm.errors import MycoswarmError

REBOOT_ARGUMENT = Path("/run/systemd/reboot-param")
"""Read by systemd-shutdown at its very end, as the argument of reboot(2)."""


def main(arguments: list[str]) -> int:
    """The exit code."""
    arguments = [each for each in arguments if each]  # RAUC before 1.10 gives its handlers an empty one
    try:
        slots = this_node()
        _obey(slots, arguments)
        if arguments[:1] not in (["get-primary"], ["get-current"], ["get-state"]):
            slots.publish()
    except MycoswarmError as error:
        print(error.for_log(), file=sys.stderr)
        return 1
    return 0


def _obey(slots: NodeSlots, arguments: list[str]) -> None:
    match arguments:
        case ["get-primary"]:
            print(slots.primary())
        case ["get-current"]:
            print(slots.current)
        case ["set-primary", ("A" | "B") as name]:
            slots.make_primary(Slot(name))
        case ["get-state", ("A" | "B") as name]:
            print("good" if slots.view(Slot(name)).state in (SlotState.GOOD, SlotState.TRIAL) else "bad")
        case ["set-state", ("A" | "B") as name, "good"]:
            slots.mark_good(Slot(name))
        case ["set-state", ("A" | "B") as name, "bad"]:
            slots.mark_bad(Slot(name))
        case ["take", ("A" | "B") as name, device]:
            slots.take(Slot(name), device)
        case ["settle"]:
            slots.settle()
        case ["attempt"]:
            _attempt(slots)
        case ["give-up", reason]:
            give_up(slots, reason)
        case []:
            _admit(slots)
        case _:
            raise MycoswarmError(
                f"no such request: {' '.join(arguments)[:200]}", hint="see provisioning/slots/__main__.py"
            )


def _admit(slots: NodeSlots) -> None:
    mount_point = os.environ.get("RAUC_BUNDLE_MOUNT_POINT")
    if not mount_point:
        raise MycoswarmError("without arguments this is RAUC's pre-install handler: RAUC_BUNDLE_MOUNT_POINT is not set")
    running, state = image_version(slots.root), slots.view(slots.current).state
    new = admission.bundle_version(Path(mount_point))
    update = Update("installing", str(running), str(new), slots.current.other, time.time())
    try:
        admission.require_fitting(new, running, state, allowed=admission.take_allowance(slots))
    except admission.UpdateRefused as error:
        write_update(slots.update_folder, _with(update, "refused", error.for_log()))
        raise
    from provisioning.health import keep_what_works

    keep_what_works(slots.update_folder)
    write_update(slots.update_folder, update)


def _attempt(slots: NodeSlots) -> None:
    jobs = subprocess.run(
        ["systemctl", "list-jobs", "--no-legend", "--plain"], capture_output=True, text=True, timeout=20, check=False
    )
    if "reboot.target" not in jobs.stdout:
        return  # switched off: the new version waits until somebody reboots
    argument = slots.attempt()
    if argument:
        REBOOT_ARGUMENT.write_text(f"{argument}\n")


def _with(update: Update, outcome: str, reason: str) -> Update:
    import msgspec

    return msgspec.structs.replace(update, outcome=outcome, reason=reason)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
