"""Fetching from a real server on loopback, which default limits must never even reach."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import PIL.Image
import pytest

import consilience.core.fetch
from consilience.core.errors import FetchError, ImageError
from consilience.core.fetch import Bearer, fetch_image_bytes
from consilience.core.image_limits import ImageLimits
from consilience.core.images import load_image

LOOPBACK_ALLOWED = ImageLimits(allow_private_urls=True)


def png() -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(file, "PNG")
    return file.getvalue()


class Server(ThreadingHTTPServer):
    """Answers as its paths say, and counts who connected."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Answer)
        self.connections = 0
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()
        self.elsewhere = ""

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_port}"

    def verify_request(self, request: Any, client_address: Any) -> bool:
        self.connections += 1
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that cuts the answer off, as it should


class Answer(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def begin(self, status: int = 200, kind: str = "image/png", **fields: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append((self.path, dict(self.headers)))
        redirects = {
            "/redirect": "/ok.png",
            "/loop": "/loop",
            "/away": self.server.elsewhere,
            "/to-file": "file:///etc/passwd",
            "/to-login": "http://user:hunter2@127.0.0.1/",
            "/to-nonsense": "http://[::1/hunter2",
        }
        if path in redirects:
            self.begin(302, Location=redirects[path])
        elif path.startswith("/hop/"):
            left = int(path.removeprefix("/hop/"))
            self.begin(307, Location=f"/hop/{left - 1}" if left > 1 else "/ok.png")
        elif path == "/endless":
            self.begin()
            while not self.server.released.is_set():
                self.wfile.write(bytes(4096))
        elif path == "/drip":
            self.begin()
            while not self.server.released.wait(0.02):
                self.wfile.write(b"x")
        elif path == "/header-drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not self.server.released.wait(0.02):
                self.wfile.write(b"x")
        elif path == "/silent":
            self.server.released.wait()
        elif path == "/broken-off":
            self.begin(Content_Length="1000")
            self.wfile.write(png())
        elif path == "/half.png":
            self.begin()
            self.wfile.write(png()[:45])
        else:
            self.answer_in_full(path)

    def answer_in_full(self, path: str) -> None:
        statuses = {"/missing": 404, "/partial": 206, "/unauthorised": 401}
        kinds = {
            "/page": "text/html; charset=utf-8",
            "/octets": "application/octet-stream",
            "/picture": "IMAGE/PNG; q=1",
        }
        fields = {"/huge": {"Content_Length": str(10**12)}, "/gzip": {"Content_Encoding": "gzip"}}
        self.begin(statuses.get(path, 200), kinds.get(path, "image/png"), **fields.get(path, {}))
        self.wfile.write(png())


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as running:
        yield running


@pytest.mark.parametrize(
    "path", ["/ok.png", "/octets", "/picture", "/redirect", "/hop/3", "/ok.png?size=2&name=ä b#top"]
)
def test_the_body_of_an_image(server: Server, path: str) -> None:
    assert fetch_image_bytes(server.url + path, LOOPBACK_ALLOWED) == png()


def test_the_request_says_what_it_should(server: Server) -> None:
    fetch_image_bytes(f"{server.url}/a path/ä.png?q=ö&r=%20#part", LOOPBACK_ALLOWED)
    [(target, headers)] = server.requests
    assert target == "/a%20path/%C3%A4.png?q=%C3%B6&r=%20"
    assert headers["Host"] == f"127.0.0.1:{server.server_port}"
    assert headers["Accept-Encoding"] == "identity"


def test_load_image_takes_a_url_and_keeps_its_query_to_itself(server: Server) -> None:
    image = load_image(f"{server.url}/ok.png?token=hunter2", LOOPBACK_ALLOWED)
    assert image.source == f"{server.url}/ok.png"
    assert image.identity == load_image(png()).identity


def test_a_token_is_sent_to_its_host_and_to_no_other_that_it_leads_to(server: Server) -> None:
    server.elsewhere = f"http://localhost:{server.server_port}/ok.png"
    bearer = Bearer("hunter2", "127.0.0.1")
    assert fetch_image_bytes(f"{server.url}/away", LOOPBACK_ALLOWED, bearer) == png()
    assert [headers.get("Authorization") for _, headers in server.requests] == ["Bearer hunter2", None]
    assert "hunter2" not in repr(bearer)


@pytest.mark.parametrize(("path", "status", "kind"), [("/missing", 404, ""), ("/page", 200, "text/html")])
def test_an_error_tells_what_the_server_answered(server: Server, path: str, status: int, kind: str) -> None:
    with pytest.raises(FetchError) as caught:
        fetch_image_bytes(server.url + path, LOOPBACK_ALLOWED)
    assert (caught.value.status, caught.value.content_type) == (status, kind)


def test_a_truncated_image_is_named_by_its_address(server: Server) -> None:
    with pytest.raises(ImageError, match=r"half\.png' .*truncated") as caught:
        load_image(f"{server.url}/half.png?token=hunter2", LOOPBACK_ALLOWED)
    assert "hunter2" not in str(caught.value)


def test_a_proxy_in_the_environment_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert fetch_image_bytes(f"{server.url}/ok.png", LOOPBACK_ALLOWED) == png()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/missing", "answered with status 404 instead of 200"),
        ("/partial", "status 206"),
        ("/unauthorised", "status 401"),
        ("/page", "content type 'text/html', not an image's"),
        ("/gzip", "compressed .'gzip'."),
        ("/loop", "more than 3 redirects"),
        ("/hop/4", "more than 3 redirects"),
        ("/to-file", "is not an http or https address"),
        ("/to-login", "came with a user name or password"),
        ("/to-nonsense", "redirects to an address that cannot be parsed"),
        ("/broken-off", "cannot be fetched .*complete message"),
        ("/huge", "more than the 10,000 bytes allowed"),
        ("/endless", "more than the 10,000 bytes allowed"),
    ],
)
def test_wrong_answers(server: Server, path: str, says: str) -> None:
    with pytest.raises(FetchError, match=says) as caught:
        fetch_image_bytes(
            f"{server.url}{path}?token=hunter2", LOOPBACK_ALLOWED.model_copy(update={"max_bytes": 10_000})
        )
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("path", ["/drip", "/header-drip", "/silent"])
def test_the_deadline_holds_for_the_whole_fetch(server: Server, path: str) -> None:
    limits = ImageLimits(allow_private_urls=True, url_timeout_seconds=0.3)
    with pytest.raises(FetchError, match=f"{path}' took longer than 0.3 s.*url_timeout_seconds"):
        fetch_image_bytes(server.url + path, limits)


def test_no_redirects_can_be_asked_for(server: Server) -> None:
    with pytest.raises(FetchError, match="more than 0 redirects"):
        fetch_image_bytes(f"{server.url}/redirect", ImageLimits(allow_private_urls=True, max_redirects=0))


# Addresses that are not public


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0", "[::ffff:127.0.0.1]"]
)
def test_a_private_address_is_refused_before_any_connection(server: Server, host: str) -> None:
    with pytest.raises(FetchError, match=r"not public .*set allow_private_urls"):
        load_image(f"http://{host}:{server.server_port}/ok.png")
    assert server.connections == 0


def test_each_redirect_is_checked_like_the_first(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Server("127.0.0.2")) as inner:
        # On one machine all addresses are private, so the rule is moved: 127.0.0.1 plays the public one.
        monkeypatch.setattr(consilience.core.fetch, "is_public", lambda address: address == "127.0.0.1")
        server.elsewhere = f"{inner.url}/ok.png"
        with pytest.raises(FetchError, match=r"'127\.0\.0\.2' is or has an address that is not public"):
            fetch_image_bytes(f"{server.url}/away", ImageLimits())
        assert (server.connections, inner.connections) == (1, 0)


def resolving(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], list[str]]) -> list[str]:
    """Let the name `case.test` have the addresses that `answer` gives at each question; return the questions."""
    questions: list[str] = []
    system = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host != "case.test":
            return system(host, port, *args, **kwargs)
        questions.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer()]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return questions


def test_the_connection_goes_to_the_address_that_was_checked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])  # a name that changes its mind
    questions = resolving(monkeypatch, lambda: next(answers))
    monkeypatch.setattr(consilience.core.fetch, "is_public", lambda address: address == "127.0.0.1")
    assert fetch_image_bytes(f"http://case.test:{server.server_port}/ok.png", ImageLimits()) == png()
    assert questions == ["case.test"]
    assert server.requests[0][1]["Host"] == f"case.test:{server.server_port}"


def test_one_private_address_among_public_ones_is_enough(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, lambda: ["93.184.216.34", "127.0.0.1"])
    with pytest.raises(FetchError, match="not public"):
        fetch_image_bytes(f"http://case.test:{server.server_port}/ok.png", ImageLimits())
    assert server.connections == 0


def test_the_next_address_is_tried_when_one_refuses(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, lambda: ["127.0.0.3", "127.0.0.1"])
    assert fetch_image_bytes(f"http://case.test:{server.server_port}/ok.png", LOOPBACK_ALLOWED) == png()


def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolving(monkeypatch, unknown)
    with pytest.raises(FetchError, match=r"'case\.test' cannot be resolved .*not known") as caught:
        fetch_image_bytes("http://case.test/leaf.png?hunter2", ImageLimits())
    assert "hunter2" not in str(caught.value)


def test_a_slow_resolver_is_cut_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    resolving(monkeypatch, lambda: ["127.0.0.1"] if answered.wait(60) else [])
    with pytest.raises(FetchError, match=r"took longer than 0\.2 s"):
        fetch_image_bytes("http://case.test/ok.png", ImageLimits(url_timeout_seconds=0.2))
    answered.set()


def test_an_unused_port_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        port = taken.getsockname()[1]
        with pytest.raises(FetchError, match=f"'http://127.0.0.1:{port}/' cannot be fetched .*refused"):
            fetch_image_bytes(f"http://127.0.0.1:{port}/", LOOPBACK_ALLOWED)
