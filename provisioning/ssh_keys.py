"""Public keys of ssh, as they stand in authorized_keys (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""

from __future__ import annotations

import base64
import binascii
import re

from swarm.errors import MycoswarmError

KINDS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"),
    *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
)
MAX_CHARS = 2048


def check_public_key(line: str) -> str:
    """The kind of the key in one line `kind base64 [comment]`. Raises `MycoswarmError`; options are not taken."""
    hint = "give the line of the .pub file, such as ~/.ssh/id_ed25519.pub"
    if "PRIVATE KEY" in line:
        raise MycoswarmError("that is a private key, which belongs on no other machine", hint=hint)
    if len(line) > MAX_CHARS or not re.fullmatch(r"[^\x00-\x1f\x7f]+", line):
        raise MycoswarmError("is no public key of ssh: too long, or more than one line", hint=hint)
    kind, _, rest = line.strip().partition(" ")
    if kind not in KINDS:
        raise MycoswarmError(f"is no public key of ssh: it does not begin with {', '.join(KINDS[:2])} …", hint=hint)
    try:
        blob = base64.b64decode(rest.split()[0] if rest.split() else "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise MycoswarmError("is no public key of ssh: a part is missing or mistyped", hint=hint) from error
    name = kind.encode()  # the blob says its kind again: RFC 4253, 6.6
    if blob[: 4 + len(name)] != len(name).to_bytes(4, "big") + name or len(blob) < len(name) + 36:
        raise MycoswarmError("is no public key of ssh: a part is missing or mistyped", hint=hint)
    return kind
