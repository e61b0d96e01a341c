"""What the user has confirmed of a panel: a panel alone decides neither who is sent a key or images, nor what is read.

Addresses of models and files of answers are kept by the panel's id in the user's configuration folder. Whoever fits a
panel has confirmed its own; of one that came from elsewhere each is confirmed once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

from consilience.core.errors import SettingsError
from consilience.core.settings.model_settings import EndpointSettings
from consilience.core.storage.atomic_write import write_atomically
from consilience.core.storage.json_text import parsed_json
from consilience.core.storage.user_folders import config_folder, make_private_folder

FILE = "addresses.json"


class ModelAddress(NamedTuple):
    """Where images and words are sent, and what is sent along.

    Attributes:
        base_url: of the endpoint.
        key_variable: environment variable whose content is sent there as the key; None: no key.
        verify: file or folder of the certificates that are believed; None: the usual ones.
    """

    base_url: str
    key_variable: str | None
    verify: str | None

    @classmethod
    def of(cls, settings: EndpointSettings) -> ModelAddress:
        """Return the address in a model's settings."""
        return cls(settings.base_url, settings.key_variable, None if settings.verify is None else str(settings.verify))

    def words(self) -> str:
        """Return it in plain words: "at https://host/v1 with the key in OPENAI_API_KEY"."""
        key = f"with the key in {self.key_variable}" if self.key_variable else "without a key"
        return f"at {self.base_url} {key}" + (f", certificates in '{self.verify}'" if self.verify else "")


class AnswerFile(NamedTuple):
    """Where answers are read that an agent has given already.

    Attributes:
        table: path of the file.
    """

    table: str

    def words(self) -> str:
        """Return it in plain words: "in the file '/home/me/answers.csv'"."""
        return f"in the file '{self.table}'"


AgentPlace: TypeAlias = ModelAddress | AnswerFile
"""Where an agent's answers come from."""


def confirmed_addresses(panel: str) -> frozenset[AgentPlace]:
    """Return the addresses and files that the user has confirmed for the panel with this id.

    Raises:
        SettingsError: the file of confirmed addresses cannot be read.
    """
    return frozenset(_read(config_folder() / FILE).get(panel, ()))


def confirm_addresses(panel: str, addresses: Collection[AgentPlace]) -> None:
    """Note that the user has confirmed these addresses and files for the panel with this id, beside those of before.

    Raises:
        SettingsError: the file of confirmed addresses cannot be read, or written.
    """
    from filelock import FileLock

    path = config_folder() / FILE
    with _named(path):
        make_private_folder(path.parent)
        with FileLock(f"{path}.lock"):
            known = _read(path)
            known[panel] = sorted({*known.get(panel, ()), *addresses}, key=repr)
            kept = {panel: [place._asdict() for place in places] for panel, places in known.items()}
            write_atomically(path, json.dumps(kept, indent=1) + "\n", private=True)


def _read(path: Path) -> dict[str, list[AgentPlace]]:
    with _named(path):
        if not path.exists():
            return {}
        panels = parsed_json(path.read_text(encoding="utf-8"))
        return {panel: [_place(fields) for fields in places] for panel, places in panels.items()}


def _place(fields: Mapping[str, str]) -> AgentPlace:
    return AnswerFile(**fields) if "table" in fields else ModelAddress(**fields)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file where it cannot be used."""
    try:
        yield
    except (OSError, ValueError, TypeError, AttributeError) as cause:
        raise SettingsError(
            f"the file of confirmed addresses '{path}' cannot be used ({cause}): correct or delete it, or name another "
            "folder in CONSILIENCE_CONFIG"
        ) from cause
