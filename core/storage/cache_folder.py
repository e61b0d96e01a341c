"""The cache folder, for what can be made or asked for again: exported encoders, models' answers."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder that CONSILIENCE_CACHE names, else the user's cache folder; it need not exist yet."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("CONSILIENCE_CACHE")
    return Path(chosen) if chosen else user_cache_path("consilience")
