"""The options that an endpoint takes: found out from what it refuses, and kept for the process.

The names are those of the chat protocol. A bound on the length of the answer always reaches the server: under the name
that it takes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container
from typing import Any
from urllib.parse import urlsplit

from consilience.core.settings.model_settings import EndpointSettings
from consilience.core.settings.vlm_settings import VlmSettings

log = logging.getLogger(__name__)

NEW_BOUND, OLD_BOUND = "max_completion_tokens", "max_tokens"
"""The names of the bound. Nearly every server takes the old one; models of OpenAI that think take only the new one."""

DISPENSABLE = ("response_format", "structured_outputs", "temperature", "n", "detail")
"""Options without which an answer can still be had: it is validated whatever was promised."""

_COUNTS = {"one": 1, "single": 1}
_PICTURES = re.compile(
    r"(?:at most|up to|max(?:imum)?(?: number)?(?: of)?|only|limit(?:ed)?(?: is| to| of)?)\W{1,3}(?:\w+ )?(?:a )?"
    r"(\d+|one|single)\W{1,3}(?:\w+ )?(?:image|picture)|image=(\d+)",
    re.IGNORECASE,
)
_ONE_PICTURE = re.compile(
    r"(?:multiple|several|more than one|multi-?)[ -](?:image|picture)s?\b.{0,40}(?:not|n't|un)"
    r"|(?:not|n't|un)\w*\b.{0,40}(?:multiple|several|more than one)[ -](?:image|picture)",
    re.IGNORECASE,
)


class AcceptedOptions:
    """What an endpoint takes in the requests to one of its models.

    Attributes:
        refused: options that it refused, by name; they are sent no more.
        most_pictures: pictures that it takes in a request; None: no bound is known.
    """

    def __init__(self, base_url: str) -> None:
        self.refused: set[str] = set()
        self.most_pictures: int | None = None
        host = urlsplit(base_url).hostname or ""
        is_openai = host == "api.openai.com" or host.endswith(".openai.azure.com")
        self._bounds = (NEW_BOUND, OLD_BOUND) if is_openai else (OLD_BOUND, NEW_BOUND)
        self._address = base_url

    @property
    def bound(self) -> str:
        """The name under which the server is told the longest answer."""
        return next((name for name in self._bounds if name not in self.refused), self._bounds[0])

    def request(self, fields: dict[str, Any], bound: str | None = None) -> dict[str, Any]:
        """Return the request as this server takes it.

        Args:
            fields: of a request; the bound as NEW_BOUND, and under `extra_body` what a user adds, which is never left
                out.
            bound: the name of the bound, if that is set; None: as it was found out.
        """
        extra: dict[str, Any] = fields.get("extra_body", {})
        kept = {name: value for name, value in fields.items() if name not in (*_OURS, *self.refused)} | extra
        if NEW_BOUND in fields and not _BOUNDS & kept.keys():
            kept[bound or self.bound] = fields[NEW_BOUND]
        return kept

    def learn(self, words: str, sent: dict[str, Any], given: Container[str], learned: set[str]) -> bool:
        """Learn from the words of a refusal; return whether the request can be sent again otherwise.

        Args:
            words: what the server says.
            sent: the request that it refused.
            given: options that a user has set, which stay.
            learned: what was learned from this request before, which is no news; what is new is added.
        """
        news = {
            option
            for option in (*_BOUNDS & sent.keys(), *DISPENSABLE)
            if option not in given and option not in learned and (option in sent or option == "detail")
        }
        news = {option for option in news if _names(words, option)}
        if _BOUNDS & learned:  # both were refused, so for another reason
            news -= _BOUNDS
        most = _most_pictures(words, _pictures_in(sent))
        if most is not None and "pictures" not in learned:
            news.add("pictures")
            self.most_pictures = most
            log.warning("%s takes %d picture(s) in a request: similar cases come on one sheet", self._address, most)
        for option in news - {"pictures"}:
            self._refuse(option)
        learned |= news
        return bool(news)

    def note_length(self, tokens: int, sent: dict[str, Any], given: Container[str]) -> None:
        """Note it where the server wrote more than it was told: the bound goes by its other name from now on."""
        if not _BOUNDS & self.refused:
            for name in _BOUNDS & sent.keys():
                if name not in given and tokens > 1.25 * sent[name] + 32:
                    self._refuse(name)

    def _refuse(self, option: str) -> None:
        if option in _BOUNDS:
            self.refused -= _BOUNDS
        elif option not in self.refused:
            log.warning("%s does not take the option '%s', which is left out from now on", self._address, option)
        self.refused.add(option)


_BOUNDS = {NEW_BOUND, OLD_BOUND}
_OURS = ("extra_body", NEW_BOUND)

FOUND_OUT: dict[tuple[str, str], AcceptedOptions] = {}
"""By address and model, what was found out in this process."""


def accepted_options(settings: EndpointSettings) -> AcceptedOptions:
    """Return what is known of an endpoint and a model; all agents of this process that ask it share it."""
    return FOUND_OUT.setdefault((settings.base_url, settings.model), AcceptedOptions(settings.base_url))


def with_found(settings: VlmSettings) -> VlmSettings:
    """Return the settings with the number of pictures that the endpoint was found to take, where none is set."""
    most = accepted_options(settings).most_pictures
    if most is None or settings.pictures_a_request is not None:
        return settings
    return settings.model_copy(update={"pictures_a_request": most})


def _names(words: str, option: str) -> bool:
    """Return whether the words name an option, not only as a part of another name or in another sense."""
    if option == "detail":
        return re.search(r"image_url\W+(\w+\W+)?detail|['\"`.]detail\b", words) is not None
    return re.search(rf"(?<![\w-]){option}(?![\w-])", words) is not None


def _pictures_in(request: dict[str, Any]) -> int:
    """Return how many pictures a request holds."""
    contents = [message["content"] for message in request["messages"]]
    return sum(part["type"] == "image_url" for parts in contents if isinstance(parts, list) for part in parts)


def _most_pictures(words: str, pictures: int) -> int | None:
    """Return how many pictures a request may hold, if it was refused for holding more."""
    if pictures < 2:
        return None
    if found := _PICTURES.search(words):
        count = (found[1] or found[2]).lower()
        most = _COUNTS.get(count) or int(count)
        return most if 0 < most < pictures else None
    return 1 if _ONE_PICTURE.search(words) else None
