"""Sends requests to an OpenAI-compatible chat endpoint: several at once, bounded in time and size, with retries.

Imports the openai SDK: import this module where it is first used.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx2
from openai import APIConnectionError, APIStatusError

from consilience.agents.vlm.endpoint.accepted_options import accepted_options
from consilience.agents.vlm.endpoint.chat_completion import ChatCompletion, Usage
from consilience.agents.vlm.endpoint.connection import MAX_REPLY_BYTES, Connection, EndlessError, connections, proxy_for
from consilience.agents.vlm.endpoint.provider_error import ProviderError, refused
from consilience.core.errors import AgentError
from consilience.core.settings.model_settings import EndpointSettings
from consilience.prompts import clean

SHORTEST_SECRET = 8
"""Characters below which a key is a word that replies may hold, such as 'ollama' or 'none', and no secret."""

_NOT_AN_OPTION = frozenset({401, 402, 403, 408, 429})
"""States that say nothing of the options in a request."""

Messages = Callable[[int | None, bool], list[dict[str, Any]]]
"""Returns the messages with at most so many pictures (None: any number), with or without their 'detail'."""


class Endpoint:
    """Sends requests to one endpoint. Each event loop has its own connections, which close with the loop."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self.accepted = accepted_options(settings)
        self._open: dict[asyncio.AbstractEventLoop, tuple[AsyncGenerator[Connection, None], Connection]] = {}

    async def ask(self, fields: dict[str, Any], messages: Messages, usage: Usage) -> ChatCompletion:
        """Return the endpoint's reply to a chat completion request.

        Where it refuses an option that it can do without, or more pictures than it takes, it is asked otherwise; that
        is kept for later requests.

        Args:
            fields: of the request but for its messages.
            messages: returns these; called in a thread when the request's turn comes, so that the pictures of
                requests that wait are not held in memory.
            usage: the tokens and seconds that it took are added here, the seconds also where it fails.

        Raises:
            AgentError: there is no reply, in spite of retries; the message says why and holds no key.
        """
        key = self._key()
        line = await self._connection(key or "no key is needed")  # the SDK wants one
        learned: set[str] = set()
        attempt = 0
        while True:
            pause: float | None = min(8.0, 0.5 * 2**attempt) * random.uniform(0.75, 1.0)  # noqa: S311
            try:
                return await self._once(line, key, fields, messages, usage, learned)
            except _Otherwise:
                continue
            except TimeoutError:
                cause = f"no whole reply within {self.settings.timeout_seconds:g} seconds"
            except EndlessError:
                cause, pause = f"the reply does not end; {MAX_REPLY_BYTES} bytes of it were read", None
            except ProviderError as error:
                cause, pause = str(error), self._pause(error, pause)
            except APIConnectionError as error:
                cause = _broken(error)
            if pause is None or attempt == self.settings.max_retries:
                raise AgentError(f"{self.settings.base_url}: {cause}")
            await asyncio.sleep(pause)
            attempt += 1

    async def _once(
        self,
        line: Connection,
        key: str,
        fields: dict[str, Any],
        messages: Messages,
        usage: Usage,
        learned: set[str],
    ) -> ChatCompletion:
        """Send the request once; return the reply.

        Raises:
            _Otherwise: it is worth to send it again at once, since something was learned of what the endpoint takes.
            ProviderError: the endpoint sent an error.
            AgentError: it sent something else.
        """
        accepted, given = self.accepted, fields.get("extra_body", {}).keys()
        if self.settings.limit_field is not None:
            given = {*given, self.settings.limit_field}
        async with line.slots:
            request = accepted.request(fields, self.settings.limit_field)
            detailed = "detail" not in accepted.refused
            request["messages"] = await asyncio.to_thread(messages, self._most_pictures, detailed)
            try:
                reply = ChatCompletion.parse(_without_key(await self._sent(line, request, key, usage), key))
            except ProviderError as error:
                if error.status in _NOT_AN_OPTION or not accepted.learn(error.words, request, given, learned):
                    raise
                raise _Otherwise from error
        usage.count(reply.usage)
        if reply.usage is not None:
            accepted.note_length(reply.usage.completion_tokens // max(len(reply.choices), 1), request, given)
        return reply

    async def _sent(self, line: Connection, request: dict[str, Any], key: str, usage: Usage) -> bytes:
        """Send the request; return the body of the response. Raises ProviderError for one with an error status."""
        try:
            with line.clock.timed(usage):
                async with asyncio.timeout(self.settings.timeout_seconds):
                    # `chat.completions.create` first rewrites each part of the body: two fifths of a request's time.
                    answer = await line.client.post("/chat/completions", body=request, cast_to=httpx2.Response)
        except APIStatusError as error:
            response = error.response
            asked = response.headers.get("retry-after", "")
            if response.is_redirect:
                moved = clean(response.headers.get("location", "another address"))
                raise ProviderError(
                    f"it moved to {moved}; set 'base_url' to where it is", response.status_code
                ) from error
            raise refused(response.status_code, _without_key(response.content, key), asked) from error
        return answer.content

    @property
    def _most_pictures(self) -> int | None:
        return getattr(self.settings, "pictures_a_request", None) or self.accepted.most_pictures

    def _key(self) -> str:
        """Return the key from its environment variable; empty where the endpoint wants none.

        Raises:
            AgentError: the variable is not set, or holds what can be no key.
        """
        variable = self.settings.key_variable
        if variable is None:
            return ""
        if not (key := os.environ.get(variable, "").strip()):
            raise AgentError(f"the environment variable {variable}, which is to hold the key, is not set; set it")
        if not (key.isascii() and key.isprintable()):
            raise AgentError(f"the environment variable {variable} holds characters that no key can have; set it anew")
        return key

    def _pause(self, error: ProviderError, usual: float | None) -> float | None:
        """Return the seconds to wait before the next try; None if it is of no use, or the server asks for too many."""
        if not error.may_pass:
            return None
        try:
            asked = float(error.asked)
        except ValueError:
            return usual
        return asked if 0.0 <= asked <= self.settings.timeout_seconds else None

    async def _connection(self, key: str) -> Connection:
        """Return the connections of the running event loop, opened the first time."""
        loop = asyncio.get_running_loop()
        if loop in self._open:
            return self._open[loop][1]
        proxy = await asyncio.to_thread(proxy_for, self.settings.base_url)
        if loop not in self._open:  # another request may have opened them meanwhile
            self._open = {other: held for other, held in self._open.items() if not other.is_closed()}
            # asyncio.run ends the asynchronous generators of its loop, and so closes the connections.
            generator = connections(self.settings, key, proxy)
            self._open[loop] = generator, await anext(generator)
        return self._open[loop][1]


class _Otherwise(Exception):
    """Raised where a request is to be sent again at once, as the endpoint takes it."""


def _broken(error: APIConnectionError) -> str:
    """Return the cause of a connection that could not be made, or broke, and what to do."""
    reason = error.__cause__ or error
    words = clean(str(reason))
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return f"its certificate is not trusted ({words}); name the file of its authority in 'verify' or SSL_CERT_FILE"
    return f"no whole reply ({type(reason).__name__}: {words}); check that the server runs"


def _without_key(body: bytes, key: str) -> bytes:
    """Return what a server sent without the key, where that stands as a word of its own."""
    if len(key) < SHORTEST_SECRET:
        return body
    for form in {key, json.dumps(key)[1:-1]}:
        body = re.sub(rb"(?<![A-Za-z0-9_-])" + re.escape(form.encode()) + rb"(?![A-Za-z0-9_-])", b"[key]", body)
    return body
