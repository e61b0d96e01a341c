"""Limits on images: their bytes, pixels and sides, how they may be fetched, and how what they leave open is read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from consilience.core.settings.settings_group import SettingsGroup

BandNumber = Annotated[int, Field(ge=1)]


class ImageLimits(SettingsGroup):
    """Limits on an image and on fetching it, and how its values are read.

    An image over a limit is refused before it is decoded; one that takes too long, while it is.
    """

    max_bytes: int = Field(default=64 * 2**20, ge=1, description="largest file, body or byte string, in bytes")
    max_pixels: int = Field(
        default=50_000_000, ge=1, le=178_956_970, description="most pixels; over the bound, Pillow itself refuses"
    )
    max_side: int = Field(default=20_000, ge=1, description="greatest width and height, in pixels")
    min_side: int = Field(default=2, ge=1, description="least width and height, in pixels")
    max_scans: int = Field(default=100, ge=1, description="most scans of a JPEG; usual ones have 1 to 12")
    max_pixels_at_once: int = Field(
        default=64_000_000, ge=1, description="most pixels that are decoded at once in a process; others wait"
    )
    decode_seconds: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="of computing, after which decoding an image is ended"
    )
    grey_bits: int | None = Field(
        default=None, ge=8, le=16, description="bits in use of 16-bit greys; none: as stated, or as the values need"
    )
    bands: tuple[BandNumber, BandNumber, BandNumber] | None = Field(
        default=None,
        description="of an image of many bands, those that are red, green and blue, from 1; none: 1, 2 and 3",
    )
    follow_links: bool = Field(default=False, description="follow links that lead out of a folder of images, too")
    allow_private_urls: bool = Field(default=False, description="fetch from addresses that are not public, too")
    url_timeout_seconds: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="for a whole fetch with all its redirects"
    )
    max_redirects: int = Field(default=3, ge=0, description="redirects to follow; each is checked like the first")


DEFAULT_LIMITS = ImageLimits()
