"""A small Home Assistant: its WebSocket API with registries, states, services and events, on a real socket."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

Json = dict[str, Any]


class FakeHomeAssistant:
    """`start`, then `end`; both may be repeated, at the same address."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token = "the right token"
        self.attempts = 0
        """Connections that showed a token."""
        self.areas: list[Json] = []
        self.devices: list[Json] = []
        self.entries: dict[str, Json] = {}
        self.states: dict[str, Json] = {}
        self.calls: list[Json] = []
        self.obeys = True
        self._port = port
        self._runner: web.AppRunner | None = None
        self._lines: dict[web.WebSocketResponse, dict[str, int]] = {}
        """Event types with the numbers of their subscriptions, by connection."""
        self._numbers = itertools.count(1)
        self.add("input_boolean.guests", "off", friendly_name="Guests", platform="input_boolean", unique_id="guests")
        modes: Json = {"supported_color_modes": ["hs"], "brightness": None, "supported_features": 0}
        self.add("light.bed_light", "off", friendly_name="Bed Light", platform="demo", unique_id="light_1", **modes)

    def add(self, entity_id: str, state: str, *, platform: str, unique_id: str, device: str = "", **about: Any) -> None:
        self.states[entity_id] = {"entity_id": entity_id, "state": state, "attributes": about}
        named = dict.fromkeys(("area_id", "disabled_by", "hidden_by", "entity_category", "name", "icon"))
        self.entries[entity_id] = {
            **named,
            "entity_id": entity_id,
            "platform": platform,
            "unique_id": unique_id,
            "device_id": device or None,
            "aliases": [],
        }

    async def gets(self, entity_id: str, state: str, **about: Any) -> None:
        """An integration brings an entity."""
        self.add(entity_id, state, **about)
        await self._tell("entity_registry_updated", {"action": "create", "entity_id": entity_id})
        await self.become(entity_id, state)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/api/websocket", self._serve)
        app.router.add_get("/api/", self._greet)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def end(self) -> None:
        for line in list(self._lines):
            await line.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def revoke(self) -> None:
        """The token is worth nothing any more."""
        self.token = "another token"
        for line in list(self._lines):
            await line.close()

    async def command(self, kind: str, **fields: Any) -> Any:
        """As a person does it in the browser."""
        return await self._do({"type": kind, **fields})

    async def become(self, entity_id: str, state: str | None, **attributes: Any) -> None:
        """An entity's state changes; None removes it."""
        if state is None:
            new = self.states.pop(entity_id) and None
        else:
            about = {**self.states.get(entity_id, {"attributes": {}})["attributes"], **attributes}
            new = self.states[entity_id] = {"entity_id": entity_id, "state": state, "attributes": about}
        await self._tell("state_changed", {"entity_id": entity_id, "new_state": new})

    async def _tell(self, event_type: str, data: Json) -> None:
        for line, subscribed in list(self._lines.items()):
            if event_type in subscribed and not line.closed:
                event = {"event_type": event_type, "data": data}
                await line.send_json({"id": subscribed[event_type], "type": "event", "event": event})

    async def _greet(self, request: web.Request) -> web.Response:
        right = request.headers.get("Authorization") == f"Bearer {self.token}"
        return web.json_response({"message": "API running."}, status=200 if right else 401)

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        line = web.WebSocketResponse()
        await line.prepare(request)
        await line.send_json({"type": "auth_required", "ha_version": "2024.3.3"})
        asked = await line.receive_json()
        self.attempts += 1
        if asked != {"type": "auth", "access_token": self.token}:
            await line.send_json({"type": "auth_invalid", "message": "Invalid access token or password"})
            await line.close()
            return line
        await line.send_json({"type": "auth_ok", "ha_version": "2024.3.3"})
        subscribed = self._lines[line] = {}
        try:
            async for message in line:
                if message.type is WSMsgType.TEXT:
                    await self._answer(line, subscribed, message.json())
        finally:
            self._lines.pop(line, None)
        return line

    async def _answer(self, line: web.WebSocketResponse, subscribed: dict[str, int], asked: Json) -> None:
        number = asked["id"]
        if asked["type"] == "subscribe_events":
            subscribed[asked["event_type"]] = number
        try:
            result = None if asked["type"] == "subscribe_events" else await self._do(asked)
        except (KeyError, ValueError) as error:
            wrong = {"code": "unknown_command", "message": repr(error)}
            await line.send_json({"id": number, "type": "result", "success": False, "error": wrong})
        else:
            await line.send_json({"id": number, "type": "result", "success": True, "result": result})

    async def _do(self, asked: Json) -> Any:
        kinds: dict[str, Callable[[Json], Any]] = {
            "config/area_registry/list": lambda _: self.areas,
            "config/device_registry/list": lambda _: self.devices,
            "config/entity_registry/list": lambda _: [
                {key: value for key, value in each.items() if key != "aliases"} for each in self.entries.values()
            ],
            "config/entity_registry/get_entries": lambda asked: {
                entity_id: self.entries.get(entity_id) for entity_id in asked["entity_ids"]
            },
            "get_states": lambda _: list(self.states.values()),
            "config/area_registry/create": self._new_area,
            "config/entity_registry/update": self._update,
            "call_service": self._call,
        }
        result = kinds[asked["type"]](asked)
        return await result if asyncio.iscoroutine(result) else result

    async def _new_area(self, asked: Json) -> Json:
        area = {"area_id": asked["name"].lower(), "name": asked["name"], "aliases": []}
        self.areas.append(area)
        await self._tell("area_registry_updated", {"action": "create", "area_id": area["area_id"]})
        return area

    async def _update(self, asked: Json) -> Json:
        entry = self.entries[asked["entity_id"]]
        entry.update({key: value for key, value in asked.items() if key in entry})
        await self._tell("entity_registry_updated", {"action": "update", "entity_id": asked["entity_id"]})
        return entry

    async def _call(self, asked: Json) -> Json:
        self.calls.append(asked)
        if asked["service"] not in ("turn_on", "turn_off"):
            raise ValueError(f"Service {asked['domain']}.{asked['service']} not found.")
        data = dict(asked["service_data"])
        if "rgb_color" in data:
            data["color_mode"] = "rgb"
        if self.obeys:
            await self.become(asked["target"]["entity_id"], asked["service"].removeprefix("turn_"), **data)
        return {"context": {"id": next(self._numbers)}}
