"""Whom a request reaches, and what it shows on the way: proxies, certificates and keys, on real servers."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from consilience.agents.vlm.endpoint.connection import proxy_for
from consilience.core.prediction import Prediction
from tests.support.certificates import self_signed
from tests.support.scripted_server import Scripted, ScriptedServer, chat, says
from tests.support.vlm_cases import agent, image, look

PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_sees_what_goes_to_this_machine(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    server.replies = [chat(says("rust"))]
    with ScriptedServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("ALL_PROXY", proxy.url.removesuffix("/v1"))
        url = server.url.replace("127.0.0.1", host)
        assert look(agent(server, base_url=url), image(1))[0].label == "rust"
        assert (len(server.requests), len(proxy.requests)) == (1, 0)


ADDRESSES = {"inside.test": "10.1.2.3", "outside.test": "93.184.216.34"}


def _resolved(host: str, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
    if host not in ADDRESSES:
        raise socket.gaierror("unknown")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ADDRESSES[host], 0))]


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://outside.test/v1", "http://proxy.test:3128"),
        ("https://outside.test/v1", "http://secure.test:3128"),
        ("https://unknown.test/v1", "http://secure.test:3128"),  # only the proxy can resolve it
        ("http://93.184.216.34/v1", "http://proxy.test:3128"),
        ("http://inside.test:8000/v1", None),
        ("http://localhost:8000/v1", None),
        ("http://127.0.0.1:8000/v1", None),
        ("http://[::1]:8000/v1", None),
        ("http://10.0.0.7/v1", None),
        ("http://192.168.1.7/v1", None),
        ("http://172.16.0.7/v1", None),
        ("http://169.254.0.7/v1", None),
        ("http://[fd00::1]/v1", None),
        ("http://gpu-box:8000/v1", None),
        ("http://gpu.local:8000/v1", None),
        ("https://api.exempt.test/v1", None),
        ("https://exempt.test:8443/v1", None),
    ],
)
def test_which_proxy(monkeypatch: pytest.MonkeyPatch, url: str, proxy: str | None) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _resolved)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "secure.test:3128")
    monkeypatch.setenv("NO_PROXY", "exempt.test")
    assert proxy_for(url) == proxy


def test_a_proxy_that_is_no_address_is_a_failure_without_its_password(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _resolved)
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://me:hunter2@proxy.test")
    [seen] = look(agent(server, base_url="https://outside.test/v1"), image(1))
    assert "the proxy in the environment" in str(seen.error)
    assert "hunter2" not in repr(seen)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    return self_signed(tmp_path, "127.0.0.1", "IP")


def _asked(certificate: Path, **settings: Any) -> Prediction:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ScriptedServer(context) as server:
        server.replies = [chat(says("rust"))]
        return look(agent(server, **settings), image(1))[0]


def test_a_certificate_of_nobody_known_is_refused_and_the_remedy_named(certificate: Path) -> None:
    error = str(_asked(certificate).error)
    assert "its certificate is not trusted" in error
    assert "name the file of its authority in 'verify' or SSL_CERT_FILE" in error


def test_the_certificates_of_ssl_cert_file_and_of_the_setting_are_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert _asked(certificate, verify=str(certificate)).label == "rust"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert _asked(certificate).label == "rust"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    assert "the variable SSL_CERT_FILE names" in str(_asked(certificate).error)
    assert _asked(certificate, verify=str(certificate)).label == "rust"  # the setting wins


@pytest.mark.parametrize("key", ["e", "rust", "ollama"])
def test_a_key_that_is_a_word_is_not_taken_out_of_replies(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("A_KEY", key)
    server.replies = [chat(says("rust", rationale=f"the rust looks like {key} here"))]
    [seen] = look(agent(server, key_variable="A_KEY"), image(1))
    assert (seen.label, seen.rationale) == ("rust", f"the rust looks like {key} here")


def test_only_a_whole_key_is_taken_out(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "orange-spots")
    server.replies = [chat(says("rust", rationale="dark orange-spotsy ones; your key is 'orange-spots'."))]
    [seen] = look(agent(server, key_variable="A_KEY"), image(1))
    assert seen.rationale == "dark orange-spotsy ones; your key is '[key]'."


def test_a_redirect_is_not_followed(server: ScriptedServer) -> None:
    with ScriptedServer() as elsewhere:
        elsewhere.replies = [chat(says("rust"))]
        server.replies = [Scripted({}, 307, {"location": f"{elsewhere.url}/chat/completions"})]
        assert "it moved to" in str(look(agent(server), image(1))[0].error)
        assert elsewhere.requests == []
