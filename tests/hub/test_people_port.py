import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from hub.home.entity import Entity, State
from hub.intent import Context
from hub.people_port import MAX_AUDIO_BYTES, MAX_TEXT, Node, Say, SpokenAnswer, build_app, start
from hub.timer_book import Timer
from swarm.client import BrokerStatus, Status
from swarm.errors import AudioError, EngineError, MycoswarmError
from swarm.messages import Mark, Trace
from swarm.store import Store

LAMP = Entity(id="light.lamp", component="light", name="Lamp", features=frozenset({"on_off"}))
STATUS = Status(
    version="1",
    node="here",
    url="http://127.0.0.1:1",
    roles=("hub",),
    uptime_s=1.5,
    broker=BrokerStatus(kind="mosquitto", connected=True),
    engines={"synthesizer": "espeak-ng"},
    satellites=(),
    language_model=None,
    entities=1,
)


class Flat:
    """A node that answers in two sentences, or as its text tells it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.heard: list[tuple[str, Context]] = []
        self.muted = False
        self.port = 0
        self.may_answer = asyncio.Event()
        self.said_first = asyncio.Event()
        self.gave_up = asyncio.Event()

    def node(self) -> Node:
        return Node(
            language="en",
            status=lambda: STATUS,
            ask=self.ask,
            ask_audio=self.ask_audio,
            traces=self.store,
            entities=lambda: [(LAMP, State(value="on", brightness=40))],
            timers=self.timers,
            set_muted=self.set_muted,
            voice=self.voice,
        )

    async def ask(self, text: str, *, context: Context, say: Say) -> Trace:
        self.heard.append((text, context))
        try:
            if text == "fail":
                raise EngineError("the engine broke", hint="start it again")
            if text == "crash":
                raise RuntimeError("a secret of the inside")
            await say("First.")
            self.said_first.set()
            if text == "crash later":
                raise RuntimeError("a secret of the inside")
            if text == "fail later":
                raise EngineError("the engine broke", hint="start it again")
            if text == "wait":
                await self.may_answer.wait()
            while text == "on and on":
                await say("More. " * 1000)
            await say("Second.")
        except ConnectionError:
            self.gave_up.set()
            raise
        return self.trace(text)

    async def ask_audio(self, wav: bytes, wake: bool) -> SpokenAnswer:
        if wav[:4] != b"RIFF":
            raise AudioError("no WAV file", hint="record one")
        return SpokenAnswer(trace=self.trace(f"wake={wake} bytes={len(wav)}"), reply_wav=b"RIFFreply")

    async def set_muted(self, muted: bool) -> None:
        self.muted = muted

    def timers(self) -> Sequence[tuple[Timer, float]]:
        return [(Timer("t1", 600.0, 0.0, name="pizza"), 12.5)]

    async def voice(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("hello")
        await socket.close()
        return socket

    @staticmethod
    def trace(transcript: str) -> Trace:
        return Trace(
            utterance_id="u1",
            started_at="2026-01-01T10:00:00+01:00",
            source="text",
            transcript=transcript,
            answer="First. Second.",
            intent="HassTurnOn",
            outcome="done",
            marks=(Mark("intent", "node", 1.5),),
        )


@asynccontextmanager
async def serving(
    tmp_path: Path, *, max_asks: int = 8, ask_timeout_s: float = 30.0
) -> AsyncIterator[tuple[Flat, aiohttp.ClientSession]]:
    store = Store(tmp_path / "node.db")
    flat = Flat(store)
    app = build_app(flat.node(), ask_timeout_s=ask_timeout_s, max_asks=max_asks)
    runner, url = await start(app, port=0)
    flat.port = int(url.rpartition(":")[2])
    try:
        async with aiohttp.ClientSession(url) as client:
            yield flat, client
    finally:
        flat.may_answer.set()
        await runner.cleanup()
        await store.close()


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with client.get(path) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


async def post(client: aiohttp.ClientSession, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with client.post(path, data=data, **options) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


def test_question_gets_its_answer_and_trace(tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(tmp_path) as (flat, client):
            status, body = await post(client, "/api/ask", {"text": "lamp on", "area": "Kitchen", "language": "de"})
            assert status == 200
            assert body["answer"] == "First. Second."
            assert (body["intent"], body["outcome"], body["utterance_id"]) == ("HassTurnOn", "done", "u1")
            assert body["trace"]["marks"] == [{"stage": "intent", "node": "node", "at_ms": 1.5}]
            assert flat.heard == [("lamp on", Context(area="Kitchen", language="de"))]

            await post(client, "/api/ask", {"text": "lamp on"})
            assert flat.heard[-1] == ("lamp on", Context(language="en"))

    asyncio.run(check())


def test_sentences_arrive_while_the_answer_is_still_being_made(tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(tmp_path) as (flat, client):
            headers = {"Accept": "application/x-ndjson"}
            async with client.post("/api/ask", json={"text": "wait"}, headers=headers) as response:
                assert response.content_type == "application/x-ndjson"
                assert json.loads(await response.content.readline()) == {"sentence": "First."}
                flat.may_answer.set()
                assert json.loads(await response.content.readline()) == {"sentence": "Second."}
                assert json.loads(await response.content.readline())["outcome"] == "done"
                assert await response.content.readline() == b""

    asyncio.run(check())


@pytest.mark.parametrize(
    ("text", "error"), [("fail later", "the engine broke"), ("crash later", "the node failed at this")]
)
def test_failure_halfway_is_the_last_line_of_the_stream(tmp_path: Path, text: str, error: str) -> None:
    async def check() -> None:
        async with serving(tmp_path) as (_, client):
            headers = {"Accept": "application/x-ndjson"}
            async with client.post("/api/ask", json={"text": text}, headers=headers) as response:
                lines = [json.loads(line) async for line in response.content]
            assert [list(line) for line in lines] == [["sentence"], ["error", "hint"]]
            assert lines[-1]["error"] == error

    asyncio.run(check())


def test_endless_answer_ends_when_the_asker_leaves(tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(tmp_path, max_asks=1) as (flat, client):
            headers = {"Accept": "application/x-ndjson"}
            async with client.post("/api/ask", json={"text": "on and on"}, headers=headers) as response:
                await response.content.readline()
                response.close()
            async with asyncio.timeout(5):
                await flat.gave_up.wait()
                while (await post(client, "/api/ask", {"text": "next"}))[0] != 200:
                    pass

    asyncio.run(check())


def test_recording_gets_transcript_and_spoken_reply(tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(tmp_path) as (_, client):
            status, body = await post(client, "/api/ask/audio?wake=0", b"RIFF" + bytes(1000))
            assert (status, body["transcript"], body["outcome"]) == (200, "wake=False bytes=1004", "done")
            assert base64.b64decode(body["reply_wav"]) == b"RIFFreply"
            assert (await post(client, "/api/ask/audio", b"RIFF"))[1]["transcript"] == "wake=True bytes=4"

            assert await post(client, "/api/ask/audio", b"no wav") == (
                400,
                {"error": "no WAV file", "hint": "record one"},
            )
            assert (await post(client, "/api/ask/audio", b""))[0] == 400
            assert (await post(client, "/api/ask/audio?wake=maybe", b"RIFF"))[0] == 400
            status, body = await post(client, "/api/ask/audio", bytes(MAX_AUDIO_BYTES + 1))
            assert (status, body["error"]) == (413, "the request is larger than 32 MB")
            assert (await get(client, "/api/status"))[0] == 200

    asyncio.run(check())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b'{"text": 3}',
        b'{"text": "  "}',
        b'{"text": "a", "typo": 1}',
        b"[" * 50_000,
        b"\xff\xfe",
    ],
)
def test_request_that_is_no_question_is_refused_with_a_reason(tmp_path: Path, body: bytes) -> None:
    async def check() -> None:
        async with serving(tmp_path) as (flat, client):
            status, answer = await post(client, "/api/ask", body)
            assert status == 400
            assert answer["error"]
            assert answer["hint"]
            assert flat.heard == []

    asyncio.run(check())


def test_question_longer_than_the_bound_is_refused(tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(tmp_path) as (flat, client):
            assert (await post(client, "/api/ask", {"text": "x" * MAX_TEXT}))[0] == 200
            assert (await post(client, "/api/ask", {"text": "x" * (MAX_TEXT + 1)}))[0] == 400
            assert len(flat.heard) == 1

    asyncio.run(check())


def test_failures_are_json_and_the_node_stays_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with serving(tmp_path) as (_, client):
            expected = (503, {"error": "the engine broke", "hint": "start it again"})
            assert await post(client, "/api/ask", {"text": "fail"}) == expected
            status, body = await post(client, "/api/ask", {"text": "crash"})
            assert status == 500
            assert "secret" not in str(body)
            assert "a secret of the inside" in caplog.text
            assert (await get(client, "/api/nothing"))[0] == 404
            assert (await get(client, "/api/ask"))[0] == 405
            assert (await post(client, "/api/ask", {"text": "lamp on"}))[0] == 200

    with caplog.at_level(logging.ERROR):
        asyncio.run(check())


def test_one_question_too_many_is_told_to_come_back(tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(tmp_path, max_asks=1) as (flat, client):
            first = asyncio.create_task(post(client, "/api/ask", {"text": "wait"}))
            await flat.said_first.wait()
            async with client.post("/api/ask", json={"text": "another"}) as response:
                assert response.status == 503
                assert response.headers["Retry-After"] == "1"
                assert "too many" in (await response.json())["error"]
            flat.may_answer.set()
            assert (await first)[0] == 200
            assert (await post(client, "/api/ask", {"text": "another"}))[0] == 200

    asyncio.run(check())


def test_answer_that_never_comes_ends_at_the_deadline(tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(tmp_path, ask_timeout_s=0.05) as (_, client):
            status, body = await post(client, "/api/ask", {"text": "wait"})
            assert (status, body["error"]) == (504, "no answer within 0.05 s")

    asyncio.run(check())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Host": "localhost:{port}"}, 200),
        ({"Host": "[::1]:{port}"}, 200),
        ({"Host": "evil.example:{port}"}, 403),
        ({"Host": "localhost.evil.example:{port}"}, 403),
        ({"Host": "localhost:1"}, 403),
        ({"Host": "localhost"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Host": "localhost:{port}", "Origin": "http://localhost:{port}"}, 200),
        ({"Origin": "http://localhost:{port}"}, 403),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
def test_only_this_machines_own_pages_and_programs_are_answered(
    tmp_path: Path, headers: dict[str, str], expected: int
) -> None:
    async def check() -> None:
        async with serving(tmp_path) as (flat, client):
            port = flat.port
            sent = {key: value.replace("{port}", str(port)) for key, value in headers.items()}
            async with client.post("/api/ask", json={"text": "lamp on"}, headers=sent) as response:
                assert response.status == expected
                body = await response.json()
            assert len(flat.heard) == (1 if expected == 200 else 0)
            if expected == 403:
                assert body["error"]
                assert body["hint"] == f"use http://localhost:{port}"
            async with client.get("/api/voice", headers=sent) as response:
                assert (response.status == 403) == (expected == 403)

    asyncio.run(check())


def test_traces_entities_timers_status_and_mute(tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(tmp_path) as (flat, client):
            await flat.store.save_trace(flat.trace("lamp on"))
            assert msgspec.convert((await get(client, "/api/status"))[1], Status) == STATUS
            assert [trace["utterance_id"] for trace in (await get(client, "/api/traces?limit=5"))[1]] == ["u1"]
            assert (await get(client, "/api/traces/u1"))[1]["transcript"] == "lamp on"
            assert (await get(client, "/api/traces/u2"))[0] == 404
            for limit in ("0", "501", "-1", "x", "²", "9" * 5_000):
                assert (await get(client, f"/api/traces?limit={limit}"))[0] == 400
            [lamp] = (await get(client, "/api/entities"))[1]
            assert (lamp["entity"]["name"], lamp["state"]["brightness"]) == ("Lamp", 40)
            [timer] = (await get(client, "/api/timers"))[1]
            assert (timer["name"], timer["duration_s"], timer["left_s"]) == ("pizza", 600.0, 12.5)
            for path, muted in (("/api/mute", True), ("/api/unmute", False)):
                assert await post(client, path) == (200, {"muted": muted})
                assert flat.muted is muted
            async with client.ws_connect("/api/voice") as socket:
                assert await socket.receive_str() == "hello"

    asyncio.run(check())


def test_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(tmp_path) as (flat, _):
            with pytest.raises(MycoswarmError, match=f"127.0.0.1:{flat.port}") as refused:
                await start(build_app(flat.node(), ask_timeout_s=1), port=flat.port)
            assert "people.port" in refused.value.hint

    asyncio.run(check())
