"""The configuration file: TOML, read once, checked whole, wrong lines named.

Every key has a default; no file at all is a working configuration.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from swarm import __version__
from swarm.errors import ConfigError
from swarm.newest_version import newest_version, numbers
from swarm.packaged import CONFIG, is_packaged
from swarm.routing import RoutingSection
from swarm.toml_file import leave_out_unknown, line_of, parse_table, shaped, unknown_key
from swarm.voice_policy import PolicySection, complaints
from swarm.wyoming.settings import WyomingSection, place_of
from swarm.wyoming.settings import check as check_wyoming

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
FixedPort = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Role = Literal["hub", "edge", "gpu", "worker"]
ROLES: tuple[str, ...] = get_args(Role)
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


def default_config_path() -> Path:
    """`mycoswarm/config.toml` in the XDG configuration folder; the machine's own, if this program is its package's."""
    if is_packaged():
        return CONFIG
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "mycoswarm" / "config.toml"


def default_state_dir() -> str:
    """`mycoswarm` in the XDG state folder."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return str(Path(base) / "mycoswarm")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Root of all sections: an unknown key is an error."""


class NodeSection(Section, frozen=True):
    """[node]: this machine."""

    name: str = msgspec.field(default_factory=lambda: socket.gethostname().split(".")[0] or "node")
    """Shown in traces and to other nodes."""
    state_dir: str = msgspec.field(default_factory=default_state_dir)
    """Database, recordings and the running node's address live here."""
    language: str = "en"


class PeopleSection(Section, frozen=True):
    """[people]: the listener for people and their programs; loopback only."""

    port: Port = 7333
    """0 takes any free port."""


class BusSection(Section, frozen=True):
    """[bus]: the MQTT broker."""

    broker: str = ""
    """`mqtt://[user:password@]host[:port]` of a broker that is already there, `mqtts://` with TLS; empty starts one on
    loopback. In a swarm name the same one on every hub: then any of them reaches the home's devices. What is connected
    to the broker that a hub started itself is reached only while that hub carries the bus."""
    authority: str = ""
    """PEM file: who signed the certificate of a broker with `mqtts://`; empty for those whom the system believes."""
    port: Port = 0
    """Loopback port of the broker that the node starts; 0 takes 1883 when it is free, else any."""
    discovery_prefix: str = "homeassistant"
    """Where devices announce themselves (Home Assistant's MQTT discovery)."""
    zigbee2mqtt: tuple[Annotated[str, msgspec.Meta(pattern=r"^[^$+#/\x00-\x1f][^+#\x00-\x1f]{0,100}$")], ...] = (
        "zigbee2mqtt",
    )
    """Base topics of Zigbee2MQTTs, whose own topics are read where they do not announce devices for Home Assistant."""
    announce: Literal["components", "device", "off"] = "components"
    """How this node shows itself to Home Assistant by that discovery; in a swarm say the same on every machine.
    `components` is read by every version, `device` by 2024.12 and later, in one message for each device. `off` shows
    nothing, and removes what was shown before."""
    announce_words: bool = False
    """Show the last transcript and answer too. Everything that is connected to the broker can read them then."""
    confirm_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 3.0
    """How long a device may take to confirm a command by its state."""


class HomeAssistantSection(Section, frozen=True):
    """[home_assistant]: a Home Assistant on the LAN, for what it has besides MQTT, its areas and its aliases."""

    url: str = ""
    """`http://homeassistant.local:8123`, as in the browser; empty asks none."""
    token: str = ""
    """A long-lived access token: in Home Assistant, your profile, Security."""
    token_file: str = ""
    """A file that holds the token, instead of `token`; or `home-assistant-token`, the name of the secret that systemd
    hands over (`swarm.credentials`)."""


class SatelliteSection(Section, frozen=True):
    """[satellite]: this machine's own microphone and speaker."""

    microphone: str = "auto"
    """`auto`, `none`, or (a part of) the name of a sound device."""
    speaker: str = "auto"
    """`auto`, `none`, or (a part of) the name of a sound device."""
    area: str = ""
    """The room it stands in, as devices name it: "turn on the light" means the one here."""
    wake_words: tuple[str, ...] = ("okay_nabu",)
    """Any of okay_nabu, alexa, hey_jarvis, hey_mycroft."""
    sensitivity: Fraction = 0.5
    """0 wakes rarely, 1 wakes easily; 0.5 is what the wake model's makers set."""
    wyoming_wake: str = ""
    """`tcp://host:10400`: a Wyoming service on the LAN that listens for all its wake words, and gets all that the
    microphone hears; while it is away, those above are listened for here."""
    volume: Annotated[int, msgspec.Meta(ge=0, le=100)] = 80
    board: Literal["none", "respeaker-2mic", "voice-bonnet"] = "none"
    """The sound board on a Raspberry Pi's pins: its button asks for attention and, held, mutes; its lights show what
    the satellite does."""


class SpeechSection(Section, frozen=True):
    """[speech]: engines a person added beside those that come with the package."""

    whisper_model: str = ""
    """Folder of a faster-whisper (CTranslate2) model; empty uses command mode."""
    piper_voice: str = ""
    """Path of a Piper voice, `….onnx` with its `….onnx.json`; empty uses eSpeak NG."""
    wyoming_stt: str = ""
    """`tcp://host:10300`: a Wyoming service on the LAN that hears; those above stand in when it fails."""
    wyoming_tts: str = ""
    """`tcp://host:10200`: a Wyoming service on the LAN that speaks; those above stand in when it fails."""


class LanguageModelSection(Section, frozen=True):
    """[language_model]: who answers what is no command."""

    url: str = "http://127.0.0.1:11434"
    """An Ollama server on this machine or the LAN; empty asks none."""
    model: str = ""
    """Name as Ollama lists it; empty takes the only one there."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 60.0
    wyoming: str = ""
    """`tcp://host:10500`: a Wyoming service on the LAN that handles text; it is asked before the model."""
    parallel: Annotated[int, msgspec.Meta(ge=1, le=256)] = 2
    """Questions that the server works on at a time; what else is asked meanwhile waits at this node, where it is
    counted, or goes to another one."""


class MqttApiSection(Section, frozen=True):
    """[mqtt_api]: people's automations speak with the hub by MQTT topics below mycoswarm/api (`hub.mqtt_api`). Off
    unless a person says so: whoever can publish there can then make the house speak and a satellite listen. In a swarm
    it is the same on every hub."""

    enabled: bool = False
    transcripts: bool = False
    """Events tell what people said and were answered, too; everybody who reads the broker reads it."""


class RecordingSection(Section, frozen=True):
    """[recording]: keep what was heard, to find out why it was misunderstood. Off unless a person says so."""

    enabled: bool = False
    max_mb: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 7


class SwarmSection(Section, frozen=True):
    """[swarm]: this machine among others. Nothing of it counts before `mycoswarm init` or `mycoswarm join`."""

    roles: tuple[Role, ...] = ()
    """Any of hub, edge, gpu, worker; empty finds out. A node that is neither hub nor edge only works for others: it
    has no voice and knows no devices."""
    port: FixedPort = 7334
    """The nodes' port: certificates of this swarm on both sides, or nothing."""
    enrolment_port: FixedPort = 7335
    """Open only while a machine is invited or waits for approval."""
    bus_port: FixedPort = 7336
    """Of a hub, for the other nodes: the way to its MQTT broker, with certificates as at the nodes' port."""
    address: str = ""
    """Listen on this address only; empty listens on every address of the LAN."""
    peers: tuple[str, ...] = ()
    """Nodes that multicast does not reach: `192.168.1.10`, `[fd00::1]:7334`, `attic.local`."""
    multicast: bool = True
    """Announce this node by mDNS, and find others so."""
    private: bool = False
    """This node may be given tasks that are marked private."""


class Config(Section, frozen=True):
    """The whole file."""

    node: NodeSection = msgspec.field(default_factory=NodeSection)
    people: PeopleSection = msgspec.field(default_factory=PeopleSection)
    bus: BusSection = msgspec.field(default_factory=BusSection)
    home_assistant: HomeAssistantSection = msgspec.field(default_factory=HomeAssistantSection)
    satellite: SatelliteSection = msgspec.field(default_factory=SatelliteSection)
    speech: SpeechSection = msgspec.field(default_factory=SpeechSection)
    language_model: LanguageModelSection = msgspec.field(default_factory=LanguageModelSection)
    mqtt_api: MqttApiSection = msgspec.field(default_factory=MqttApiSection)
    recording: RecordingSection = msgspec.field(default_factory=RecordingSection)
    swarm: SwarmSection = msgspec.field(default_factory=SwarmSection)
    routing: RoutingSection = msgspec.field(default_factory=RoutingSection)
    policy: PolicySection = msgspec.field(default_factory=PolicySection)
    wyoming: WyomingSection = msgspec.field(default_factory=WyomingSection)

    @property
    def state_dir(self) -> Path:
        """The state folder as a path, `~` expanded."""
        return Path(self.node.state_dir).expanduser()


WAKE_WORDS = ("okay_nabu", "alexa", "hey_jarvis", "hey_mycroft")


def load_config(path: Path | None = None) -> Config:
    """Read the file at `path`, or the default one if it exists. Raises `ConfigError` naming file, line and key."""
    if path is None:
        path = default_config_path()
        try:
            if not path.exists():
                return Config()
        except PermissionError:
            pass  # told below
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "ask as root: sudo mycoswarm …" if isinstance(error, PermissionError) else ""
        raise ConfigError(f"cannot read the configuration {path}: {error}", hint=hint) from error
    return parse_config(text, origin=str(path))


def parse_config(text: str, *, origin: str) -> Config:
    """The configuration in `text`; `origin` is how errors call it."""
    data = parse_table(text, origin=origin)
    newer = _newer_version_before(data)
    if newer:
        leave_out_unknown(data, Config, f"{origin}, as {newer} reads it, which ran here before")
    else:
        _refuse_unknown_keys(data, text, origin)
    config = shaped(data, Config, text, origin=origin)
    for word in config.satellite.wake_words:
        if word not in WAKE_WORDS:
            line = line_of(text, "satellite.wake_words")
            raise ConfigError(
                f'{origin}:{line}: satellite.wake_words: "{word}" is no wake word',
                hint=f"wake words are: {', '.join(WAKE_WORDS)}",
            )
    for table, key, wrong, hint in complaints(config.policy):
        line = line_of(text, f"policy.{table}.{key}")
        raise ConfigError(f"{origin}:{line}: policy.{table}: {wrong}", hint=hint)
    _check_home_assistant(config.home_assistant, text, origin)
    _check_swarm(config.swarm, text, origin)
    for key, url in named_services(config).items():
        try:
            place_of(url)
        except ConfigError as error:
            raise ConfigError(f"{origin}:{line_of(text, key)}: {key}: {error}", hint=error.hint) from error
    mistake = check_wyoming(config.wyoming)
    if mistake is not None:
        line = line_of(text, f"wyoming.{mistake[0]}")
        raise ConfigError(f"{origin}:{line}: {mistake[1]}", hint=mistake[1].hint)
    return config


def wanted_roles(config: Config) -> tuple[Role, ...]:
    """What this machine is to be, as far as the configuration says."""
    if config.swarm.roles:
        return config.swarm.roles
    section = config.satellite
    return ("hub",) if section.microphone == "none" and section.speaker == "none" else ("hub", "edge")


def named_services(config: Config) -> dict[str, str]:
    """The Wyoming services of others that are used as engines: by key, their URLs."""
    named = {
        "speech.wyoming_stt": config.speech.wyoming_stt,
        "speech.wyoming_tts": config.speech.wyoming_tts,
        "satellite.wyoming_wake": config.satellite.wyoming_wake,
        "language_model.wyoming": config.language_model.wyoming,
    }
    return {key: url for key, url in named.items() if url}


def _check_home_assistant(section: HomeAssistantSection, text: str, origin: str) -> None:
    where = "home_assistant"
    if section.url and not re.fullmatch(r"https?://[^\s/@?#]+/?", section.url):
        where, wrong = f"{where}.url", f'"{section.url}" is no address of a Home Assistant'
        hint = "such as http://homeassistant.local:8123, without anything behind it"
    elif section.url and not section.token and not section.token_file:
        wrong, hint = "no token", "make a long-lived access token in Home Assistant: your profile, Security"
    elif section.token and section.token_file:
        wrong, hint = "both token and token_file", "leave one of them out"
    else:
        return
    raise ConfigError(f"{origin}:{line_of(text, where)}: {where}: {wrong}", hint=hint)


def _check_swarm(section: SwarmSection, text: str, origin: str) -> None:
    for key, number, others in (
        ("enrolment_port", section.enrolment_port, {"port": section.port}),
        ("bus_port", section.bus_port, {"port": section.port, "enrolment_port": section.enrolment_port}),
    ):
        for other, taken in others.items():
            if number == taken:
                raise ConfigError(
                    f"{origin}:{line_of(text, f'swarm.{key}')}: swarm.{key} is the same as swarm.{other}",
                    hint="give them different numbers",
                )
    if section.address and not _is_of_the_lan(section.address):
        raise ConfigError(
            f'{origin}:{line_of(text, "swarm.address")}: swarm.address: "{section.address}" is no address of a LAN',
            hint="name one of this machine's private addresses, such as 192.168.1.10; empty listens on all of them",
        )
    if section.peers:
        from swarm.static_peers import parse_peers

        try:
            parse_peers(section.peers, default_port=section.port)
        except ConfigError as error:
            raise ConfigError(f"{origin}:{line_of(text, 'swarm.peers')}: {error}", hint=error.hint) from error


def _is_of_the_lan(address: str) -> bool:
    from swarm.egress import is_lan

    try:
        return is_lan(address)
    except ValueError:
        return False


def _newer_version_before(data: dict[str, Any]) -> str:
    """The newer version that ran with this configuration and was given up, empty when there was none: then what this
    one does not know is no mistake of a person."""
    node = data.get("node")
    folder = node.get("state_dir", "") if isinstance(node, dict) else ""
    path = Path(folder if isinstance(folder, str) and folder else default_state_dir()).expanduser()
    newest = newest_version(path)
    return newest if numbers(newest) > numbers(__version__) else ""


def _refuse_unknown_keys(data: dict[str, Any], text: str, origin: str) -> None:
    sections = {field.name: field.type for field in msgspec.structs.fields(Config)}
    for section, content in data.items():
        if section not in sections:
            raise unknown_key(section, sections, text, origin=origin)
        if isinstance(content, dict):
            known = [field.name for field in msgspec.structs.fields(sections[section])]
            for key in content:
                if key not in known:
                    raise unknown_key(f"{section}.{key}", [f"{section}.{name}" for name in known], text, origin=origin)
