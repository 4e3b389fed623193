"""Secrets that systemd hands to the node: `LoadCredential=mycoswarm.NAME`, systemd.exec(5).

A person or an image puts them into /etc/credstore, where only root reads; the running service finds a copy in a folder
of its own in memory, `$CREDENTIALS_DIRECTORY`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from swarm.errors import ConfigError

MAX_BYTES = 4096
"""Of one; the longest honest one, a join token with all its addresses, has a tenth."""

JOIN_TOKEN = "join-token"  # noqa: S105  its name
PREFIX = "mycoswarm."
STORE = Path("/etc/credstore")


def credential(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The secret called `name`; None when this process was given none. Raises `ConfigError` when it cannot be one."""
    folder = environment.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        return None
    path = Path(folder) / f"{PREFIX}{name}"
    try:
        with path.open("rb") as file:
            found = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read the credential {name}: {error.strerror}", hint=f"it is {path}") from error
    text = found.strip().decode("ascii", errors="replace")
    if not text or len(found) > MAX_BYTES or not text.isascii() or not text.isprintable():
        raise ConfigError(
            f"the credential {name} is no secret of one line", hint=f"it comes from {STORE / path.name}: write it anew"
        )
    return text
