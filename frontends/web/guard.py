"""Guard: the layer around all routes, which decides who may ask and from where, and adds headers to every answer."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consilience.frontends.web.problem import problem
from consilience.frontends.web.prometheus import ServerMetrics

SESSION, BROWSER = "consilience-session", "consilience-browser"
"""Cookies: who is signed in, and which browser it is."""

OPEN_PATHS = ("/", "/health", "/v1/session", "/favicon.ico")
OPEN_FOLDERS = ("/static/", "/d/")
"""The page itself holds no data, and has to show where one signs in."""

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
    """Refuses other sites, other hosts and whoever is not signed in; counts requests, and adds HEADERS."""

    def __init__(
        self, app: ASGIApp, *, token: str | None, hosts: Collection[str] | None, metrics: ServerMetrics
    ) -> None:
        """Wrap the application `app`.

        Args:
            token: what everybody has to sign in with; None: nobody has to.
            hosts: names that the server is reached under; None: any.
            metrics: what is counted.
        """
        self._app, self._token, self._hosts, self._metrics = app, token, hosts, metrics

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

        refusal = self._refusal(scope, Headers(scope=scope))
        await (refusal or self._app)(scope, receive, answer)

    def is_signed_in(self, headers: Headers) -> bool:
        """Return whether a request carries the token or a cookie made from it; true where nobody needs to sign in."""
        if self._token is None:
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(token.strip(), self._token):
            return True
        return _same(cookie(headers, SESSION), session_of(self._token))

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        host = headers.get("host", "")
        if self._hosts is not None and _without_port(host) not in self._hosts:
            # A page elsewhere can give its own name the address of this machine (DNS rebinding).
            return problem(421, "this server does not answer under this name: start it with --name NAME to allow it")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and _is_from_elsewhere(headers, host):
            return problem(403, "refused: this request comes from a page of another site")
        path = scope["path"]
        is_open = path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)
        if not is_open and not self.is_signed_in(headers):
            refusal = problem(401, "sign in first: send the token as 'Authorization: Bearer TOKEN'")
            refusal.headers["www-authenticate"] = "Bearer"
            return refusal
        return None

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route: Any = scope.get("route")
        path = str(getattr(route, "path", "") or "other")  # never the address itself: it may be anything, and is secret
        self._metrics.requests.labels(scope["method"] if route is not None else "any", path, status).inc()
        self._metrics.seconds.labels(path).observe(seconds)


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
