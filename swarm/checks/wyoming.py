"""The check of Wyoming: the services of others that this node uses, and those that nobody asked it to use."""

from __future__ import annotations

import asyncio

from wyoming.info import Info

from swarm.checks import Examined, Finding
from swarm.config import Config, named_services
from swarm.errors import EngineError
from swarm.wyoming.others import OtherService

_ROLE = {
    "speech.wyoming_stt": "asr",
    "speech.wyoming_tts": "tts",
    "satellite.wyoming_wake": "wake",
    "language_model.wyoming": "handle",
}
MAX_SHOWN = 16


def wyoming(examined: Examined) -> list[Finding]:
    """Do the Wyoming services answer that the configuration names? Which others announce themselves?"""
    return asyncio.run(_look(examined.config))


async def _look(config: Config) -> list[Finding]:
    named = {url: _ROLE[key] for key, url in named_services(config).items()}
    named |= {satellite.url: "satellite" for satellite in config.wyoming.satellites}
    findings = list(await asyncio.gather(*(_named(url, kind) for url, kind in named.items())))
    if config.swarm.multicast:
        from swarm.wyoming.announcing import listed

        own = {config.wyoming.ports()[service] for service in config.wyoming.services}
        for each in await listed():
            ours = int(each.url.rpartition(":")[2]) in own and config.node.name in each.name
            if each.url not in named and not ours and len(findings) < MAX_SHOWN:
                findings.append(Finding("wyoming", "ok", f"{each.name:.60} announces itself at {each.url}: not used"))
    return findings or [Finding("wyoming", "ok", "no service of others is used, and none was found")]


async def _named(url: str, kind: str) -> Finding:
    try:
        info = await OtherService(url).info()
    except EngineError as error:
        return Finding("wyoming", "warn", str(error), error.hint or "the own engine does its work meanwhile")
    if kind not in _kinds(info):
        wrong = f"{url} offers {', '.join(_kinds(info)) or 'nothing'}, and not {kind}"
        return Finding("wyoming", "warn", wrong, "name another one, or none, in the configuration")
    return Finding("wyoming", "ok", f"{url}: {_programs(info)}")


def _kinds(info: Info) -> list[str]:
    kinds = [kind for kind in ("asr", "tts", "wake", "handle") if getattr(info, kind)]
    return [*kinds, "satellite"] if info.satellite is not None else kinds


def _programs(info: Info) -> str:
    programs = [program for kind in ("asr", "tts", "wake", "handle") for program in getattr(info, kind)]
    programs += [info.satellite] if info.satellite is not None else []
    names = [f"{str(program.name)[:40]} {str(program.version or '')[:20]}".strip() for program in programs]
    return ", ".join(dict.fromkeys(names)) or "nothing"
