"""The connections to an endpoint: through a proxy or not, whom TLS trusts, and how much of a reply is read."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from consilience.agents.vlm.endpoint.chat_completion import Usage
from consilience.core.errors import AgentError
from consilience.core.fetch import is_public_host
from consilience.core.settings.model_settings import EndpointSettings

MAX_REPLY_BYTES = 8 * 2**20
"""The most bytes of a reply; 100 answers with log probabilities need one MB."""


@dataclass(frozen=True)
class Connection:
    """What one event loop uses to reach an endpoint: connections, slots for requests, and a clock."""

    client: AsyncOpenAI
    slots: asyncio.Semaphore
    clock: BusyClock


class BusyClock:
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


class EndlessError(Exception):
    """Raised where a body is longer than MAX_REPLY_BYTES."""


class _Bounded(httpx2.AsyncByteStream):
    """A response's body that raises EndlessError after MAX_REPLY_BYTES bytes."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_REPLY_BYTES:
                raise EndlessError
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx2.Response) -> None:
    """Bound the size of a response's body."""
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(response.stream)


async def connections(settings: EndpointSettings, key: str, proxy: str | None) -> AsyncGenerator[Connection, None]:
    """Yield connections once; they close when the generator does.

    A redirect is not followed: key and pictures go to the address that was set, and to no other.

    Raises:
        AgentError: the certificates to trust, or the proxy, cannot be used.
    """
    try:
        http = DefaultAsyncHttpxClient(
            timeout=None,
            headers={"accept-encoding": "identity"},
            event_hooks={"response": [_bound]},
            trust_env=False,
            proxy=proxy,
            verify=trusted(settings.verify),
            follow_redirects=False,
        )
    except (ValueError, ImportError, httpx2.InvalidURL) as cause:  # whose words may hold the proxy's password
        raise AgentError("the proxy in the environment is no address that can be used; correct or unset it") from cause
    async with AsyncOpenAI(base_url=settings.base_url, api_key=key, max_retries=0, http_client=http) as client:
        yield Connection(client, asyncio.Semaphore(settings.concurrency), BusyClock())


def proxy_for(url: str) -> str | None:
    """Return the proxy for an address, from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or the system; None: no proxy.

    There is none for this machine and for private networks: no proxy is to see what goes there. NO_PROXY is respected.
    """
    parts, proxies = urlsplit(url), getproxies()
    proxy, host = proxies.get(parts.scheme) or proxies.get("all"), parts.hostname or ""
    if not proxy or not is_public_host(host) or proxy_bypass(host if parts.port is None else f"{host}:{parts.port}"):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def trusted(verify: Path | None) -> ssl.SSLContext:
    """Return whom TLS trusts: the certificates of `verify`, else of SSL_CERT_FILE or SSL_CERT_DIR, else the system's.

    Raises:
        AgentError: there are no certificates at that path.
    """
    named = [("the setting 'verify'", verify)] + [
        (f"the variable {name}", os.environ.get(name)) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")
    ]
    origin, path = next(((origin, Path(path)) for origin, path in named if path), ("", None))
    if path is None:
        return httpx2.create_ssl_context(trust_env=False)
    try:
        is_folder = path.is_dir()
        return ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)
    except (OSError, ssl.SSLError, ValueError) as cause:
        raise AgentError(
            f"{origin} names '{path}', which holds no certificates that can be read ({cause}); name a PEM file"
        ) from cause
