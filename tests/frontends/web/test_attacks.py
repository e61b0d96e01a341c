"""What whoever wants to bring the server to a standstill tries, over real sockets; each from an address of its own."""

from __future__ import annotations

import select
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.web_server import png, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there all of 127.0.0.0/8 is this machine")

TOKEN = "a-token-of-the-tests-5d1c"  # noqa: S105
MAX_BYTES = 100_000
PROXY = "127.0.0.9"
SETTINGS = (
    f"web.max_bytes={MAX_BYTES}",
    "web.images_a_minute=30",
    "web.queue=4",
    "web.connections=40",
    "web.head_seconds=1",
    f"web.trusted_proxies={PROXY}",
)


@pytest.fixture(scope="module")
def server(fitted_shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    panel = Path(shutil.copytree(fitted_shapes, tmp_path_factory.mktemp("attacked") / "panel"))
    arguments = [part for setting in SETTINGS for part in ("--set", setting)]
    with serving(panel, *arguments, token=TOKEN) as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


@contextmanager
def connected(server: tuple[str, int], source: str) -> Iterator[socket.socket]:
    """A connection from one of this machine's addresses; what does not come within its time-out has failed."""
    with socket.create_connection(server, timeout=30, source_address=(source, 0)) as connection:
        yield connection


@contextmanager
def uploading(server: tuple[str, int], source: str) -> Iterator[None]:
    """An upload that the server reads, and that does not go on."""
    with connected(server, source) as connection:
        connection.sendall(head("/v1/diagnose", 50_000, "Expect: 100-continue"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(b"x" * 100)
        yield


def is_ended(connection: socket.socket) -> bool:
    """Wait until the server ends a connection; false if it says something."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def head(path: str, length: int | None = None, *headers: str, method: str = "POST", token: str = TOKEN) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Read one answer: its status and body."""
    with connection.makefile("rb") as replies:
        status = int(replies.readline().split()[1])
        lines = iter(replies.readline, b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length"))
        while replies.readline() != b"\r\n":
            pass
        return status, replies.read(length)


def asked(server: tuple[str, int], source: str, request: bytes) -> tuple[int, bytes]:
    with connected(server, source) as connection:
        connection.sendall(request)
        return answer(connection)


def diagnosed(server: tuple[str, int], source: str, *headers: str) -> int:
    image = png("circle", 1000)
    return asked(server, source, head("/v1/diagnose", len(image), *headers) + image)[0]


@pytest.mark.parametrize("path", ["/v1/session", "/v1/diagnoses/x/questions", "/v1/diagnoses/x/feedback"])
def test_a_body_that_is_no_image_is_short(path: str, server: tuple[str, int]) -> None:
    status, body = asked(server, "127.0.1.1", head(path, 600_000_000) + b'{"text": "')
    assert status == 413
    assert b"65,536 bytes" in body
    with connected(server, "127.0.1.1") as connection:
        connection.sendall(head(path, None, "Transfer-Encoding: chunked") + b"1\r\n{\r\n" * 1000)
        assert answer(connection)[0] == 411


def test_headers_without_end_are_read_no_further(server: tuple[str, int]) -> None:
    with connected(server, "127.0.1.2") as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall((b"X-Long: " + b"x" * 8000 + b"\r\n") * 4000)


def test_long_headers_are_named(server: tuple[str, int]) -> None:
    status, body = asked(server, "127.0.1.2", b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"x" * 17_000)
    assert status == 431
    assert b"headers are too long" in body


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nHost: local"], ids=["nothing", "half"])
def test_a_request_that_does_not_come_ends_its_connection(beginning: bytes, server: tuple[str, int]) -> None:
    with connected(server, "127.0.1.3") as connection:
        connection.sendall(beginning)
        assert is_ended(connection)


def test_slow_uploads_of_one_address_take_no_place(server: tuple[str, int]) -> None:
    with ExitStack() as open_connections:
        for _ in range(10):  # more than there are places
            open_connections.enter_context(uploading(server, "127.0.1.4"))
        assert diagnosed(server, "127.0.0.1") == 201
        assert diagnosed(server, "127.0.1.4") == 201


def test_uploads_of_one_address_take_bounded_memory(server: tuple[str, int]) -> None:
    """Half of 20 images: of eleven uploads that stop before their last byte, one is refused."""
    with ExitStack() as open_connections:
        slow = [open_connections.enter_context(connected(server, "127.0.1.5")) for _ in range(11)]
        for connection in slow:
            connection.sendall(head("/v1/diagnose", MAX_BYTES) + b"x" * (MAX_BYTES - 1))
        refused, _, _ = select.select(slow, [], [], 30)
        assert [answer(connection)[0] for connection in refused] == [429]
        assert diagnosed(server, "127.0.0.1") == 201


def test_one_address_gets_half_of_the_connections(server: tuple[str, int]) -> None:
    with ExitStack() as open_connections:
        for _ in range(20):
            open_connections.enter_context(uploading(server, "127.0.1.6"))
        with connected(server, "127.0.1.6") as further:
            assert is_ended(further)
        assert diagnosed(server, "127.0.0.1") == 201


def test_a_token_is_not_guessed(server: tuple[str, int]) -> None:
    guess = head("/v1/panel", method="GET", token="a-token-of-the-tests-none")
    assert [asked(server, "127.0.1.7", guess)[0] for _ in range(21)] == [401] * 20 + [429]
    cookie = head("/v1/panel", None, "Cookie: consilience-session=guess", method="GET", token="")
    assert asked(server, "127.0.1.7", cookie)[0] == 429  # it is made from the token: the same guess
    assert asked(server, "127.0.1.7", head("/v1/panel", method="GET"))[0] == 429  # else the right guess would be told
    assert asked(server, "127.0.0.1", head("/v1/panel", method="GET"))[0] == 200
    assert asked(server, "127.0.1.7", head("/v1/panel", method="GET", token=""))[0] == 401


def test_only_a_proxy_that_is_trusted_says_for_whom_it_asks(server: tuple[str, int]) -> None:
    guess = "a-token-of-the-tests-none"
    for number in range(21):
        request = head("/v1/panel", None, f"X-Forwarded-For: 192.0.2.{number}", method="GET", token=guess)
        told = asked(server, "127.0.1.8", request)[0]
        believed = asked(server, PROXY, request)[0]
    assert (told, believed) == (429, 401)
    with connected(server, PROXY) as connection:
        connection.sendall(head("/", None, "X-Forwarded-Proto: https", method="GET"))
        assert b"Secure" in connection.recv(10_000)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: elsewhere.example\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
    ],
    ids=["two hosts", "no host", "two lengths", "TLS"],
)
def test_what_can_be_read_in_two_ways_is_refused(request_bytes: bytes, status: int, server: tuple[str, int]) -> None:
    assert asked(server, "127.0.1.9", request_bytes)[0] == status


def test_a_body_that_nobody_wants_is_not_read_for_long(server: tuple[str, int]) -> None:
    with connected(server, "127.0.1.10") as connection:
        connection.sendall(head("/v1/panel", 600_000_000, token=""))
        assert answer(connection)[0] == 401
        connection.sendall(b"x")
        assert is_ended(connection)
