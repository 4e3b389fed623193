"""One unit of work on the wire: what is asked, answered at once, streamed, and said between nodes.

A task's answer is a sequence of events numbered from 1, rising, written once as bytes of Server-Sent Events
(https://html.spec.whatwg.org/multipage/server-sent-events.html): `id:` is the number, `data:` one event as JSON. The
node that computes writes them; every node between passes these bytes on as they are. Clocks of machines differ: the
wire carries seconds that are left, never a time of day.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from swarm.errors import EngineError, MalformedMessage

MAX_BODY_BYTES = 16 * 1024 * 1024
"""One request, inflated: minutes of speech, or a long document."""
MAX_HOPS = 4
"""Nodes that may pass a task on before one must run or refuse it."""
MAX_DEADLINE_S = 24 * 3600.0

Priority = Literal["immediate", "background", "batch"]
"""A person waits / a person will look soon / whenever there is room."""
PRIORITIES: tuple[Priority, ...] = ("immediate", "background", "batch")
Privacy = Literal["private", "home", "shared"]
"""Who may see it: nodes that a person marked for private things / every node of this home / whoever is let in."""
Complexity = Literal["simple", "normal", "hard"]
SizeClass = Literal["any", "tiny", "small", "medium", "large"]
"""Of models: to 2, 8, 20 and beyond 20 billion parameters; `any` asks for nothing."""
SIZES: tuple[SizeClass, ...] = ("any", "tiny", "small", "medium", "large")

Name = Annotated[str, msgspec.Meta(max_length=200)]
Units = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_DEADLINE_S)]
T = TypeVar("T")


class TaskRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person or a program asks for."""

    type: Name
    """Task type of the routing table: `chat`, `summarize`, `transcribe`, `synthesize`, `embed`, …"""
    payload: msgspec.Raw = msgspec.Raw(b"null")
    """JSON for the engine, read by nobody before it."""
    key: Name = ""
    """Idempotency key: the same key with the same content is the same task, however often it is sent."""
    priority: Priority = "immediate"
    complexity: Complexity = "normal"
    model: Name = ""
    """Exactly this model and no other; empty leaves the choice to the routing table."""
    privacy: Privacy = "home"
    deadline_s: Seconds = 0.0
    """The whole task, waiting included, ends within this; 0 takes the routing table's."""
    hops_left: Annotated[int, msgspec.Meta(ge=0, le=MAX_HOPS)] = MAX_HOPS
    input_units: Units = 0.0
    """Size of the input in the units of `swarm.capability`, for the estimate; 0 is unknown."""
    output_units: Units = 0.0
    """Expected size of the answer; 0 is unknown."""
    prefix: Name = ""
    """Names the conversation: a node that has its beginning in memory need not read it again."""


State = Literal["placing", "waiting", "running", "done", "failed", "cancelled", "expired"]
"""No node has it yet / accepted by a node / answers / …; the last four are final."""
Outcome = Literal["done", "failed", "cancelled", "expired"]


class Receipt(msgspec.Struct, frozen=True):
    """The answer to a submitted task."""

    task: str
    state: State
    node: str
    """Id of the node that has it."""
    model: str
    predicted_s: float
    """Seconds until it is done, as placement believes."""


class TaskStatus(msgspec.Struct, frozen=True):
    """Where a task stands."""

    task: str
    type: str
    state: State
    priority: Priority
    node: str
    model: str
    age_s: float
    """Since it was submitted."""
    took_s: float
    """From submission to its end, or until now."""
    events: int
    """The highest event number so far."""
    attempts: int
    """How many tries came to nothing: nodes that were lost, failed at it or did not take it."""
    error: str = ""
    hint: str = ""
    why: tuple[str, ...] = ()
    """Placement's reasons, one line for each node it considered; of the last choice."""


# ---- events of the stream


class Event(msgspec.Struct, frozen=True, tag_field="event", tag=str.lower, omit_defaults=True):
    """Root of the events; the lower-case class name is `event` on the wire."""


class Placed(Event, frozen=True):
    """A node accepted the task."""

    task: str
    node: str
    model: str
    instead_of: str = ""
    """The model or size that was wanted, when a fallback that a person allowed stands in for it."""


class Piece(Event, frozen=True):
    """A part of the answer, in order."""

    text: str = ""
    audio: bytes = b""
    """16-bit mono in the rate that the first piece's `value` names; Base64 in JSON."""
    value: Any = None
    """Whatever else the engine answers, such as a vector."""


class Restarted(Event, frozen=True):
    """The node that answered is lost: all pieces so far are void, the answer begins anew."""

    reason: str


class Ended(Event, frozen=True):
    """The last event of every stream."""

    outcome: Outcome
    error: str = ""
    hint: str = ""


TaskEvent = Placed | Piece | Restarted | Ended

_encoder = msgspec.json.Encoder()
_encode = _encoder.encode


def event_bytes(number: int, event: Event) -> bytes:
    """The event as it travels, from the engine's node to the last client."""
    return b"id: %d\ndata: %b\n\n" % (number, _encode(event))


_decode_event: msgspec.json.Decoder[TaskEvent] = msgspec.json.Decoder(TaskEvent)


def read_events(data: bytes) -> list[tuple[int, TaskEvent]]:
    """Whole events and their numbers out of stream bytes; comments are skipped. Raises `MalformedMessage`."""
    found: list[tuple[int, TaskEvent]] = []
    for block in data.split(b"\n\n"):
        if not block or block.startswith(b":"):
            continue
        head, _, body = block.partition(b"\ndata: ")
        if not head.startswith(b"id: ") or not head[4:].isdigit():
            raise MalformedMessage(f"not an event of a task: {block[:80]!r}")
        found.append((int(head[4:]), _decoded(_decode_event, body, "event of a task")))
    return found


# ---- between nodes


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node asks another to run a task."""

    task: Name
    """Names the task on every node: its key, or an id when it has none."""
    request: TaskRequest
    kind: Name
    """The capability that the routing table named."""
    model: Name
    """Chosen by placement; empty when the sender knows no node that has one, and the receiver shall choose."""
    left_s: Seconds
    """Until the deadline."""
    instead_of: Name = ""
    """What was wanted when `model` is a fallback."""
    size: SizeClass = "any"
    fallback_models: tuple[Name, ...] = ()
    fallback_size: SizeClass | None = None
    first_number: Annotated[int, msgspec.Meta(ge=1, le=2**53)] = 1
    """Number of the first piece."""
    after: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    """Attach to the run that is under way and send what comes after this number; 0 begins."""
    hops_left: Annotated[int, msgspec.Meta(ge=0, le=MAX_HOPS)] = 0
    path: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_HOPS + 1)] = ()
    """Ids of the nodes that have handled it; none of them gets it again."""


class Accepted(msgspec.Struct, frozen=True):
    """The node has the task, in a slot or in its queue."""

    node: Name
    model: Name
    instead_of: Name = ""


RefusalReason = Literal["busy", "not_here", "gone", "conflict"]
"""Slots and queue are full / no such capability / the run to attach to is no more / the key belongs to another task."""


class Refused(msgspec.Struct, frozen=True):
    """The node did not take the task; nothing of it was done."""

    reason: RefusalReason
    message: str = ""
    retry_after_s: Seconds = 0.0
    """When there is likely room again, by the speeds that this node measured."""


class BadPayload(EngineError):
    """What a task asks makes no sense: no other engine would do it either."""


class Finished(msgspec.Struct, frozen=True):
    """The run is over, all pieces were sent."""

    outcome: Outcome
    error: str = ""
    hint: str = ""
    final: bool = False
    """It would be so on every node: the task itself is wrong."""


LossReason = Literal["refused", "reset", "silent"]
"""Nobody listens there / the connection broke / nothing was heard for too long."""


class Lost(msgspec.Struct, frozen=True):
    """The node that had the task cannot be reached any more."""

    reason: LossReason
    message: str = ""


Over = Finished | Refused | Lost
"""How an attempt at one node ends."""

_decode_request = msgspec.json.Decoder(TaskRequest)


def parse_request(body: bytes) -> TaskRequest:
    """A request of a person or a program; raises `MalformedMessage` that says what is wrong with it."""
    if len(body) > MAX_BODY_BYTES:
        raise MalformedMessage(f"a task of {len(body)} bytes exceeds the limit of {MAX_BODY_BYTES}")
    return _decoded(_decode_request, body, "task")


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes, what: str) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not a {what}: {error}") from error
