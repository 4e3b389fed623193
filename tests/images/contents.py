"""What must not be in any image, found by reading it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tests.images.disk import Disk

SECRETS = (
    rb"-----BEGIN (?:RSA |EC |OPENSSH |ENCRYPTED |)PRIVATE KEY-----",
    rb"MYCO1-[A-Z2-7]{40}",
    rb"(?m)^\s*(?:psk|password)\s*=\s*\"?[^\s\"]",
)


def hosts_own(names: Iterable[str]) -> Iterator[str]:
    """Paths that one machine only should have: keys, ids, leases, seeds, logs."""
    patterns = (
        *(r"/etc/ssh/ssh_host_.*key.*", r"(/data)?/ssh/ssh_host.*", r".*/node\.key", r".*/id_(rsa|ed25519|ecdsa)"),
        *(r"(/var/lib)?/systemd/random-seed", r"/loader/random-seed", r"/root/\..*history", r".*/\.ssh/.+"),
        *(r"/var/lib/dhcp/.+\.leases", r"/var/log/journal/.+", r"/var/cache/apt/archives/.+\.deb", r".*/ledger\.db"),
    )
    for name in names:
        if any(re.fullmatch(pattern, name) for pattern in patterns):
            yield name


def passwords(shadow: str) -> list[str]:
    """Accounts that somebody could log in to by a password, an empty one included."""
    found = []
    for line in shadow.splitlines():
        name, password = line.split(":")[:2]
        if not password.startswith(("!", "*")):
            found.append(name)
    return found


def secrets_in(content: bytes) -> list[str]:
    """Signs of secrets in a file."""
    return [match.group()[:60].decode(errors="replace") for each in SECRETS for match in re.finditer(each, content)]


def secrets_in_etc(disk: Disk, root: int, names: Iterable[str]) -> dict[str, list[str]]:
    """Signs of secrets in the configuration of a root, by path."""
    found = {}
    for name in names:
        if not name.startswith(("/etc/", "/root/", "/home/")):
            continue
        if signs := secrets_in(disk.squashfs_file(root, name).encode(errors="replace")):
            found[name] = signs
    return found
