"""The node's database: traces, settings and timers in one SQLite file that survives restarts.

All of it is touched by one thread, so the event loop never waits for the disk and writes never race. The node must
outlive its disk: a damaged file is moved aside, an unwritable one is tried again at each use, and until then the newest
traces are kept in memory.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from swarm.errors import StorageError
from swarm.messages import Trace

MAX_TRACES = 5_000
"""Newest traces kept on disk; at about 1 kB each, 5 MB."""
MAX_TRACES_IN_MEMORY = 200
"""Newest traces kept while the disk takes none."""
MAX_PENDING = 256
"""Operations that may wait for the disk; beyond, an operation fails at once instead of queueing without end."""
COMPLAIN_EVERY_S = 60.0
"""A disk that stays full says so in the log this often, not with every trace."""

Table = Literal["settings", "timers", "rules"]
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Store:
    """The database at `path`. Every method may be called at any time between `open` and `close`."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._database: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._pending = 0
        self._unsaved: OrderedDict[str, Trace] = OrderedDict()
        self._complained_at: float | None = None

    async def open(self) -> None:
        """Open or create the database; never raises. One that cannot be opened is logged, and tried again later."""
        try:
            await self._run(lambda database: None)
        except StorageError as error:
            _log.error("%s; until that is mended traces are kept in memory and nothing survives a restart", error)

    async def close(self) -> None:
        """Finish what waits and close the file."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    # ---- traces

    async def save_trace(self, trace: Trace) -> None:
        """Keep a trace, replacing an earlier one of the same utterance. Never raises: a full disk costs no answer."""
        self._unsaved[trace.utterance_id] = trace
        self._unsaved.move_to_end(trace.utterance_id)
        while len(self._unsaved) > MAX_TRACES_IN_MEMORY:
            self._unsaved.popitem(last=False)
        waiting = list(self._unsaved.values())
        try:
            await self._run(lambda database: _insert_traces(database, waiting))
        except StorageError as error:
            self._complain(error)
            return
        for saved in waiting:
            if self._unsaved.get(saved.utterance_id) is saved:
                del self._unsaved[saved.utterance_id]

    async def traces(self, limit: int) -> list[Trace]:
        """The newest `limit` traces, newest first, those that could not be written included."""
        unsaved = list(reversed(self._unsaved.values()))
        try:
            stored = await self._run(lambda database: _select_traces(database, limit))
        except StorageError as error:
            self._complain(error)
            stored = []
        seen = {trace.utterance_id for trace in unsaved}
        return [*unsaved, *(trace for trace in stored if trace.utterance_id not in seen)][:limit]

    async def trace(self, utterance_id: str) -> Trace | None:
        """The trace of one utterance."""
        if utterance_id in self._unsaved:
            return self._unsaved[utterance_id]
        try:
            return await self._run(lambda database: _select_trace(database, utterance_id))
        except StorageError as error:
            self._complain(error)
            return None

    # ---- settings

    async def setting(self, key: str) -> Any:
        """The value stored under `key`, None when there is none. Raises `StorageError` when it cannot be read."""
        return (await self._read_all("settings", key)).get(key)

    async def set_setting(self, key: str, value: Any) -> None:
        """Store a value that JSON can hold. Raises `StorageError` when it cannot be written."""
        body = msgspec.json.encode(value).decode()
        await self._run(lambda database: _put(database, "settings", key, body))

    # ---- timers

    async def timers(self) -> list[dict[str, Any]]:
        """Every stored timer as it was saved. Raises `StorageError` when they cannot be read."""
        return list((await self._read_all("timers")).values())

    async def save_timer(self, timer: Mapping[str, Any]) -> None:
        """Store a timer under its `id`, replacing an earlier one. Raises `StorageError` when it cannot be written."""
        body = msgspec.json.encode(dict(timer)).decode()
        await self._run(lambda database: _put(database, "timers", str(timer["id"]), body))

    async def delete_timer(self, timer_id: str) -> None:
        """Forget a timer; one that is not there is no error. Raises `StorageError` when it cannot be written."""
        await self._run(lambda database: _delete(database, "timers", timer_id))

    # ---- rules

    async def rules(self) -> dict[str, Any]:
        """Everything that is stored of rules, by key. Raises `StorageError` when it cannot be read."""
        return await self._read_all("rules")

    async def save_rule(self, key: str, value: Mapping[str, Any]) -> None:
        """Store it under `key`, replacing what is there. Raises `StorageError` when it cannot be written."""
        body = msgspec.json.encode(dict(value)).decode()
        await self._run(lambda database: _put(database, "rules", key, body))

    async def delete_rule(self, key: str) -> None:
        """Forget it; what is not there is no error. Raises `StorageError` when it cannot be written."""
        await self._run(lambda database: _delete(database, "rules", key))

    # ---- below: how a table is read and written, in the store's thread

    async def _read_all(self, table: Table, key: str | None = None) -> dict[str, Any]:
        where, values = ("WHERE id = ?", [key]) if key is not None else ("", [])

        def read(database: sqlite3.Connection) -> dict[str, Any]:
            rows = database.execute(f"SELECT id, body FROM {table} {where} ORDER BY rowid", values)  # noqa: S608 our words
            return {row["id"]: msgspec.json.decode(row["body"]) for row in rows}

        return await self._run(read)

    async def _run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        if self._pending >= MAX_PENDING:
            raise StorageError(f"the database {self._path} is too slow: {self._pending} operations wait for it")
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._in_thread, operation)
        finally:
            self._pending -= 1

    def _in_thread(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        try:
            try:
                return operation(self._connected())
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._move_aside(error)
                return operation(self._connected())
        except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
            self._disconnect()
            raise StorageError(
                f"cannot use the database {self._path}: {error}",
                hint="free some space, or make the folder writable by the user that runs mycoswarm",
            ) from error

    def _connected(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = _connect(self._path)
        return self._database

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _move_aside(self, error: Exception) -> None:
        """Keep the newest damaged file for whoever wants to look at it; older ones would only fill the disk."""
        self._disconnect()
        aside = self._path.with_suffix(".damaged")
        self._path.replace(aside)
        for suffix in ("-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        _log.error("the database %s is damaged (%s): moved to %s, a new one is begun", self._path, error, aside)

    def _complain(self, error: StorageError) -> None:
        now = self._clock()
        if self._complained_at is None or now - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = now
            _log.error("traces are only kept in memory: %s", error)


# ---- schema


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # what people said at home is for nobody else to read
    database = sqlite3.connect(path, timeout=2.0, check_same_thread=False)
    database.row_factory = sqlite3.Row
    try:
        report = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if report != "ok":
            raise sqlite3.DatabaseError(f"malformed: {report}")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        _migrate(database)
    except BaseException:
        database.close()
        raise
    return database


def _migrate(database: sqlite3.Connection) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > len(_MIGRATIONS):
        _log.info("the database was written by a newer mycoswarm (schema %s); what that added is left alone", version)
    for number, statements in enumerate(_MIGRATIONS[version:], start=version + 1):
        with database:  # all of it or nothing, when the power goes
            database.execute("BEGIN IMMEDIATE")
            for statement in statements:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {number}")


_FIRST_TEXTS = ("started_at", "source", "satellite", "transcript", "intent", "answer", "outcome", "wake_word")
_TRACE_TEXTS = (*_FIRST_TEXTS, "why")
_TRACE_COLUMNS = (*_TRACE_TEXTS, "marks")
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE IF NOT EXISTS traces"
        f" (utterance_id TEXT PRIMARY KEY, {' TEXT, '.join((*_FIRST_TEXTS, 'marks'))} TEXT)",
        "CREATE TABLE IF NOT EXISTS settings (id TEXT PRIMARY KEY, body TEXT)",
        "CREATE TABLE IF NOT EXISTS timers (id TEXT PRIMARY KEY, body TEXT)",
    ),
    (
        "CREATE TABLE IF NOT EXISTS rules (id TEXT PRIMARY KEY, body TEXT)",
        "ALTER TABLE traces ADD COLUMN why TEXT NOT NULL DEFAULT ''",
    ),
)
"""Entry n brings a database from schema n to n + 1. Only by adding: the version before must be able to go on with it
(CONTRIBUTING.md, "Going back")."""


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "malformed" in str(error)


# ---- values as rows


def _put(database: sqlite3.Connection, table: Table, key: str, body: str) -> None:
    with database:
        database.execute(
            f"INSERT INTO {table} (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",  # noqa: S608
            (key, body),
        )


def _delete(database: sqlite3.Connection, table: Table, key: str) -> None:
    with database:
        database.execute(f"DELETE FROM {table} WHERE id = ?", (key,))  # noqa: S608


def _insert_traces(database: sqlite3.Connection, traces: list[Trace]) -> None:
    names = ("utterance_id", *_TRACE_COLUMNS)
    renewed = ", ".join(f"{name} = excluded.{name}" for name in _TRACE_COLUMNS)
    with database:
        database.executemany(
            f"INSERT INTO traces ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"  # noqa: S608
            f" ON CONFLICT (utterance_id) DO UPDATE SET {renewed}",
            [_row_of(trace) for trace in traces],
        )
        database.execute(
            "DELETE FROM traces WHERE rowid <= (SELECT rowid FROM traces ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
            (MAX_TRACES,),
        )


def _select_traces(database: sqlite3.Connection, limit: int) -> list[Trace]:
    rows = database.execute("SELECT * FROM traces ORDER BY rowid DESC LIMIT ?", (limit,))
    return [_trace_of(dict(row)) for row in rows]


def _select_trace(database: sqlite3.Connection, utterance_id: str) -> Trace | None:
    row = database.execute("SELECT * FROM traces WHERE utterance_id = ?", (utterance_id,)).fetchone()
    return _trace_of(dict(row)) if row is not None else None


def _row_of(trace: Trace) -> dict[str, str]:
    texts = {name: getattr(trace, name) for name in ("utterance_id", *_TRACE_TEXTS)}
    return {**texts, "marks": msgspec.json.encode(trace.marks).decode()}


def _trace_of(row: Mapping[str, Any]) -> Trace:
    return msgspec.convert({**row, "marks": msgspec.json.decode(row["marks"])}, Trace)
