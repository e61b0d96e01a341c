"""An OpenAI-compatible server of our own: over a real socket it records requests and replays scripted replies."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Scripted:
    """One reply. A fault: reset (no reply), half (of a body), endless, drip (a byte now and then), silence."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    fault: str = ""


def chat(*contents: str | None, tokens: tuple[int, int] | None = (100, 10), **choice: Any) -> Scripted:
    """Return a chat completion with one choice for each content; `choice` overrides fields of each."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | choice
        for i, text in enumerate(contents)
    ]
    usage = tokens and {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return Scripted({"id": "1", "object": "chat.completion", "created": 0, "choices": choices, "usage": usage})


def says(label: str, confidence: Any = 0.8, rationale: str = "orange spots", **fields: Any) -> str:
    """Return an answer as JSON."""
    return json.dumps({"rationale": rationale, "label": label, "confidence": confidence} | fields)


def logprobs(*positions: tuple[str, Sequence[tuple[str, float]]]) -> dict[str, Any]:
    """Return log probabilities of (chosen token, [(token, log probability)]) at each position."""

    def token(text: str, value: float) -> dict[str, Any]:
        return {"token": text, "logprob": value, "bytes": [*text.encode()]}

    content = [
        token(chosen, dict(listed).get(chosen, 0.0)) | {"top_logprobs": [token(*alternative) for alternative in listed]}
        for chosen, listed in positions
    ]
    return {"content": content}


class ScriptedServer:
    """Replies in order from `replies`, the last one for ever; or, if set, by `by_request` from the request's JSON.

    With `together` = n it holds every n requests back until all of them are there, counted from when it is set.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Make a server, of https if it is given a certificate to show."""
        self._tls = tls
        self.replies: list[Scripted] = []
        self.by_request: Callable[[dict[str, Any]], Scripted] | None = None
        self.together = 1
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def together(self) -> int:
        return self._together

    @together.setter
    def together(self, n: int) -> None:
        self._together, self._waiting = n, 0

    def connections(self) -> int:
        """How many are open."""
        return len(self._runner.server.connections) if self._runner.server is not None else 0

    def wait_until_alone(self) -> None:
        """Wait until all connections are closed."""

        async def alone() -> None:
            while self.connections():
                await asyncio.sleep(0.01)

        asyncio.run_coroutine_threadsafe(alone(), self._loop).result(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._arrived = asyncio.Event()
        application = web.Application(client_max_size=2**28)
        application.router.add_post("/v1/chat/completions", self._reply)
        self._runner = runner = web.AppRunner(application, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{listener.getsockname()[1]}/v1"
        self._loop.run_until_complete(web.SockSite(runner, listener, ssl_context=self._tls).start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _reply(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            reply = self._next(body)
            await self._all_there()
            return await _sent(request, reply)
        finally:
            self._at_once -= 1

    def _next(self, body: dict[str, Any]) -> Scripted:
        if self.by_request is not None:
            return self.by_request(body)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    async def _all_there(self) -> None:
        self._waiting += 1
        if self._waiting % self.together == 0:
            self._arrived.set()
            self._arrived = asyncio.Event()
        else:
            await self._arrived.wait()


async def _sent(request: web.Request, reply: Scripted) -> web.StreamResponse:
    assert request.transport is not None
    body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    if not reply.fault:
        return web.Response(
            status=reply.status, body=body, headers={"content-type": "application/json"} | reply.headers
        )
    if reply.fault == "silence":
        await asyncio.Event().wait()
    response = web.StreamResponse(status=reply.status, headers={"content-type": "application/json"})
    if reply.fault == "half":
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    while reply.fault in ("endless", "drip"):
        if not response.prepared:
            await response.prepare(request)
        await response.write(b" " * (2**16 if reply.fault == "endless" else 1))
        await asyncio.sleep(0 if reply.fault == "endless" else 0.02)
    connection = request.transport.get_extra_info("socket")
    if reply.fault == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()
    return response
