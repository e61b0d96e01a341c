"""A Chroma client, embedded or of a server, whose failures become errors of this library."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from consilience.core.errors import ImageMemoryError, MemoryServerError, SettingsError, first_line

T = TypeVar("T")

SERVER_SECONDS = 60.0
"""How long one request to a server may take; a batch of 1,000 vectors takes about two seconds."""


class ChromaConnection:
    """A Chroma client, and the way to call it.

    Args:
        name: "chroma" (embedded) or "server".
        open_client: makes the client.
        failure: makes the error to raise from the one that chromadb raised.

    Attributes:
        name: as above.
        client: the chromadb client; call its functions through `call`.
    """

    def __init__(self, name: str, open_client: Callable[[], Any], failure: Callable[[Exception], ImageMemoryError]):
        self.name = name
        self._failure = failure
        self.client = self.call(open_client)

    @classmethod
    def embedded(cls, store: Path) -> ChromaConnection:
        """Return a connection to the index in the folder `store`, made if it is missing.

        One process at a time may have one.

        Raises:
            ImageMemoryError: the index cannot be opened.
        """

        def open_client() -> Any:
            import chromadb
            from chromadb.config import Settings

            settings = Settings(anonymized_telemetry=False)
            return chromadb.PersistentClient(str(store), settings=settings)

        def failure(cause: Exception) -> ImageMemoryError:
            return ImageMemoryError(
                f"the index in '{store}' cannot be used ({first_line(cause)}): "
                "rebuild it with 'consilience check DIR --repair'"
            )

        return cls("chroma", open_client, failure)

    @classmethod
    def server(cls, url: str) -> ChromaConnection:
        """Return a connection to the Chroma server at `http(s)://[user:password@]host[:port]`.

        Raises:
            SettingsError: `url` is not such an address.
            MemoryServerError: the server cannot be reached, or answers with an error.
        """
        host, port, secure, headers = _address(url)
        shown = f"{'https' if secure else 'http'}://{host}:{port}"

        def open_client() -> Any:
            import chromadb
            from chromadb.config import Settings

            from consilience.core.fetch import is_public_host  # brings httpcore

            if not is_public_host(name := host.strip("[]")):
                _reach_without_proxy(name)
            settings = Settings(anonymized_telemetry=False)
            return chromadb.HttpClient(host, port, ssl=secure, headers=headers, settings=settings)

        def failure(cause: Exception) -> ImageMemoryError:
            reason = f"no answer in {SERVER_SECONDS:.0f} s" if isinstance(cause, TimeoutError) else first_line(cause)
            return MemoryServerError(
                f"the Chroma server {shown} cannot be used ({reason}): start it with 'chroma run', correct the "
                "address, or leave the address out to use the panel's own index"
            )

        return cls("server", open_client, failure)

    def call(self, function: Callable[..., T], **arguments: Any) -> T:
        """Return `function(**arguments)`; where a server answers, wait at most SERVER_SECONDS.

        Raises:
            ImageMemoryError: anything went wrong; its cause is chained. Of a server it is a MemoryServerError.
        """
        try:
            return function(**arguments) if self.name == "chroma" else _within(SERVER_SECONDS, function, arguments)
        except Exception as cause:  # chromadb raises its own errors, httpx's, ValueError and bare Exception
            raise self._failure(cause) from cause

    def close(self) -> None:
        """Close the client."""
        self.client.close()


def _within(seconds: float, function: Callable[..., T], arguments: dict[str, Any]) -> T:
    """Return `function(**arguments)`, called in a thread, because Chroma's HTTP client would wait for ever."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(function(**arguments))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True, name="chroma request").start()
    return outcome.result(timeout=seconds)


def _reach_without_proxy(host: str) -> None:
    """Add a host to NO_PROXY of this process: Chroma makes its HTTP clients, and they obey the environment alone.

    No proxy is to see what goes to this machine or into a private network, credentials in clear among it.
    """
    name = "no_proxy" if "no_proxy" in os.environ else "NO_PROXY"  # the first wins where both are set
    exempt = [part for part in os.environ.get(name, "").split(",") if part]
    if host not in exempt:
        os.environ[name] = ",".join([*exempt, host])


def _address(url: str) -> tuple[str, int, bool, dict[str, str]]:
    """Return host, port, whether to encrypt, and headers; the URL may hold credentials, so no message repeats it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as cause:
        raise SettingsError("the address of the Chroma server is not a valid URL: give http://host:port") from cause
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise SettingsError("the address of the Chroma server must be http://host:port or https://host:port")
    secure = parts.scheme == "https"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    headers = {}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    return host, port or (443 if secure else 8000), secure, headers
