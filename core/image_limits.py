"""Limits on images: their bytes, pixels and sides, and how they may be fetched."""

from __future__ import annotations

from pydantic import Field

from consilience.core.settings.settings_group import SettingsGroup


class ImageLimits(SettingsGroup):
    """Limits on an image and on fetching it; an image over a limit is refused before it is decoded."""

    max_bytes: int = Field(default=64 * 2**20, ge=1, description="largest file, body or byte string, in bytes")
    max_pixels: int = Field(
        default=50_000_000, ge=1, le=178_956_970, description="most pixels; over the bound, Pillow itself refuses"
    )
    max_side: int = Field(default=20_000, ge=1, description="greatest width and height, in pixels")
    min_side: int = Field(default=2, ge=1, description="least width and height, in pixels")
    allow_private_urls: bool = Field(default=False, description="fetch from addresses that are not public, too")
    url_timeout_seconds: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="for a whole fetch with all its redirects"
    )
    max_redirects: int = Field(default=3, ge=0, description="redirects to follow; each is checked like the first")


DEFAULT_LIMITS = ImageLimits()
