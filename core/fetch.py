"""Fetching the bytes of an image from a public http(s) address.

Each host is resolved once, every address it has must be public, and the connection goes to an address that was
checked, so a name that changes its answer in between gains nothing. Redirects go the same way. TLS is verified
against the host's name. Proxies from the environment are not used: a proxy would resolve the name again.
"""

from __future__ import annotations

import functools
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpcore

from consilience.core.errors import FetchError
from consilience.core.image_limits import ImageLimits

_REDIRECTS = (301, 302, 303, 307, 308)
_TYPES = ("application/octet-stream", "binary/octet-stream")  # the second is S3's default

_URL_SAFE = "/?:@!$&'()*+,;=~%"

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = [  # tunnels and documentation, which some versions of `ipaddress` count as global (IANA registries)
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet.

    Private, loopback, link-local, shared, multicast, reserved, documentation and tunnel addresses are not.
    An IPv4 address inside an IPv6 one (mapped, NAT64) is judged as itself.

    Raises:
        ValueError: `address` is no IP address.

    >>> is_public("93.184.216.34"), is_public("::ffff:127.0.0.1")
    (True, False)
    """
    ip = ipaddress.ip_address(address)
    if ip.version == 6:
        if ip.ipv4_mapped is not None or ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in _GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)


def is_public_host(host: str) -> bool:
    """Return whether a host, a name or an address, is on the public internet; a name that cannot be resolved counts so.

    >>> is_public_host("localhost"), is_public_host("10.0.0.7"), is_public_host("93.184.216.34")
    (False, False, True)
    """
    if "." not in host and ":" not in host:
        return False
    try:
        return is_public(host.partition("%")[0])
    except ValueError:  # it is a name
        pass
    if host.rstrip(".").lower().endswith((".localhost", ".local", ".internal", ".lan", ".home.arpa")):
        return False
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return True
    return any(is_public(str(entry[4][0]).partition("%")[0]) for entry in found)


def without_secrets(url: str) -> str:
    """Return the URL as it may be shown: without user name, password, query and fragment.

    Raises:
        FetchError: it cannot be parsed, is no http(s) URL, names a user or password, or names no host.
    """
    return str(_Address(url))


@dataclass(frozen=True)
class Bearer:
    """A token that opens private files of one host.

    It is sent to that host and its subdomains alone, and over TLS alone, unless the host is this machine.

    Attributes:
        token: the secret; no message shows it.
        host: name of the host, in lower case.
    """

    token: str = field(repr=False)
    host: str

    def opens(self, url: httpcore.URL) -> bool:
        """Return whether the token may be sent with a request to `url`."""
        host = url.host.decode("ascii").lower()
        is_private = url.scheme == b"https" or host in ("127.0.0.1", "::1", "localhost")
        return is_private and (host == self.host or host.endswith(f".{self.host}"))


def fetch_image_bytes(url: str, limits: ImageLimits, bearer: Bearer | None = None) -> bytes:
    """Return the body behind an http(s) URL, not yet decoded.

    Args:
        url: address of the image.
        limits: most bytes, seconds and redirects, and whether addresses that are not public are allowed.
        bearer: opens private files; where it may not be sent, also after a redirect, the request goes without it.

    Raises:
        FetchError: not an http(s) URL; it names a user or password; the host has an address that is not public
            (unless `limits.allow_private_urls`); it cannot be reached, takes longer than
            `limits.url_timeout_seconds` in all, or redirects more than `limits.max_redirects` times; the answer is
            not 200, not an image by its content type, compressed, broken off or over `limits.max_bytes`.
    """
    address = _Address(url)
    backend = _PublicBackend(limits)
    try:
        for _ in range(limits.max_redirects + 1):
            answer = _get(address, backend, limits, bearer)
            if isinstance(answer, bytes):
                return answer
            address = answer
    except httpcore.TimeoutException as cause:
        raise FetchError(
            f"'{address}' took longer than {limits.url_timeout_seconds:g} s; try again or raise url_timeout_seconds"
        ) from cause
    except (httpcore.NetworkError, httpcore.ProtocolError) as cause:
        raise FetchError(f"'{address}' cannot be fetched ({cause}); check the address and the network") from cause
    raise FetchError(f"'{address}': more than {limits.max_redirects} redirects; pass the final address")


class _Address:
    """A URL that was taken apart and found usable; `str` shows it without secrets."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").encode("idna").decode("ascii"), parts.port
        except ValueError:  # its message could quote a password
            raise FetchError("an image address cannot be parsed; write it as https://host/path") from None
        netloc = f"[{host}]" if ":" in host else host
        self.host_header = netloc if port is None else f"{netloc}:{port}"
        path = quote(parts.path, safe=_URL_SAFE)
        self._shown = f"{parts.scheme}://{self.host_header}{path}"
        if parts.scheme not in ("http", "https"):
            raise FetchError(f"'{self}' is not an http or https address; pass such an address, or a path")
        if "@" in parts.netloc:
            raise FetchError(f"'{self}' came with a user name or password; pass an address that needs none")
        if not host:
            raise FetchError(f"'{self}' names no host; write it as https://host/path")
        query = f"?{quote(parts.query, safe=_URL_SAFE)}" if parts.query else ""
        self._url = url
        self.url = httpcore.URL(
            scheme=parts.scheme.encode(), host=host.encode(), port=port, target=f"{path or '/'}{query}".encode()
        )

    def __str__(self) -> str:
        return self._shown

    def redirected(self, location: str) -> _Address:
        try:
            return _Address(urljoin(self._url, location))
        except ValueError:
            raise FetchError(
                f"'{self}' redirects to an address that cannot be parsed; pass the final address"
            ) from None


def _get(address: _Address, backend: _PublicBackend, limits: ImageLimits, bearer: Bearer | None) -> bytes | _Address:
    """Send one request and return its body, or the address that it redirects to."""
    headers: dict[bytes | str, bytes | str] = {
        "Host": address.host_header,
        "Accept": "image/*",
        "Accept-Encoding": "identity",
        "User-Agent": "consilience",
    }
    if bearer is not None and bearer.opens(address.url):
        headers["Authorization"] = f"Bearer {bearer.token}"
    context = _tls_context() if address.url.scheme == b"https" else None
    with (
        httpcore.ConnectionPool(ssl_context=context, network_backend=backend) as pool,
        pool.stream("GET", address.url, headers=headers) as response,
    ):
        fields = {name.lower().decode("latin-1"): value.decode("utf-8", "replace") for name, value in response.headers}
        if response.status in _REDIRECTS and "location" in fields:
            return address.redirected(fields["location"])
        _check_answer(address, response.status, fields, limits)
        chunks, size = [], 0
        for chunk in response.iter_stream():
            size += len(chunk)
            if size > limits.max_bytes:
                raise FetchError(_too_large(address, limits))
            chunks.append(chunk)
        return b"".join(chunks)


def _check_answer(address: _Address, status: int, fields: dict[str, str], limits: ImageLimits) -> None:
    if status != 200:
        raise FetchError(f"'{address}' answered with status {status} instead of 200; check the address", status=status)
    kind = fields.get("content-type", "none").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind not in _TYPES:
        raise FetchError(
            f"'{address}' has content type {kind[:80]!r}, not an image's; pass the address of the image itself",
            status=status,
            content_type=kind,
        )
    encoding = fields.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise FetchError(
            f"'{address}' is sent compressed ({encoding[:80]!r}) against the request; download it yourself"
        )
    length = fields.get("content-length", "")
    if length.isdecimal() and int(length) > limits.max_bytes:
        raise FetchError(_too_large(address, limits))


def _too_large(address: _Address, limits: ImageLimits) -> str:
    return f"'{address}' has more than the {limits.max_bytes:,} bytes allowed; store it smaller or raise max_bytes"


@functools.cache
def _tls_context() -> ssl.SSLContext:
    return httpcore.default_ssl_context()  # reads all root certificates: 70 ms


class _Deadline:
    """The point in time by which everything that a fetch does must end."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left, above 0. Raises httpcore.TimeoutException if there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.TimeoutException
        return left


class _PublicBackend(httpcore.SyncBackend):
    """A network backend that connects only to addresses that it checked itself, until the deadline."""

    def __init__(self, limits: ImageLimits) -> None:
        self._allow_private = limits.allow_private_urls
        self._deadline = _Deadline(limits.url_timeout_seconds)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = _resolve(host, port, self._deadline)
        if not self._allow_private and not all(map(is_public, addresses)):
            raise FetchError(
                f"the host '{host}' is or has an address that is not public (private, loopback, link-local, ...); "
                "set allow_private_urls if it is meant"
            )
        failure: Exception = httpcore.ConnectError("the host has no address")
        for tried, address in enumerate(addresses):
            share = self._deadline.left() / (len(addresses) - tried)
            try:
                return _TimedStream(super().connect_tcp(address, port, share), self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as cause:
                failure = cause
        raise failure


def _resolve(host: str, port: int, deadline: _Deadline) -> list[str]:
    """Return all addresses of a host. It asks in a thread, because the system's resolver knows no time limit."""
    answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in addresses)))
        except (OSError, ValueError) as cause:  # ValueError: a host with a NUL
            answers.put(cause)

    threading.Thread(target=look_up, name="consilience-resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=deadline.left())
    except queue.Empty:
        raise httpcore.ConnectTimeout from None
    if isinstance(answer, Exception):
        raise FetchError(
            f"the host '{host}' cannot be resolved ({answer}); check the address and the network"
        ) from answer
    return answer


class _TimedStream(httpcore.NetworkStream):
    """A stream whose every wait ends with the deadline, however often a few bytes arrive."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, self._deadline.left()), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
