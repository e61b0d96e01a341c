"""Sends requests to an OpenAI-compatible chat endpoint: several at once, bounded in time and size, with retries.

Imports the openai SDK: import this module where it is first used.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient

from consilience.agents.vlm.endpoint.chat_completion import ChatCompletion, Usage
from consilience.core.errors import AgentError
from consilience.core.settings.model_settings import EndpointSettings
from consilience.prompts import clean

MAX_REPLY_BYTES = 8 * 2**20
"""The most bytes of a reply; 100 answers with log probabilities need one MB."""

RETRIED = frozenset({408, 409, 429})
"""HTTP states after which a request is sent again, beside those from 500."""

_ADVICE = {
    401: "check the key in the environment variable that 'key_variable' names",
    403: "check the key in the environment variable that 'key_variable' names",
    404: "check 'base_url' and 'model'",
    413: "lower 'image_side' or 'neighbours_shown'",
    429: "lower 'concurrency' or raise 'max_retries'",
}


class Endpoint:
    """Sends requests to one endpoint. Each event loop has its own connections, which close with the loop."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self._open: dict[asyncio.AbstractEventLoop, tuple[AsyncGenerator[_Connection, None], _Connection]] = {}

    async def ask(
        self, fields: dict[str, Any], messages: Callable[[], list[dict[str, Any]]], usage: Usage
    ) -> ChatCompletion:
        """Return the endpoint's reply to a chat completion request.

        Args:
            fields: of the request but for its messages.
            messages: returns these; called in a thread when the request's turn comes, so that the pictures of
                requests that wait are not held in memory.
            usage: the seconds that it took are added here, also where it fails.

        Raises:
            AgentError: there is no reply, in spite of retries; the message says why and holds no key.
        """
        key = self._key()
        line = await self._connection(key)
        cause = ""
        for attempt in range(self.settings.max_retries + 1):
            pause: float | None = min(8.0, 0.5 * 2**attempt) * random.uniform(0.75, 1.0)  # noqa: S311
            try:
                async with line.slots:
                    body = await self._once(line, fields | {"messages": await asyncio.to_thread(messages)}, usage)
                return ChatCompletion.parse(body.replace(key.encode(), b"[key]"))
            except TimeoutError:
                cause = f"no whole reply within {self.settings.timeout_seconds:g} seconds"
            except _EndlessError:
                cause, pause = f"the reply does not end; {MAX_REPLY_BYTES} bytes of it were read", None
            except APIStatusError as error:
                cause = _status(error, key)
                pause = self._pause(error.response, pause)
            except APIConnectionError as error:
                reason = error.__cause__ or error
                cause = f"no whole reply ({type(reason).__name__}: {clean(str(reason))}); check that the server runs"
            if pause is None or attempt == self.settings.max_retries:
                break
            await asyncio.sleep(pause)
        raise AgentError(f"{self.settings.base_url}: {cause}")

    async def _once(self, line: _Connection, request: dict[str, Any], usage: Usage) -> bytes:
        """Send the request once; return the body of the response."""
        extra = request.pop("extra_body", {})
        with line.clock.timed(usage):
            async with asyncio.timeout(self.settings.timeout_seconds):
                # `chat.completions.create` first rewrites every part of the body: two fifths of a request's time.
                answer = await line.client.post("/chat/completions", body=request | extra, cast_to=httpx2.Response)
        return answer.content

    def _key(self) -> str:
        """Return the key from its environment variable. Raises AgentError if it is not set, or can be no key."""
        variable = self.settings.key_variable
        if variable is None:
            return "no key is needed"  # the SDK wants one
        if not (key := os.environ.get(variable, "").strip()):
            raise AgentError(f"the environment variable {variable}, which is to hold the key, is not set; set it")
        if not (key.isascii() and key.isprintable()):
            raise AgentError(f"the environment variable {variable} holds characters that no key can have; set it anew")
        return key

    def _pause(self, response: httpx2.Response, usual: float | None) -> float | None:
        """Return the seconds to wait before the next try; None if it is of no use, or the server asks for too many."""
        if response.status_code not in RETRIED and response.status_code < 500:
            return None
        try:
            asked = float(response.headers["retry-after"])
        except (KeyError, ValueError):
            return usual
        return asked if 0.0 <= asked <= self.settings.timeout_seconds else None

    async def _connection(self, key: str) -> _Connection:
        """Return the connections of the running event loop, opened the first time."""
        loop = asyncio.get_running_loop()
        if loop not in self._open:
            self._open = {other: held for other, held in self._open.items() if not other.is_closed()}
            # asyncio.run ends the asynchronous generators of its loop, and so closes the connections.
            generator = _lines(self.settings, key)
            self._open[loop] = generator, await anext(generator)
        return self._open[loop][1]


@dataclass(frozen=True)
class _Connection:
    """What one event loop uses to reach an endpoint: connections, slots for requests, and a clock."""

    client: AsyncOpenAI
    slots: asyncio.Semaphore
    clock: _BusyClock


class _BusyClock:
    """Divides the time in which at least one request runs evenly among those that run."""

    def __init__(self) -> None:
        self._running, self._at, self._share = 0, 0.0, 0.0

    @contextmanager
    def timed(self, usage: Usage) -> Iterator[None]:
        """Add the seconds that pass inside, and the request's share of the busy time, to `usage`."""
        started, share = self._advance(1), self._share
        try:
            yield
        finally:
            usage.seconds += self._advance(-1) - started
            usage.busy_seconds += self._share - share

    def _advance(self, change: int) -> float:
        """Count requests that begin (1) or end (-1); return the time now."""
        now = time.perf_counter()
        if self._running:
            self._share += (now - self._at) / self._running
        self._running += change
        self._at = now
        return now


class _EndlessError(Exception):
    """Raised where a body is longer than MAX_REPLY_BYTES."""


class _Bounded(httpx2.AsyncByteStream):
    """A response's body that raises _EndlessError after MAX_REPLY_BYTES bytes."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_REPLY_BYTES:
                raise _EndlessError
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx2.Response) -> None:
    """Bound the size of a response's body."""
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(response.stream)


def _status(error: APIStatusError, key: str) -> str:
    """Return an error message for a response with an error status: the server's words, and advice."""
    body = error.body if isinstance(error.body, dict) else {}
    words = str(body.get("message") or error.response.text).replace(key, "[key]")  # before it is shortened
    after, advice = error.response.headers.get("retry-after"), _ADVICE.get(error.status_code)
    asked = f" (retry after: {clean(after)})" if after else ""
    return f"status {error.status_code}: {clean(words)}{asked}" + (f"; {advice}" if advice else "")


async def _lines(settings: EndpointSettings, key: str) -> AsyncGenerator[_Connection, None]:
    """Yield connections once; they close when the generator does."""
    http = DefaultAsyncHttpxClient(
        timeout=None, headers={"accept-encoding": "identity"}, event_hooks={"response": [_bound]}
    )
    async with AsyncOpenAI(base_url=settings.base_url, api_key=key, max_retries=0, http_client=http) as client:
        yield _Connection(client, asyncio.Semaphore(settings.concurrency), _BusyClock())
