"""The page on which a person enters the home's Wi-Fi: small, without scripts, for whatever opens when a phone joins the
access point.

Every other address leads there: phones and computers ask for pages of their makers to find out whether they are
online, and show what they get instead (RFC 8952, captive portals).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Sequence
from html import escape

from aiohttp import web

from provisioning.first_boot.wifi import ADDRESS, Seen
from provisioning.settings import WifiNetwork, network_mistake

MAX_BODY = 4 * 1024

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>
body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:30rem;margin:1.5rem auto;padding:0 1rem;color:#222}}
label{{display:block;margin:.4rem 0}}fieldset{{border:1px solid #bbb;border-radius:.4rem;margin:1rem 0}}
input[type=text],input[type=password]{{font:inherit;width:100%;box-sizing:border-box;padding:.5rem}}
button{{font:inherit;padding:.6rem 1.4rem}}.wrong{{border-left:.3rem solid #b00;padding-left:.8rem}}
@media(prefers-color-scheme:dark){{body{{color:#eee;background:#111}}}}
</style></head><body><h1>{title}</h1>{body}</body></html>"""


class Portal:
    """`entered` gets what a person entered, after the page that says so was sent."""

    def __init__(
        self, name: str, networks: Sequence[Seen], entered: Callable[[WifiNetwork], Awaitable[None]], *, wrong: str = ""
    ) -> None:
        """`name` is the machine's, `wrong` why the attempt before did not work."""
        self._name = name
        self._networks = networks
        self._entered = entered
        self._wrong = wrong
        self._key = secrets.token_urlsafe(12)

    def app(self, *, hosts: Sequence[str] = (ADDRESS,)) -> web.Application:
        """`hosts`: the names under which the page itself is asked for; all others are sent to the first."""
        self._hosts = tuple(hosts)
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_careful])
        app.add_routes([web.get("/", self._form), web.post("/", self._enter), web.route("*", "/{path:.*}", self._away)])
        return app

    async def _form(self, request: web.Request) -> web.Response:
        if request.host not in self._hosts:
            return await self._away(request)
        return self._page(self._wrong)

    async def _away(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"http://{self._hosts[0]}/", "Cache-Control": "no-store"})

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        if request.host not in self._hosts:
            return await self._away(request)
        form = await request.post()
        said = {key: value for key, value in form.items() if isinstance(value, str)}
        if not hmac.compare_digest(said.get("key", "").encode(), self._key.encode()):
            return self._page("The page was too old. Please enter it again.", status=403)
        chosen, typed = said.get("ssid", ""), said.get("other", "").strip()
        # By number, so that a network may be called anything.
        listed = {str(number): each.ssid for number, each in enumerate(self._networks)}
        network = WifiNetwork(listed.get(chosen, typed), said.get("password", ""), hidden=chosen not in listed)
        problem = self._problem(network)
        if problem:
            return self._page(problem, chosen=network.ssid, status=400)
        response = self._answer(
            f"Trying {network.ssid}", _TRYING.format(ssid=escape(network.ssid), name=escape(self._name))
        )
        await response.prepare(request)
        await response.write_eof()
        await self._entered(network)
        return response

    def _problem(self, network: WifiNetwork) -> str:
        if not network.ssid:
            return "Please choose a network, or enter its name."
        if any(ord(each) < 32 or ord(each) == 127 for each in network.ssid):
            return "The name has signs that no network's name has."
        wrong = network_mistake(network)
        if wrong is not None:
            return f"The {'name' if wrong[0] == 'ssid' else wrong[0]}: {wrong[1]}. {wrong[1].hint}."
        secured = {each.ssid: each.has_password for each in self._networks}
        if secured.get(network.ssid) and not network.password:
            return "This network has a password."
        return ""

    def _page(self, wrong: str = "", *, chosen: str = "", status: int = 200) -> web.Response:
        rows = []
        for number, each in enumerate(self._networks):
            mark = " checked" if each.ssid == chosen or (not chosen and number == 0) else ""
            bars = "strong" if each.signal_dbm > -60 else "good" if each.signal_dbm > -75 else "weak"
            lock = "" if each.has_password else ", no password"
            rows.append(
                f'<label><input type="radio" name="ssid" value="{number}"{mark}> {escape(each.ssid)} '
                f"<small>({bars}{lock})</small></label>"
            )
        none = "" if rows else " checked"
        body = (
            f"{f'<p class=wrong role=alert>{escape(wrong)}</p>' if wrong else ''}"
            f"<p>Which Wi-Fi shall <b>{escape(self._name)}</b> use?</p>"
            f'<form method="post" action="/" autocomplete="off"><input type="hidden" name="key" value="{self._key}">'
            f"<fieldset><legend>Network</legend>{''.join(rows)}"
            f'<label><input type="radio" name="ssid" value="other"{none}> Another one:</label>'
            '<input type="text" name="other" maxlength="32" aria-label="Name of another network" autocapitalize="off">'
            '</fieldset><label>Password<input type="password" name="password" maxlength="64"></label>'
            "<p><button>Connect</button></p></form>"
        )
        return self._answer("Wi-Fi for mycoswarm", body, status=status)

    def _answer(self, title: str, body: str, *, status: int = 200) -> web.Response:
        return web.Response(
            text=_PAGE.format(title=escape(title), body=body),
            content_type="text/html",
            status=status,
            headers={
                "Cache-Control": "no-store",
                "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
                "Connection": "close",
            },
        )


_TRYING = (
    "<p>{name} leaves this access point and joins <b>{ssid}</b>. That takes up to a minute.</p>"
    "<p>If it works, the access point stays away: give your own device its usual Wi-Fi again.</p>"
    "<p>If it does not, the access point comes back, and this page says why.</p>"
)


@web.middleware
async def _careful(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """A page of another site that is open on the same phone may not enter anything."""
    origin = request.headers.get("Origin")
    if request.method not in ("GET", "HEAD") and origin not in (None, "null", f"http://{request.host}"):
        return web.Response(status=403, text="not from here")
    return await handler(request)
