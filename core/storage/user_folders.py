"""The user's own folders, into which nobody else may look: a cache for what can be made again, and a configuration."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "CONSILIENCE_CACHE"
CONFIG_VARIABLE = "CONSILIENCE_CONFIG"


def cache_folder() -> Path:
    """Return the folder that CONSILIENCE_CACHE names, else the user's cache folder; it need not exist yet.

    It keeps exported encoders and models' answers.
    """
    from platformdirs import user_cache_path

    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else user_cache_path("consilience")


def config_folder() -> Path:
    """Return the folder that CONSILIENCE_CONFIG names, else the user's configuration folder; it need not exist yet.

    It keeps what the user has confirmed.
    """
    from platformdirs import user_config_path

    chosen = os.environ.get(CONFIG_VARIABLE)
    return Path(chosen) if chosen else user_config_path("consilience")


def make_private_folder(path: Path) -> None:
    """Make a folder that only its owner may look into; one that is there already stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def make_private_file(path: Path) -> None:
    """Make an empty file that only its owner may read; one that is there already stays as it is, but a link is refused.

    Raises:
        OSError: it cannot be made, or it is a link.
    """
    flags = os.O_RDONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    os.close(os.open(path, flags, 0o600))
