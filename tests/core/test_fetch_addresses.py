"""Which addresses are public, and which URLs are not fetched at all."""

from __future__ import annotations

import httpcore
import pytest

from consilience.core.errors import FetchError
from consilience.core.fetch import Bearer, is_public
from consilience.core.images import load_image


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34",
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "2606:2800:220:1::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",  # private
        "169.254.169.254", "100.64.0.1", "0.0.0.0", "0.1.2.3",  # noqa: S104  link-local (cloud metadata), shared, this network
        "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",  # multicast, reserved, broadcast
        "192.0.0.8", "192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "192.88.99.1",  # special purpose
        "::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd12::1", "fec0::1", "ff02::1",  # the same in IPv6
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8",  # IPv4 in IPv6
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808",  # NAT64
        "2002:7f00:1::", "2002:808:808::", "2001:0:808:808::1", "2001:db8::1", "3fff::1", "100::1", "5f00::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://files.test/leaf.png?hunter2", "'ftp://files.test/leaf.png' is not an http or https address"),
        ("file:///etc/passwd", "is not an http or https address"),
        ("ftp://user:hunter2@files.test/leaf.png", "'ftp://files.test/leaf.png' is not"),
        ("http://user:hunter2@files.test/leaf.png", "'http://files.test/leaf.png' came with a user name or password"),
        ("https://hunter2@files.test/", "came with a user name or password"),
        ("http://@files.test/", "came with a user name"),
        ("http:///leaf.png", "names no host"),
        ("http://files.test:99999999/hunter2", "cannot be parsed"),
        ("http://user:hun:ter2@files.test:hunter2/", "cannot be parsed"),
        ("http://[::1/hunter2", "cannot be parsed"),
        ("http://a..b/hunter2.png", "cannot be parsed"),
        (f"http://{'a' * 64}.test/", "cannot be parsed"),
        ("http://nul\0.invalid/", "cannot be resolved|cannot be parsed"),
    ],
)
def test_urls_that_are_not_fetched(url: str, says: str) -> None:
    with pytest.raises(FetchError, match=says) as caught:
        load_image(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None or "hunter2" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("url", "opens"),
    [
        ("https://slack.com/x", True),
        ("https://files.slack.com/x", True),
        ("https://FILES.slack.com/x", True),
        ("http://files.slack.com/x", False),  # anybody on the way could read it
        ("https://evilslack.com/x", False),
        ("https://slack.com.evil.example/x", False),
        ("https://evil.example/slack.com", False),
    ],
)
def test_a_token_opens_its_host_over_tls_alone(url: str, opens: bool) -> None:
    assert Bearer("hunter2", "slack.com").opens(httpcore.URL(url)) is opens
