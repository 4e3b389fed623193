"""The nodes' port: what enrolled nodes ask of each other, over HTTPS with certificates on both sides.

Other modules bring route tables; this one sees that only enrolled nodes reach them, that a handler knows who asks
(`asking_node`), and that a node which is revoked is cut off in the middle of whatever it does. A handler is cancelled
as soon as its peer is gone: work that must outlive the connection runs in a task of its own.

Every error is JSON: `error` says what happened, `hint` what to do.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from swarm.errors import MalformedMessage, MycoswarmError
from swarm.https_listener import HttpsListener, Limits, whole_requests
from swarm.tls import Peer, TlsContexts, peer_of, peer_of_tls
from swarm.trust import REASONS, Trust, judge

MAX_BODY_BYTES = 16 * 1024 * 1024
"""One request, uncompressed; longer things are streamed over a WebSocket."""
RENEW_PATH = "/v1/renew"
LEDGER_PATH = "/v1/ledger/"
"""What a member may ask for whose certificate ended while it was off: a new one, and where to get it."""

_log = logging.getLogger(__name__)


class Refused(MycoswarmError):
    """Raised by a handler: the answer is this status, with the message and hint as JSON."""

    def __init__(self, status: int, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after_s = retry_after_s


def asking_node(request: web.Request) -> Peer:
    """The enrolled node that sent the request. Raises `ConnectionResetError` once it is gone."""
    if request.transport is None:
        raise ConnectionResetError("the connection is closed")
    return peer_of(request.transport)


def build_nodes_app(
    routes: Iterable[web.AbstractRouteDef],
    trust: Trust,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    clock: Callable[[], float] = time.time,
) -> web.Application:
    """The application of the nodes' port. Paths begin with a version, such as `/v1/tasks`."""

    @web.middleware
    async def only_members(request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = asking_node(request)
        # Asked again for each request: a connection may outlive the certificate that it began with, and what a node
        # that is revoked had sent before it was cut off may still be on its way here.
        match judge(peer.certificate, trust, clock()):
            case "admitted":
                pass
            case "renew_only":
                if request.path != RENEW_PATH and not request.path.startswith(LEDGER_PATH):
                    reason, hint = REASONS["renew_only"], f"POST {RENEW_PATH} at an enroller"
                    raise Refused(403, f"{peer.node_id}: {reason}", hint=hint)
            case _:
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError("trusted no more")
        return await handler(request)

    app = web.Application(middlewares=[errors_as_json, only_members, whole_requests], client_max_size=max_body_bytes)
    app.add_routes(routes)
    return app


class NodesPort:
    """The listener of the nodes' port. `start`, then `close`."""

    def __init__(
        self, app: web.Application, contexts: TlsContexts, trust: Trust, *, limits: Limits | None = None
    ) -> None:
        """`app` from `build_nodes_app`."""
        self._contexts = contexts
        self._trust = trust
        self._listener = HttpsListener(app, self._context, limits or Limits())
        self._unsubscribe: Callable[[], None] = lambda: None

    @property
    def port(self) -> int:
        """Where it listens; known after `start`."""
        return self._listener.port

    @property
    def connections(self) -> int:
        """Open now."""
        return self._listener.connections

    async def start(self, host: str, port: int) -> None:
        """Listen on `host`, an address, or all if it is empty; 0 takes any port. Raises `MycoswarmError`."""
        await self._listener.start(host, port)
        self._unsubscribe = self._trust.subscribe(self.cut_untrusted)

    async def close(self) -> None:
        """Take no more requests, give answers under way a second, end."""
        self._unsubscribe()
        await self._listener.close()

    def cut_untrusted(self) -> None:
        """Cut the connections of nodes that are not trusted any more: called by itself after each change of trust."""
        cut = self._listener.cut(lambda tls: not self._is_trusted(peer_of_tls(tls)))
        if cut:
            _log.info("cut %d connections of nodes that are trusted no more", cut)

    def _is_trusted(self, peer: Peer | None) -> bool:
        return peer is not None and self._contexts.standing_of(peer) in ("admitted", "renew_only")

    def _context(self) -> ssl.SSLContext:
        return self._contexts.server()


# ---- answers


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever fails, the asker gets JSON and the node stays up."""
    try:
        return await handler(request)
    except ConnectionError:
        raise  # whoever asked is gone; aiohttp lets that pass quietly
    except Refused as error:
        return json_error(error.status, str(error), error.hint, retry_after_s=error.retry_after_s)
    except MalformedMessage as error:
        return json_error(400, str(error), error.hint)
    except MycoswarmError as error:
        return json_error(503, str(error), error.hint)
    except web.RequestPayloadError as error:
        return json_error(400, f"the request's body cannot be read: {error}", "")
    except web.HTTPException as error:
        hint = "send less, or compress it" if error.status == 413 else ""
        return json_error(error.status, f"{error.reason}: {request.method} {request.path:.100}", hint)
    except Exception:  # noqa: BLE001 a fault of our own code: its traceback belongs into the log, not to the asker
        _log.exception("%s %s failed", request.method, request.path)
        return json_error(500, "the node failed at this", "its log says why; please report it")


def json_answer(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A message as the whole answer."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, headers=headers, content_type="application/json"
    )


def json_error(status: int, error: str, hint: str, *, retry_after_s: float | None = None) -> web.Response:
    """The answer to what cannot be done."""
    headers = {} if retry_after_s is None else {"Retry-After": str(max(1, round(retry_after_s)))}
    return json_answer({"error": error, "hint": hint}, status=status, headers=headers)
