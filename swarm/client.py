"""How programs on this machine find the running node and speak with it: its people's port, over plain HTTP.

Standard library only: `mycoswarm ask` is over sooner than an HTTP framework is imported. Neither the environment nor a
proxy has a say in where a question goes.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from swarm.errors import MycoswarmError, NodeUnreachable
from swarm.messages import Trace

ADDRESS_FILE = "node.json"
CONNECT_TIMEOUT_S = 5.0
MAX_REPLY_BYTES = 64 * 1024 * 1024
"""Largest honest one: the WAV of a long spoken answer, in base64."""
MAX_LINE_BYTES = 1024 * 1024
"""One line of a streamed answer."""

T = TypeVar("T")
_START_IT = "start it with: mycoswarm up"


class NodeAddress(msgspec.Struct, frozen=True):
    """Where the running node listens for people; kept in `<state_dir>/node.json` while it runs."""

    url: str
    pid: int
    key: str = ""
    """Shows that whoever asks can read the node's own files: needed for what changes the swarm."""


class BrokerStatus(msgspec.Struct, frozen=True):
    """How the node stands with the MQTT broker."""

    kind: str
    """`external`, `mosquitto` or `amqtt`; `swarm` for the bus of a swarm; `none`."""
    connected: bool
    hub: str = ""
    """Name of the hub that carries the bus of the swarm."""
    why: str = ""
    """Why there is no connection, for people, without a full stop."""


class Status(msgspec.Struct, frozen=True):
    """What a running node is and how it is."""

    version: str
    node: str
    url: str
    roles: tuple[str, ...]
    uptime_s: float
    broker: BrokerStatus
    engines: dict[str, str]
    """Name of the engine by its kind: `transcriber`, `synthesizer`, `generator`."""
    satellites: tuple[str, ...]
    """Names of those that are connected now."""
    language_model: str | None
    """The model that would answer what is no command."""
    entities: int
    hub: str = ""
    """Name of the hub that this machine's satellite uses, its own where it is the hub; empty while it looks for one."""


class Answer(msgspec.Struct, frozen=True):
    """What came of a question."""

    answer: str
    intent: str
    outcome: str
    utterance_id: str
    trace: Trace


class SpokenAnswer(Answer, frozen=True):
    """What came of a recording."""

    transcript: str
    reply_wav: bytes
    """A whole WAV file; empty when nothing was said."""


def announce_node(state_dir: Path, address: NodeAddress) -> None:
    """Let programs of the same user find the running node. Raises `OSError`."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = state_dir / f"{ADDRESS_FILE}.part"
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(address))
    unfinished.replace(state_dir / ADDRESS_FILE)


def withdraw_node(state_dir: Path) -> None:
    """The node ends: nobody needs to look for it any more."""
    (state_dir / ADDRESS_FILE).unlink(missing_ok=True)


def find_node(state_dir: Path, *, timeout_s: float) -> NodeClient:
    """The running node's client; its answers may take `timeout_s`. Raises `NodeUnreachable`."""
    address = find_address(state_dir)
    return NodeClient(address.url, timeout_s=timeout_s)


def find_address(state_dir: Path) -> NodeAddress:
    """Where the running node is. Raises `NodeUnreachable`."""
    path = state_dir / ADDRESS_FILE
    try:
        address = msgspec.json.decode(path.read_bytes(), type=NodeAddress)
    except FileNotFoundError as error:
        raise NodeUnreachable("no mycoswarm node is running here", hint=_START_IT) from error
    except (OSError, msgspec.DecodeError) as error:
        raise NodeUnreachable(f"cannot tell from {path} where the node is: {error}", hint=_START_IT) from error
    if not is_alive(address.pid):
        raise NodeUnreachable(f"the mycoswarm node at {address.url} has ended", hint=_START_IT)
    return address


class NodeClient:
    """Asks one node. Every method raises `NodeUnreachable`, or `MycoswarmError` with what the node says is wrong."""

    def __init__(self, url: str, *, timeout_s: float, headers: Mapping[str, str] | None = None) -> None:
        """`timeout_s`: how long the node may be silent; connecting has a deadline of its own. `headers` go with every
        request."""
        self.url = url
        self._headers = dict(headers or {})
        self._timeout_s = timeout_s
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise NodeUnreachable(f"{url} is no address of a node: {error}", hint=_START_IT) from error
        if parts.scheme != "http" or host not in ("127.0.0.1", "localhost", "::1") or port is None:
            raise NodeUnreachable(f"{url} is no address on this machine", hint=_START_IT)
        self._host, self._port = host, port

    def status(self) -> Status:
        """What the node is and how it is."""
        return self._call("GET", "/api/status", Status)

    def ask(self, text: str, *, area: str = "") -> Iterator[str | Answer]:
        """Ask by text: the sentences as they become ready, at the end the `Answer`."""
        clean = text.encode(errors="replace").decode()  # the shell hands over bytes that are no text as surrogates
        body = msgspec.json.encode({"text": clean, "area": area})
        with self._response("POST", "/api/ask", body, accept="application/x-ndjson") as response:
            while line := response.readline(MAX_LINE_BYTES):
                message = self._parse(line, dict[str, Any])
                if "sentence" in message:
                    yield str(message["sentence"])
                elif "error" in message:
                    raise MycoswarmError(str(message["error"]), hint=str(message.get("hint", "")))
                else:
                    yield self._convert(message, Answer)
                    return
        raise NodeUnreachable(f"the node at {self.url} went away before it finished its answer", hint=_START_IT)

    def ask_audio(self, wav: bytes, *, wake: bool) -> SpokenAnswer:
        """Ask by a WAV file; with `wake`, the question must follow a wake word."""
        reply = self._call("POST", f"/api/ask/audio?wake={int(wake)}", dict[str, Any], wav)
        try:
            reply["reply_wav"] = base64.b64decode(reply["reply_wav"], validate=True)
        except (KeyError, TypeError, binascii.Error) as error:
            raise self._not_ours(f"no recording in its answer: {error}") from error
        return self._convert(reply, SpokenAnswer)

    def traces(self, limit: int) -> list[Trace]:
        """The newest traces, newest first."""
        return self._call("GET", f"/api/traces?limit={limit}", list[Trace])

    def trace(self, utterance_id: str) -> Trace:
        """The trace of one utterance."""
        return self._call("GET", f"/api/traces/{quote(utterance_id, safe='')}", Trace)

    def entities(self) -> list[dict[str, Any]]:
        """`{"entity": …, "state": …}` of every device's part that the node knows."""
        return self._call("GET", "/api/entities", list[dict[str, Any]])

    def place(self, entity: str, area: str | None) -> dict[str, Any]:
        """Say in which area an entity is, None to leave that to the device; the entity as it is then."""
        return self._call("POST", "/api/home/area", dict[str, Any], _json(entity=entity, area=area))

    def rename(self, entity: str, *, add: Sequence[str] = (), remove: Sequence[str] | None = ()) -> dict[str, Any]:
        """Give an entity further names, and take some of those given, None for all; the entity as it is then."""
        return self._call("POST", "/api/home/aliases", dict[str, Any], _json(entity=entity, add=add, remove=remove))

    def timers(self) -> list[dict[str, Any]]:
        """The timers that run."""
        return self._call("GET", "/api/timers", list[dict[str, Any]])

    def say(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Have something said at satellites (`hub.saying.SayRequest`): `reports` of each, and names `missed`."""
        return self._call("POST", "/api/say", dict[str, Any], msgspec.json.encode(request))

    def set_muted(self, muted: bool) -> None:
        """Stop or begin listening with this machine's microphone."""
        self._call("POST", "/api/mute" if muted else "/api/unmute", dict[str, Any], b"")

    # ---- below: one request

    def _call(self, method: str, path: str, of_type: type[T], body: bytes | BinaryIO | None = None) -> T:
        with self._response(method, path, body) as response:
            return self._parse(response.read(MAX_REPLY_BYTES), of_type)

    @contextmanager
    def _response(
        self, method: str, path: str, body: bytes | BinaryIO | None, *, accept: str = "application/json"
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
            connection.sock.settimeout(self._timeout_s)
            connection.request(method, path, body, {**self._headers, "Accept": accept})
            response = connection.getresponse()
            if response.status not in (200, 202):
                raise self._refusal(response.status, response.read(MAX_LINE_BYTES))
            yield response
        except TimeoutError as error:
            raise NodeUnreachable(
                f"the node at {self.url} did not answer within {self._timeout_s:g} s", hint="mycoswarm doctor tells why"
            ) from error
        except ConnectionRefusedError as error:
            raise NodeUnreachable(f"no mycoswarm node answers at {self.url}", hint=_START_IT) from error
        except (OSError, http.client.HTTPException) as error:
            raise NodeUnreachable(f"lost the node at {self.url}: {error}", hint=_START_IT) from error
        finally:
            connection.close()

    def _refusal(self, status: int, body: bytes) -> MycoswarmError:
        try:
            reply = json.loads(body)
            return MycoswarmError(str(reply["error"]), hint=str(reply.get("hint", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return self._not_ours(f"status {status}")

    def _parse(self, data: bytes, of_type: type[T]) -> T:
        try:
            return msgspec.json.decode(data, type=of_type)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._not_ours(str(error)) from error

    def _convert(self, value: dict[str, Any], of_type: type[T]) -> T:
        try:
            return msgspec.convert(value, of_type)
        except msgspec.ValidationError as error:
            raise self._not_ours(str(error)) from error

    def _not_ours(self, why: str) -> NodeUnreachable:
        return NodeUnreachable(f"what answers at {self.url} is no mycoswarm node of this version ({why})")


def _json(**values: Any) -> bytes:
    return json.dumps(values).encode()


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
