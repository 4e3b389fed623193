"""Bytes to messages and back, with the limits on what a peer may send."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from swarm.errors import MalformedMessage
from swarm.messages import HubMessage, Message, SatelliteMessage

MAX_TEXT_BYTES = 64 * 1024
"""A JSON message; the longest honest one is an answer's text."""
MAX_AUDIO_BYTES = 64 * 1024
"""One binary frame: 2 s of 16 kHz audio."""

M = TypeVar("M")

_encoder = msgspec.json.Encoder()
_from_satellite: msgspec.json.Decoder[SatelliteMessage] = msgspec.json.Decoder(SatelliteMessage)
_from_hub: msgspec.json.Decoder[HubMessage] = msgspec.json.Decoder(HubMessage)


def encode(message: Message) -> str:
    """The JSON text frame of a message."""
    return _encoder.encode(message).decode()


def decode_from_satellite(text: str | bytes) -> SatelliteMessage:
    """Parse what a satellite sent; raises `MalformedMessage`."""
    return _decode(_from_satellite, text)


def decode_from_hub(text: str | bytes) -> HubMessage:
    """Parse what a hub sent; raises `MalformedMessage`."""
    return _decode(_from_hub, text)


def _decode(decoder: msgspec.json.Decoder[M], text: str | bytes) -> M:
    if len(text) > MAX_TEXT_BYTES:
        raise MalformedMessage(f"message of {len(text)} bytes exceeds the limit of {MAX_TEXT_BYTES}")
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not a voice session message: {error}") from error
