"""The image memory on a real Chroma server, and on servers that fail."""

from __future__ import annotations

import http.server
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from consilience.core.errors import MemoryServerError, SettingsError
from consilience.retrieval.memory import chroma_connection as connection
from consilience.retrieval.memory.image_memory import ImageMemory
from consilience.retrieval.memory.index import ExactIndex
from consilience.retrieval.memory.labelled_images import LabelledImages
from tests.support.certificates import self_signed

STARTING_TRIES = 600


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "exempt.test")


def clustered(n: int, d: int = 32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(12, d))[rng.integers(0, 12, n)] + 0.4 * rng.normal(size=(n, d))
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)


def labelled_images(n: int = 150) -> LabelledImages:
    ids = tuple(f"id{row}" for row in range(n))
    return LabelledImages(ids, tuple("ab"[row % 2] for row in range(n)), ids, clustered(n))


def opened(url: str, memory: LabelledImages, panel: str = "p") -> ImageMemory:
    return ImageMemory.open(memory, ("a", "b"), store=Path("unused"), fingerprint="e", panel=panel, url=url)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    chroma = Path(sys.executable).with_name("chroma")
    store = tmp_path_factory.mktemp("server")
    command = [str(chroma), "run", "--path", str(store), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(STARTING_TRIES):
                with suppress(httpx.TransportError):
                    httpx.get(f"{url}/api/v2/heartbeat").raise_for_status()
                    break
                with suppress(subprocess.TimeoutExpired):
                    raise RuntimeError(f"'chroma run' ended with {process.wait(timeout=0.1)}")
            yield url
        finally:
            process.terminate()


def test_a_server_answers_as_the_exact_search_does(server: str) -> None:
    memory = labelled_images()
    queries = clustered(120, seed=1)
    expected, rows = ExactIndex(memory).query(queries, 5)
    with opened(server, memory) as served:
        assert served.index_name == "server"
        neighbourhood = served.query(queries, 5)
        np.testing.assert_array_equal(neighbourhood.rows, rows)
        np.testing.assert_array_equal(neighbourhood.similarities, expected)
        assert served.mismatches == 0
        assert served.check().ok


def test_several_panels_and_readers_share_a_server(server: str) -> None:
    changed = replace(labelled_images(), labels=("b", *labelled_images().labels[1:])).without(ids=["id3"])
    with opened(server, labelled_images(), "one") as first, opened(server, changed, "two") as two:
        assert (first.check().ok, two.check().ok) == (True, True)
        with opened(server, changed, "one") as newer:  # a writer went on; the first reader keeps its records
            assert newer.check().ok
            neighbourhood = first.query(first.labelled_images.vectors[:50], 5)
            similarities = np.einsum(
                "mkd,md->mk", first.labelled_images.vectors[neighbourhood.rows], first.labelled_images.vectors[:50]
            )
            np.testing.assert_allclose(neighbourhood.similarities, similarities, atol=1e-6)
            assert not first.check().ok
        first.repair()
        assert first.check().ok


def test_no_server_is_an_error_without_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(MemoryServerError, match=f"http://127.0.0.1:{port}.*chroma run") as refused:
        opened(f"http://user:pa%73sword@127.0.0.1:{port}", labelled_images())
    assert "password" not in str(refused.value)
    assert "pa%73sword" not in str(refused.value)


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SERVER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(MemoryServerError, match="no answer in"):
        opened(f"http://127.0.0.1:{silent.getsockname()[1]}", labelled_images())


@contextmanager
def recording(certificate: Path | None = None) -> Iterator[tuple[int, list[tuple[str, str | None]]]]:
    """Yield the port of a server that refuses, and what it is asked: addresses and credentials."""
    seen = []

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers["Authorization"]))
            self.send_error(401)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as refusing:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            refusing.socket = context.wrap_socket(refusing.socket, server_side=True)
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        yield refusing.server_port, seen
        refusing.shutdown()


def test_credentials_are_sent_and_not_shown() -> None:
    with recording() as (port, seen), pytest.raises(MemoryServerError) as refused:
        opened(f"http://user:secret@127.0.0.1:{port}", labelled_images())
    assert seen[0][1] == "Basic dXNlcjpzZWNyZXQ="
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_sees_what_goes_to_this_machine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with recording() as (proxy, seen_by_proxy), recording() as (port, seen):
        for name in ("HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        with pytest.raises(MemoryServerError):
            opened(f"http://user:secret@{host}:{port}", labelled_images())
    assert (len(seen), seen_by_proxy) == (1, [])
    assert os.environ["NO_PROXY"] == f"exempt.test,{host}"  # what the user set stands


def test_a_proxy_is_asked_for_a_server_on_the_internet_unless_it_is_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    with recording() as (proxy, seen):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy}")
        with pytest.raises(MemoryServerError):
            opened("http://chroma.invalid:8000", labelled_images())
        with pytest.raises(MemoryServerError):
            opened("http://exempt.test:8000", labelled_images())
    assert [address.split("/api")[0] for address, _ in seen] == ["http://chroma.invalid:8000"]


def test_the_certificates_of_ssl_cert_file_are_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path, "127.0.0.1", "IP")
    with recording(certificate) as (port, seen):
        with pytest.raises(MemoryServerError):
            opened(f"https://127.0.0.1:{port}", labelled_images())
        assert seen == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(MemoryServerError):
            opened(f"https://127.0.0.1:{port}", labelled_images())
        assert len(seen) == 1


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host:1", "http://", "http://host:x", "http://host:1/path"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(SettingsError, match="http://host:port"):
        opened(url, labelled_images())
