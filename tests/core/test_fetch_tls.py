"""TLS on a real server: the certificate must be trusted, and be for the host's name."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import consilience.core.fetch
from consilience.core.errors import FetchError
from consilience.core.fetch import fetch_image_bytes
from consilience.core.image_limits import ImageLimits
from tests.support.certificates import self_signed

LOOPBACK_ALLOWED = ImageLimits(allow_private_urls=True)


class Answer(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(b"body")


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that refuses the certificate, as it should


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for the name case.test, with its key."""
    return self_signed(tmp_path, "case.test", "DNS")


@pytest.fixture
def port(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a TLS server, and the name case.test pointing to it."""
    system = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: system({"case.test": "127.0.0.1"}.get(host, host), *rest, **more),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with QuietServer(("127.0.0.1", 0), Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_an_untrusted_certificate_is_refused(port: int) -> None:
    with pytest.raises(FetchError, match="certificate verify failed"):
        fetch_image_bytes(f"https://case.test:{port}/leaf.png", LOOPBACK_ALLOWED)


def test_a_trusted_certificate_counts_for_its_name_only(
    port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(consilience.core.fetch, "_tls_context", lambda: trusting)
    assert fetch_image_bytes(f"https://case.test:{port}/leaf.png", LOOPBACK_ALLOWED) == b"body"
    with pytest.raises(FetchError, match="certificate verify failed"):
        fetch_image_bytes(f"https://127.0.0.1:{port}/leaf.png", LOOPBACK_ALLOWED)
