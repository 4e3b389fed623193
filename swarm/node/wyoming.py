"""The Wyoming services of a node, as its configuration switches them on."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from wyoming.info import Info
from zeroconf.asyncio import AsyncZeroconf

from edge.home_assistant import HomeAssistantHub
from edge.line import Connector
from edge.wake_word import MicroWakeDetector
from hub.conversation import Conversation
from hub.wyoming.asr import AsrTalk
from hub.wyoming.handle import HandleTalk
from hub.wyoming.tts import TtsTalk
from hub.wyoming.wake import WakeTalk
from swarm.config import WAKE_WORDS, Config
from swarm.engine import Synthesizer, Transcriber
from swarm.enrolled_node import EnrolledNode
from swarm.errors import MycoswarmError
from swarm.messages import Trace
from swarm.wyoming.announcing import Find, announce, own_zeroconf
from swarm.wyoming.describing import asr_info, handle_info, tts_info, wake_info
from swarm.wyoming.listener import AllowList, Open, WyomingListener
from swarm.wyoming.settings import Service

ESPEAK_LANGUAGES = (
    "af", "ar", "bg", "bn", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "ga", "gu",
    "he", "hi", "hr", "hu", "hy", "id", "is", "it", "ja", "ka", "kk", "kn", "ko", "lt", "lv", "mk", "ml", "mr", "ms",
    "nb", "ne", "nl", "pa", "pl", "pt", "pt-br", "ro", "ru", "sk", "sl", "sq", "sr", "sv", "sw", "ta", "te", "tr",
    "uk", "ur", "vi", "zh",
)  # fmt: skip
"""What eSpeak NG speaks, as far as Home Assistant has a name for it."""

log = logging.getLogger("swarm.node")


class WyomingServices:
    """`run` serves until it is cancelled."""

    def __init__(
        self,
        config: Config,
        *,
        transcriber: Transcriber,
        synthesizer: Synthesizer,
        conversation: Callable[[], Conversation],
        finished: Callable[[Trace], Awaitable[None]],
        enrolled: EnrolledNode | None,
    ) -> None:
        """`finished` keeps the traces of what was done for clients; `enrolled` None: this node is in no swarm."""
        self._config = config
        self._enrolled = enrolled
        language, allow = config.node.language, AllowList(config.wyoming.allow)

        def detector(words: Sequence[str]) -> MicroWakeDetector:
            return MicroWakeDetector(words, config.satellite.sensitivity)

        talks: dict[Service, tuple[Info, Open]] = {
            "asr": (
                asr_info(transcriber.name, [language]),
                lambda client: AsrTalk(client, transcriber, language),
            ),
            "tts": (
                tts_info(synthesizer.name, _spoken(synthesizer, language)),
                lambda client: TtsTalk(client, synthesizer, language),
            ),
            "wake": (wake_info(WAKE_WORDS), lambda client: WakeTalk(client, detector, WAKE_WORDS)),
            "handle": (
                handle_info([language]),
                lambda client: HandleTalk(
                    client, conversation, node=config.node.name, language=language, finished=finished
                ),
            ),
        }
        self._listeners: dict[Service, WyomingListener] = {}
        for service in config.wyoming.services:
            info, talk = talks[service]
            self._listeners[service] = WyomingListener(service, allow=allow, info=info, talk=talk)

    async def run(self) -> None:
        """A port that cannot be had is told in the log; the others are served."""
        section = self._config.wyoming
        async with AsyncExitStack() as closing:
            ports: dict[str, int] = {}
            for service, listener in self._listeners.items():
                try:
                    await listener.start(section.host, section.ports()[service])
                except MycoswarmError as error:
                    log.error("%s", error.for_log())
                    continue
                closing.push_async_callback(listener.close)
                ports[service] = listener.port
            await announced(self._config, ports, self._enrolled)


def home_assistant_hub(config: Config, other: Connector, paused: Callable[[bool], None]) -> HomeAssistantHub:
    """What lets Home Assistant have this machine's satellite, which else goes where `other` leads."""
    section = config.satellite
    return HomeAssistantHub(
        name=config.node.name,
        area=section.area,
        wake_words=section.wake_words,
        allow=AllowList(config.wyoming.allow),
        other=other,
        paused=paused,
    )


async def serve_home_assistant(config: Config, hub: HomeAssistantHub, enrolled: EnrolledNode | None) -> None:
    """Let Home Assistant connect, until cancelled. A port that cannot be had is told in the log."""
    section = config.wyoming
    ports: dict[str, int] = {}
    try:
        await hub.listener.start(section.host, section.satellite_port)
        ports["satellite"] = hub.listener.port
    except MycoswarmError as error:
        log.error("%s", error.for_log())
    try:
        await announced(config, ports, enrolled)
    finally:
        await hub.listener.close()


async def announced(config: Config, ports: dict[str, int], enrolled: EnrolledNode | None) -> None:
    """Announce what listens at these ports to those who may connect, until cancelled."""
    section = config.wyoming
    loopback = bool(section.host) and ipaddress.ip_address(section.host).is_loopback
    if not ports or loopback or not config.swarm.multicast:
        await asyncio.Future()
    unique = enrolled.node_id[:6] if enrolled is not None else f"{uuid.getnode():012x}"[-6:]
    async with AsyncExitStack() as closing:
        find = _swarm_zeroconf(enrolled) if enrolled is not None else await closing.enter_async_context(own_zeroconf())
        await announce(ports, node=config.node.name, unique=unique, address=section.address, find=find)


def _swarm_zeroconf(enrolled: EnrolledNode) -> Find:
    async def find() -> AsyncZeroconf | None:
        return enrolled.discovery.zeroconf

    return find


def _spoken(synthesizer: Synthesizer, language: str) -> list[str]:
    """The languages that it speaks; a voice that a person added speaks the one that it was made for."""
    if synthesizer.name in ("espeak-ng", "swarm"):  # the swarm's last resort is eSpeak NG
        return [language, *(each for each in ESPEAK_LANGUAGES if each != language)]
    return [language]
