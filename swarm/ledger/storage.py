"""The ledger's SQLite file. Every method waits for the disk; one object belongs to one thread at a time.

Write-ahead log with `synchronous = FULL`: what `append` committed survives SIGKILL and, on a disk that keeps its word,
a power cut. Nothing is ever changed or removed but snapshots, which can be made again. The file is not trusted to be
what was written: its structure and the end of every log are checked when it is opened, and everything that is read for
another node is checked against its signature.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from swarm.certificates import id_of, is_signed
from swarm.durable import sync_folder
from swarm.ledger.errors import DamagedLedger, LedgerError
from swarm.ledger.operation import (
    EPOCH_BYTES,
    MAX_RUN_BYTES,
    MAX_RUN_OPERATIONS,
    LogId,
    chain,
    digest,
    first_hash,
    signed_bytes,
)
from swarm.ledger.run import Proof, Run

SCHEMA = 1
BUSY_S = 5.0
_READ_AT_ONCE = 2048
_AGAIN = (
    "move the file away and start again: what other nodes have of this node's operations comes back from them; what "
    "none of them has is only in that file"
)


@dataclass
class Head:
    """A log as it is stored."""

    row: int
    log: LogId
    key: bytes
    """Public key of the origin, DER."""
    position: int
    size: int
    """Bytes of all bodies."""
    hash: bytes
    """At `position`."""


@dataclass(frozen=True)
class Signed:
    """A place of a log that its origin signed; 0 needs no signature."""

    position: int
    hash: bytes
    signature: bytes


class Storage:
    """The open file."""

    def __init__(self, path: Path, connection: sqlite3.Connection, swarm_id: str) -> None:
        """See `open_storage`."""
        self.path = path
        self._sql = connection
        self._swarm_id = swarm_id

    def close(self) -> None:
        """Nothing is lost without it, too."""
        self._sql.close()

    # ---- writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, on disk at the end. Raises `LedgerError`."""
        with self._explained("write"):
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                raise

    def begin_log(self, log: LogId, key: bytes) -> Head:
        """A log with nothing in it; inside a transaction."""
        hash_ = first_hash(self._swarm_id, log)
        row = self._sql.execute(
            "INSERT INTO logs (origin, epoch, lane, key, position, bytes, hash) VALUES (?, ?, ?, ?, 0, 0, ?)",
            (log.origin, log.epoch, log.lane, key, hash_),
        ).lastrowid
        assert row is not None
        return Head(row, log, key, 0, 0, hash_)

    def append(self, head: Head, bodies: Sequence[bytes], hash_: bytes, signature: bytes) -> Head:
        """Continue a log by a signed stretch; the new head. Inside a transaction."""
        position, size = head.position + len(bodies), head.size + sum(map(len, bodies))
        self._sql.executemany(
            "INSERT INTO operations (log, sequence, body) VALUES (?, ?, ?)",
            [(head.row, head.position + index, body) for index, body in enumerate(bodies, 1)],
        )
        self._sql.execute(
            "INSERT INTO signed (log, position, hash, signature) VALUES (?, ?, ?, ?)",
            (head.row, position, hash_, signature),
        )
        self._sql.execute(
            "UPDATE logs SET position = ?, bytes = ?, hash = ? WHERE id = ?", (position, size, hash_, head.row)
        )
        return Head(head.row, head.log, head.key, position, size, hash_)

    def epoch(self) -> bytes:
        """The epoch of this file. It is another one when the file is: a copy that came back from a backup must not
        give the numbers again that its original gave since. (A disk image set back looks the same from inside; that
        shows when another node knows more of our own log than we do.)"""
        found = self._sql.execute("SELECT epoch, inode FROM own").fetchone()
        if found is not None and found[1] == self.path.stat().st_ino:
            return bytes(found[0])
        return self.new_epoch()

    def new_epoch(self) -> bytes:
        """Begin new logs of this node from now on."""
        epoch = secrets.token_bytes(EPOCH_BYTES)
        with self.transaction():
            self._sql.execute("DELETE FROM own")
            self._sql.execute("INSERT INTO own (epoch, inode) VALUES (?, ?)", (epoch, self.path.stat().st_ino))
        return epoch

    def save_snapshot(self, applied: dict[LogId, int], views: dict[str, tuple[int, bytes]]) -> None:
        """Replace the snapshot: how far it has each log, version and content by view. Raises `LedgerError`."""
        with self.transaction():
            self._sql.execute("DELETE FROM snapshots")
            rows = [(name, version, content) for name, (version, content) in views.items()]
            rows.append(("", 0, msgspec.msgpack.encode(sorted(applied.items()))))
            self._sql.executemany("INSERT INTO snapshots (view, version, content) VALUES (?, ?, ?)", rows)

    # ---- reading

    def heads(self) -> dict[LogId, Head]:
        """All logs."""
        with self._explained("read"):
            rows = self._sql.execute("SELECT id, origin, epoch, lane, key, position, bytes, hash FROM logs").fetchall()
        heads = [
            Head(row, LogId(origin, epoch, lane), key, position, size, hash_)
            for row, origin, epoch, lane, key, position, size, hash_ in rows
        ]
        return {head.log: head for head in heads}

    def head(self, log: LogId) -> Head | None:
        """One log."""
        with self._explained("read"):
            found = self._sql.execute(
                "SELECT id, key, position, bytes, hash FROM logs WHERE origin = ? AND epoch = ? AND lane = ?",
                (log.origin, log.epoch, log.lane),
            ).fetchone()
        return None if found is None else Head(found[0], log, *found[1:])

    def bodies(self, head: Head, first: int, last: int) -> list[bytes]:
        """These operations. Raises `DamagedLedger` when one is missing."""
        with self._explained("read"):
            rows = self._sql.execute(
                "SELECT body FROM operations WHERE log = ? AND sequence BETWEEN ? AND ? ORDER BY sequence",
                (head.row, first, last),
            ).fetchall()
        if len(rows) != max(0, last - first + 1):
            raise self.damaged(f"operations {first} to {last} of the {head.log} are not all there")
        return [body for (body,) in rows]

    def each_body(self, head: Head, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """The same, with sequences, read piece by piece."""
        for begin in range(first, last + 1, _READ_AT_ONCE):
            yield from enumerate(self.bodies(head, begin, min(last, begin + _READ_AT_ONCE - 1)), begin)

    def hash_at(self, head: Head, position: int) -> bytes:
        """The hash of the chain there."""
        before = self._signed(head, position, after=False)
        if before.position == position:
            return before.hash
        return chain(before.hash, self.bodies(head, before.position + 1, position))

    def run(self, head: Head, after: int) -> Run:
        """The next run after that position, as long as a run may be. Raises `DamagedLedger` when it is not as its
        origin signed it: nothing else leaves this node."""
        with self._explained("read"):
            sizes = self._sql.execute(
                "SELECT length(body) FROM operations WHERE log = ? AND sequence > ? ORDER BY sequence LIMIT ?",
                (head.row, after, MAX_RUN_OPERATIONS),
            ).fetchall()
        most, size = after, 0
        for (each,) in sizes:
            size += each
            if size > MAX_RUN_BYTES and most > after:
                break
            most += 1
        end = self._signed(head, most, after=False)
        if end.position <= after:
            raise self.damaged(f"the {head.log} has no signature after {after}")
        previous = self.hash_at(head, after)
        bodies = self.bodies(head, after + 1, end.position)
        self._check(head, chain(previous, bodies), end)
        log = head.log
        return Run(head.key, log.epoch, log.lane, after + 1, previous, tuple(bodies), end.signature)

    def proof(self, head: Head, sequence: int) -> Proof:
        """That the origin signed that operation."""
        end = self._signed(head, sequence, after=True)
        previous = self.hash_at(head, sequence - 1)
        bodies = self.bodies(head, sequence, end.position)
        self._check(head, chain(previous, bodies), end)
        after = tuple(digest(each) for each in bodies[1:])
        log = head.log
        return Proof(head.key, log.epoch, log.lane, sequence, previous, bodies[0], after, end.signature)

    def snapshot(self) -> tuple[dict[LogId, int], dict[str, tuple[int, bytes]]]:
        """What `save_snapshot` kept; nothing when there is none that can be read."""
        try:
            rows = self._sql.execute("SELECT view, version, content FROM snapshots").fetchall()
            views = {view: (version, bytes(content)) for view, version, content in rows}
            _, applied = views.pop("", (0, b"\x90"))
            return dict(msgspec.msgpack.decode(applied, type=list[tuple[LogId, int]])), views
        except (msgspec.MsgspecError, UnicodeDecodeError, sqlite3.DatabaseError):
            return {}, {}  # it is only there to save time

    # ---- checking

    def check_ends(self) -> None:
        """That every log ends with the signature of its origin. Raises `DamagedLedger`."""
        for head in self.heads().values():
            if head.position:
                before = self._signed(head, head.position - 1, after=False)
                end = self._signed(head, head.position, after=True)
                hash_ = chain(before.hash, self.bodies(head, before.position + 1, head.position))
                if hash_ != head.hash or end.position != head.position:
                    raise self.damaged(f"the {head.log} is not as its head says")
                self._check(head, hash_, end)

    def check_all(self) -> int:
        """That every operation is as it was signed; their number. Reads everything. Raises `DamagedLedger`."""
        number = 0
        for head in self.heads().values():
            after = 0
            while after < head.position:
                after = self.run(head, after).last
            number += after
        return number

    def damaged(self, what: str) -> DamagedLedger:
        """The error to raise."""
        return DamagedLedger(f"the ledger {self.path} is damaged: {what}", hint=_AGAIN)

    def _check(self, head: Head, hash_: bytes, end: Signed) -> None:
        signed = id_of(head.key) == head.log.origin and is_signed(
            head.key, end.signature, signed_bytes(end.position, hash_)
        )
        if hash_ != end.hash or not signed:
            raise self.damaged(f"the {head.log} up to {end.position} is not what was signed")

    def _signed(self, head: Head, position: int, *, after: bool) -> Signed:
        """The nearest signed place there or after, or there or before."""
        with self._explained("read"):
            found = self._sql.execute(_SIGNED_AFTER if after else _SIGNED_BEFORE, (head.row, position)).fetchone()
        if found is not None:
            return Signed(*found)
        if not after:
            return Signed(0, first_hash(self._swarm_id, head.log), b"")
        raise self.damaged(f"the {head.log} has no signature after {position}")

    @contextmanager
    def _explained(self, do: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise explain(self.path, do, error) from error


def open_storage(path: Path, swarm_id: str, *, reader: bool = False) -> Storage:
    """Open the file, or make it; a `reader` is a second connection beside the one that writes.

    Raises `DamagedLedger` when it is damaged or another swarm's, `LedgerError` when it cannot be used.
    """
    try:
        if not reader and not path.exists():
            _create(path, swarm_id)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            if reader:
                connection.execute("PRAGMA query_only = ON")
            else:
                _prepare(connection, path, swarm_id)
            storage = Storage(path, connection, swarm_id)
            if not reader:
                storage.check_ends()
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
        raise explain(path, "open", error) from error
    return storage


def explain(path: Path, do: str, error: Exception) -> LedgerError:
    """What SQLite said, for a person."""
    code = getattr(error, "sqlite_errorcode", None)
    if (isinstance(code, int) and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)) or (
        isinstance(error, sqlite3.IntegrityError)
    ):
        return DamagedLedger(f"the ledger {path} is damaged: {error}", hint=_AGAIN)
    return LedgerError(
        f"cannot {do} the ledger {path}: {error}",
        hint="free some space, or make the folder writable by the user that runs mycoswarm",
    )


def _create(path: Path, swarm_id: str) -> None:
    """Under another name first: an empty file is then always one that something emptied, never one just begun."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (journal := Path(f"{path}-wal")).exists():
        raise DamagedLedger(f"the ledger {path} is gone, and {journal} is there", hint=_AGAIN)
    fresh = path.with_name(f"{path.name}.new")
    for each in (fresh, Path(f"{fresh}-wal"), Path(f"{fresh}-shm")):
        each.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT, 0o600))  # private things will be in it
    connection = sqlite3.connect(fresh, isolation_level=None)
    try:
        connection.executescript(_SCHEMA)
        connection.execute("INSERT INTO swarm (id) VALUES (?)", (swarm_id,))
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
    finally:
        connection.close()
    fresh.replace(path)
    sync_folder(path.parent)


def _prepare(connection: sqlite3.Connection, path: Path, swarm_id: str) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        raise DamagedLedger(f"the ledger {path} is damaged: it is empty", hint=_AGAIN)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    report = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if report != "ok":
        raise DamagedLedger(f"the ledger {path} is damaged: {report}", hint=_AGAIN)
    found = connection.execute("SELECT id FROM swarm").fetchone()
    if found is None or found[0] != swarm_id:
        raise LedgerError(
            f"the ledger {path} is of the swarm {found and found[0]}, and this node belongs to {swarm_id}",
            hint="move the file away: mycoswarm leave does",
        )


_SIGNED_AFTER = "SELECT position, hash, signature FROM signed WHERE log = ? AND position >= ? ORDER BY position LIMIT 1"
_SIGNED_BEFORE = (
    "SELECT position, hash, signature FROM signed WHERE log = ? AND position <= ? ORDER BY position DESC LIMIT 1"
)
_SCHEMA = """
CREATE TABLE swarm (id TEXT NOT NULL) STRICT;
CREATE TABLE own (epoch BLOB NOT NULL, inode INTEGER NOT NULL) STRICT;
CREATE TABLE logs (
    id INTEGER PRIMARY KEY, origin TEXT NOT NULL, epoch BLOB NOT NULL, lane TEXT NOT NULL, key BLOB NOT NULL,
    position INTEGER NOT NULL, bytes INTEGER NOT NULL, hash BLOB NOT NULL, UNIQUE (origin, epoch, lane)) STRICT;
CREATE TABLE operations (
    log INTEGER NOT NULL, sequence INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (log, sequence)) STRICT, WITHOUT ROWID;
CREATE TABLE signed (
    log INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL, signature BLOB NOT NULL,
    PRIMARY KEY (log, position)) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (view TEXT PRIMARY KEY, version INTEGER NOT NULL, content BLOB NOT NULL) STRICT;
"""
