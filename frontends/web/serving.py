"""Serving: HTTP with bounds on connections, heads and bodies, so that whoever asks badly keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from consilience.core.settings.web_settings import WebSettings
from consilience.frontends.web.limits import Shares, TooManyError
from consilience.frontends.web.problem import problem

MAX_HEAD_BYTES = 16 * 1024
"""Of the request line and headers."""

KEEP_ALIVE_SECONDS, IDLE_SECONDS = 5, 60.0
"""After an answer: in silence, and until the next request has come or the answer has been taken."""

REFUSALS = {
    411: "say how long the body is, with Content-Length; bodies in chunks are not read (curl: --data-binary @FILE)",
    431: f"the headers are too long: at most {MAX_HEAD_BYTES:,} bytes are read; delete cookies of this site",
}


def run(app: ASGIApp, listener: socket.socket, settings: WebSettings) -> None:
    """Answer requests that come to the listener, until the process is told to stop."""
    protocol = partial(BoundedHttp, Shares("connections", settings.connections), settings)
    config = uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], protocol),
        ws="none",
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=",".join(settings.trusted_proxies),
        log_level="error",  # else whoever sends nonsense writes the log
        access_log=False,  # addresses of diagnoses are secrets of those who have them
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=10,
    )
    uvicorn.Server(config).run(sockets=[listener])


class BoundedConnection(h11.Connection):
    """What reads requests; it reads no body in chunks, as each chunk of a byte costs as much as 100 kB at once.

    Attributes:
        refused_with: the HTTP status that says why a request is not read any further.
    """

    refused_with = 400

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """See h11. Raises RemoteProtocolError: what came is no request, or one over a bound."""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            self.refused_with = error.error_status_hint
            raise
        if isinstance(event, h11.Request) and any(name == b"transfer-encoding" for name, _ in event.headers):
            self.refused_with = 411
            raise h11.RemoteProtocolError("a body in chunks", error_status_hint=411)
        return event


class BoundedHttp(H11Protocol):
    """A connection: it counts among those of its address, and ends where a request does not come in time."""

    conn: BoundedConnection

    def __init__(self, connections: Shares, settings: WebSettings, **of_uvicorn: Any) -> None:
        """Count among `connections`."""
        super().__init__(**of_uvicorn)
        self.conn = BoundedConnection(h11.SERVER, MAX_HEAD_BYTES)
        self._all, self._head_seconds = connections, settings.head_seconds
        self._proxies = settings.trusted_proxies
        self._address: str | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room for the address."""
        super().connection_made(transport)
        host = self.client[0] if self.client is not None else ""
        # A proxy holds the connections of many people, and bounds each of them itself.
        address = f"proxy {id(self)}" if _is_in(host, self._proxies) else host
        try:
            self._all.take(address)
        except TooManyError:
            transport.abort()
        else:
            self._address = address
            self._end_in(self._head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._end_in(None)
        if self._address is not None:
            self._all.give_back(self._address)
            self._address = None

    def handle_events(self) -> None:
        """Read on; the deadline is met once a request has come."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.cycle.response_complete:
            self._end_in(None)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        is_read = self.conn.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
        self._end_in(IDLE_SECONDS if is_read else self._head_seconds)  # a refused body may go on
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer with what is wrong with a request that cannot be read, and end."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE) or self._is_answering():
            self.transport.abort()
            return
        status = self.conn.refused_with
        answer = problem(status, REFUSALS.get(status, "this is no proper HTTP request"))
        headers = [*answer.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end_in(self, seconds: float | None) -> None:
        """End the connection after so many seconds, instead of when it was to end before; None: never."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


def _is_in(address: str, networks: Sequence[str]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in ipaddress.ip_network(network) for network in networks)
