"""The node that a Debian package or an image put on this machine: where it keeps what, and who may touch it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PREFIX = Path("/usr/lib/mycoswarm")
CONFIG = Path("/etc/mycoswarm/config.toml")


def is_packaged() -> bool:
    """Whether this program is the package's, and not one that a person runs from a checkout."""
    return Path(sys.prefix) == PREFIX


def act_as_owner(folder: Path) -> None:
    """Root goes on as the user who owns `folder`, for good: a file of root's in there is one that the node cannot read.

    Nothing happens for anyone else, and where the folder is missing or root's own.
    """
    if os.geteuid() != 0:
        return
    try:
        owner = folder.stat()
    except OSError:
        return
    if owner.st_uid == 0:
        return
    import pwd

    try:
        os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    except KeyError:  # a user without a name, as on a disk of another machine
        os.setgroups([])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
