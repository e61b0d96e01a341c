"""Guard: the layer around all routes, which decides who may ask and from where, and adds headers to every answer."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consilience.frontends.web.limits import Rate, TooManyError
from consilience.frontends.web.problem import problem
from consilience.frontends.web.prometheus import ServerMetrics
from consilience.frontends.web.upload import Uploads, address_of, takes_image

SESSION, BROWSER = "consilience-session", "consilience-browser"
"""Cookies: who is signed in, and which browser it is."""

OPEN_PATHS = ("/", "/health", "/v1/session", "/favicon.ico")
OPEN_FOLDERS = ("/static/", "/d/")
"""The page itself holds no data, and has to show where one signs in."""

READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing, and whose bodies nobody reads."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",  # addresses of diagnoses are secrets of those who have them
    "x-content-type-options": "nosniff",
}


def session_of(token: str) -> str:
    """Return what the cookie of a signed-in browser holds: made from the token, which it does not give away."""
    return hmac.new(token.encode(), b"consilience web session", hashlib.sha256).hexdigest()


def cookie(headers: Headers, name: str) -> str:
    """Return the value of a cookie; empty if there is none."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


class Guard:
    """Refuses other sites, other hosts, whoever is not signed in, and long bodies where no image is taken.

    It counts requests, and adds HEADERS.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        hosts: Collection[str] | None,
        metrics: ServerMetrics,
        guesses: Rate,
        small: Uploads,
    ) -> None:
        """Wrap the application `app`.

        Args:
            token: what everybody has to sign in with; None: nobody has to.
            hosts: names that the server is reached under; None: any.
            metrics: what is counted.
            guesses: how often an address may be wrong about the token.
            small: what reads every body that is no image.
        """
        self._app, self._token, self._hosts, self._metrics = app, token, hosts, metrics
        self._guesses, self._small = guesses, small

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
                self._count(scope, message["status"], time.perf_counter() - start)
            await send(message)

        try:
            if (refusal := self._refusal(scope, Headers(scope=scope))) is not None:
                await refusal(scope, receive, answer)
            elif scope["method"] in READING or takes_image(scope["path"]):
                await self._app(scope, receive, answer)
            else:
                async with self._small.reading(Request(scope, receive)) as body:
                    await self._app(scope, _replayed(body, receive), answer)
        except TooManyError as error:
            await problem(error.status, str(error), error.seconds)(scope, receive, answer)
        except HTTPException as error:
            await problem(error.status_code, error.detail)(scope, receive, answer)

    def _is_signed_in(self, scope: Scope, headers: Headers) -> bool:
        """Return whether a request carries the token or a cookie made from it; true where nobody needs to sign in.

        Raises:
            TooManyError: so much that was wrong came from its address that nothing is compared for a while.
        """
        if self._token is None:
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        bearer, session = token.strip() if scheme.lower() == "bearer" else "", cookie(headers, SESSION)
        if not bearer and not session:
            return False
        address = address_of(Request(scope))
        self._guesses.check(address)
        if _same(bearer, self._token) or _same(session, session_of(self._token)):
            return True
        self._guesses.take(address)
        return False

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        host = headers.get("host", "")
        if self._hosts is not None and _without_port(host) not in self._hosts:
            # A page elsewhere can give its own name the address of this machine (DNS rebinding).
            return problem(421, "this server does not answer under this name: start it with --name NAME to allow it")
        if scope["method"] not in READING and _is_from_elsewhere(headers, host):
            return problem(403, "refused: this request comes from a page of another site")
        path = scope["path"]
        is_open = path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)
        if not is_open and not self._is_signed_in(scope, headers):
            refusal = problem(401, "sign in first: send the token as 'Authorization: Bearer TOKEN'")
            refusal.headers["www-authenticate"] = "Bearer"
            return refusal
        return None

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route: Any = scope.get("route")
        path = str(getattr(route, "path", "") or "other")  # never the address itself: it may be anything, and is secret
        self._metrics.requests.labels(scope["method"] if route is not None else "any", path, status).inc()
        self._metrics.seconds.labels(path).observe(seconds)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already, and then what `receive` gives."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return left.pop() if left else await receive()

    return replay


def _same(value: str, expected: str) -> bool:
    return hmac.compare_digest(value.encode("utf-8", "replace"), expected.encode())


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and (port.isdigit() or not port) else host.lower()


def _is_from_elsewhere(headers: Headers, host: str) -> bool:
    """Return whether a page of another site asks: browsers say so; programs that are no browsers say nothing."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != host.lower()
