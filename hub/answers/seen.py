"""What the entities by which Home Assistant shows a node are called."""

from __future__ import annotations

from collections.abc import Mapping

_ENGLISH: Mapping[str, str] = {
    "satellite": "Satellite",
    "mute": "Mute",
    "volume": "Volume",
    "wake_word": "Wake word",
    "sensitivity": "Wake word sensitivity",
    "transcript": "Last transcript",
    "answer": "Last answer",
    "latency": "Latency (median)",
    "cpu": "Processor",
    "temperature": "Temperature",
    "gpu_memory": "GPU memory",
    "model": "Model loaded",
    "running": "Tasks running",
    "update": "Version",
    "restart": "Restart",
    "identify": "Identify",
    "event": "Event",
    "swarm": "Swarm",
    "nodes": "Nodes alive",
    "bus": "Carries the bus",
    "home": "Speaks to the home",
}
_LANGUAGES = {"en": _ENGLISH}


def entity_name(key: str, language: str, number: int = 1) -> str:
    """What the entity `key` is called in `language`, English where there are no words; the second of a kind and those
    after it have their `number`."""
    names = _LANGUAGES.get(language.partition("-")[0].partition("_")[0].lower(), _ENGLISH)
    return names[key] if number == 1 else f"{names[key]} {number}"
