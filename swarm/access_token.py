"""The access token by which this node shows a person's Home Assistant that it may come in."""

from __future__ import annotations

from pathlib import Path

from swarm.config import HomeAssistantSection
from swarm.credentials import credential
from swarm.errors import ConfigError


def access_token(section: HomeAssistantSection) -> str:
    """The token, out of the configuration or the file that it names. Raises `ConfigError`."""
    if not section.token_file:
        return section.token
    if "/" not in section.token_file and (secret := credential(section.token_file)) is not None:
        return secret
    path = Path(section.token_file).expanduser()
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        hint = "home_assistant.token_file names it"
        raise ConfigError(f"cannot read Home Assistant's token: {error}", hint=hint) from error
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigError(f"{path} holds no token", hint="one line, as Home Assistant showed it")
    return token
