"""Settings of the web server."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, Field

from consilience.core.settings.settings_group import Names, SettingsGroup


def _as_networks(addresses: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(address)) for address in addresses)
    except ValueError as cause:
        raise ValueError(f"{cause}: write an address (127.0.0.1) or a network (10.0.0.0/8)") from None


Networks = Annotated[Names, AfterValidator(_as_networks)]
"""Networks of Internet addresses, such as 10.0.0.0/8; an address alone is a network of one."""


class WebSettings(SettingsGroup):
    """Settings of the web server: what it lets people do.

    Of `queue`, `connections` and the memory for uploads (20 of `max_bytes`) one address gets at most half.
    """

    max_bytes: int = Field(default=20 * 2**20, ge=1, description="largest image that may be uploaded, in bytes")
    images_a_minute: int = Field(default=120, ge=1, description="images that one address may bring in a minute")
    queue: int = Field(default=64, ge=1, description="images that may wait at once; further ones are turned away")
    connections: int = Field(default=512, ge=2, description="connections that may be open at once")
    head_seconds: float = Field(
        default=10.0,
        gt=0,
        allow_inf_nan=False,
        description="for a request to begin, with all its headers; as long a refused one may go on",
    )
    upload_seconds: float = Field(default=60.0, gt=0, allow_inf_nan=False, description="for the body of a request")
    trusted_proxies: Networks = Field(
        default=(), description="addresses or networks of proxies whose X-Forwarded-For and -Proto are believed"
    )
