"""A real Home Assistant of the benchmark's and the tests' own: its process, its onboarding, its two APIs.

It listens on loopback only, keeps everything in a folder that its owner removes, and is given no integration that calls
out: no `default_config`, no analytics, and the onboarding step `core_config`, which asks the internet where it is, is
never taken. The addresses are those of Home Assistant's REST and WebSocket API.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from swarm.bench.swarm_nodes import free_port
from swarm.child import end_child, start_child
from swarm.errors import MycoswarmError

REQUIREMENTS = "tests/peers/requirements-homeassistant.txt"
START_S = 120.0
"""It needs 5 to 14 s, the first time and on a busy machine more."""
STOP_S = 20.0
CALL_S = 30.0
POLL_S = 0.05
CLIENT = "http://127.0.0.1/"
"""Who asks for a token; any address does."""

CONFIGURATION = """\
homeassistant:
  name: Home
  time_zone: UTC
  unit_system: metric
http:
  server_host: 127.0.0.1
  server_port: {port}
config:
onboarding:
conversation:
assist_pipeline:
media_source:
logger:
  default: warning
"""
"""`media_source`: without it answers that are spoken fail."""

State = dict[str, Any]


def why_not(venv: Path) -> str:
    """Why Home Assistant cannot run from this virtual environment; empty when it can."""
    if not _program(venv).exists():
        return f"Home Assistant is not installed in {venv}: pip install -r {REQUIREMENTS} there, or make test-peers"
    if shutil.which("ffmpeg") is None:
        return "Home Assistant needs the program ffmpeg to speak"
    return ""


class HomeAssistant:
    """One installation. `start()` before anything else, `end()` afterwards; in between it can be ended and started
    again. All methods belong to the event loop that started it, and raise `MycoswarmError`."""

    def __init__(self, venv: Path, folder: Path, *, more: str = "") -> None:
        """`folder` holds its configuration and is made; `more` is YAML behind the configuration: further
        integrations."""
        if reason := why_not(venv):
            raise MycoswarmError(reason)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = ""
        """A long-lived access token of its owner, once it has started."""
        self.process: Process | None = None
        self._venv = venv
        self._folder = folder
        folder.mkdir(parents=True)
        (folder / "configuration.yaml").write_text(CONFIGURATION.format(port=self.port) + more, encoding="utf-8")

    # ---- its process

    async def start(self) -> None:
        """Start it and wait until it has started all that it is to run; the first time it gets its owner too."""
        argv = [str(_program(self._venv)), "--config", str(self._folder), "--skip-pip", "--log-no-color"]
        self.process = await start_child(argv)
        if not self.token:
            await self._until(self._asks_for_an_owner, "Home Assistant did not start")
            await self._onboard()
        await self._until(self._runs, "Home Assistant did not start")

    async def end(self) -> None:
        """End it in good order, if it runs; it writes what it has learned."""
        if self.process is not None:
            process, self.process = self.process, None
            await end_child(process, grace_s=STOP_S)

    async def kill(self) -> None:
        """End it as a power cut does; what it learned in the last seconds is lost."""
        if self.process is not None:
            self.process.kill()
            await self.end()

    # ---- what it knows and does

    async def state(self, entity_id: str) -> State | None:
        """Of an entity: `state`, `attributes` and more; None when there is none."""
        status, answer = await self._request("GET", f"/api/states/{entity_id}", missing_is_none=True)
        return None if status == 404 else answer

    async def states(self) -> dict[str, State]:
        """All, by entity id."""
        _, answer = await self._request("GET", "/api/states")
        return {each["entity_id"]: each for each in answer}

    async def wait_for_state(
        self, entity_id: str, wanted: str | Callable[[State], object], *, seconds: float = CALL_S
    ) -> State:
        """The state of an entity once it is `wanted`, or once that is true of it."""
        seen: State | None = None

        async def is_wanted() -> bool:
            nonlocal seen
            seen = await self.state(entity_id)
            if seen is None:
                return False
            return seen["state"] == wanted if isinstance(wanted, str) else bool(wanted(seen))

        try:
            await self._until(is_wanted, "", seconds=seconds)
        except TimeoutError:
            shown = f"is {seen['state']!r}: {seen['attributes']}" if seen else "is not there"
            raise MycoswarmError(f"Home Assistant's {entity_id} {shown}, and not what was waited for") from None
        assert seen is not None
        return seen

    async def call_service(self, domain: str, service: str, **data: object) -> None:
        """Have it do something; returns when it has."""
        await self._request("POST", f"/api/services/{domain}/{service}", data)

    async def command(self, kind: str, **fields: object) -> Any:
        """The result of one command of the WebSocket API."""
        async with self.commands() as command:
            return await command(kind, **fields)

    @asynccontextmanager
    async def commands(self) -> AsyncIterator[Commands]:
        """A connection to the WebSocket API."""
        try:
            async with aiohttp.ClientSession() as session, session.ws_connect(f"{self.url}/api/websocket") as line:
                await line.receive_json(timeout=CALL_S)
                await line.send_json({"type": "auth", "access_token": self.token})
                answer = await line.receive_json(timeout=CALL_S)
                if answer["type"] != "auth_ok":
                    raise MycoswarmError(f"Home Assistant refuses its own token: {answer.get('message', answer)}")
                yield Commands(line)
        except (aiohttp.ClientError, TimeoutError, TypeError) as error:
            raise MycoswarmError(f"Home Assistant's WebSocket API does not answer: {error!r}") from error

    # ---- what it is connected to

    async def add_mqtt(self, port: int) -> None:
        """Use the broker on this loopback port, with discovery."""
        await self._add("mqtt", {"broker": "127.0.0.1", "port": port})

    async def add_wyoming(self, port: int) -> None:
        """Use the Wyoming service on this loopback port, which runs."""
        await self._add("wyoming", {"host": "127.0.0.1", "port": port})

    async def _add(self, integration: str, answers: dict[str, object]) -> None:
        flow = "/api/config/config_entries/flow"
        _, step = await self._request("POST", flow, {"handler": integration, "show_advanced_options": False})
        if step["type"] == "form":
            _, step = await self._request("POST", f"{flow}/{step['flow_id']}", answers)
        if step["type"] != "create_entry":
            raise MycoswarmError(f"Home Assistant does not take the integration {integration}: {json.dumps(step)}")

    # ---- its beginning

    async def _asks_for_an_owner(self) -> bool:
        status, _ = await self._request("GET", "/api/onboarding", missing_is_none=True)
        return status == 200

    async def _runs(self) -> bool:
        _, answer = await self._request("GET", "/api/config")
        return bool(answer["state"] == "RUNNING")

    async def _onboard(self) -> None:
        owner = {"client_id": CLIENT, "name": "Owner", "username": "owner", "password": "owner", "language": "en"}
        _, answer = await self._request("POST", "/api/onboarding/users", owner)
        form = {"grant_type": "authorization_code", "code": answer["auth_code"], "client_id": CLIENT}
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}/auth/token", data=form) as response:
            self.token = (await response.json())["access_token"]
        self.token = await self.command("auth/long_lived_access_token", client_name="mycoswarm", lifespan=10)

    async def _request(
        self, method: str, path: str, content: object = None, *, missing_is_none: bool = False
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(CALL_S)) as session,
                session.request(method, self.url + path, json=content, headers=headers) as response,
            ):
                if response.status == 404 and missing_is_none:
                    return 404, None
                text = await response.text()
                if response.status >= 400:
                    raise MycoswarmError(f"Home Assistant answers {response.status} to {method} {path}: {text[:500]}")
                return response.status, json.loads(text)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _Silent(f"Home Assistant does not answer {method} {path}: {error!r}") from error

    async def _until(self, condition: Callable[[], Any], otherwise: str, *, seconds: float = START_S) -> None:
        try:
            async with asyncio.timeout(seconds):
                while True:
                    if self.process is not None and self.process.returncode is not None:
                        log = self._folder / "home-assistant.log"
                        said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                        raise MycoswarmError(f"Home Assistant ended with {self.process.returncode}: {said}")
                    try:
                        if await condition():
                            return
                    except _Silent:
                        pass
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            if not otherwise:
                raise
            raise MycoswarmError(f"{otherwise} within {seconds:g} s") from None


class Commands:
    """Calls on one connection to the WebSocket API; events of other calls are passed over."""

    def __init__(self, line: aiohttp.ClientWebSocketResponse) -> None:
        self.line = line
        self._numbers = itertools.count(1)

    async def __call__(self, kind: str, **fields: object) -> Any:
        """The result of one command. Raises `MycoswarmError`."""
        number = await self.send(kind, **fields)
        while True:
            answer = await self.line.receive_json(timeout=CALL_S)
            if answer.get("id") == number and answer["type"] == "result":
                if not answer["success"]:
                    raise MycoswarmError(f"Home Assistant refuses {kind}: {answer['error']}")
                return answer["result"]

    async def send(self, kind: str, **fields: object) -> int:
        """Send a command and wait for nothing; its number, which its answers and events carry."""
        number = next(self._numbers)
        await self.line.send_json({"id": number, "type": kind, **fields})
        return number


class _Silent(MycoswarmError):
    """Nobody answers: it starts or ends."""


def _program(venv: Path) -> Path:
    return venv / "bin" / "hass"
