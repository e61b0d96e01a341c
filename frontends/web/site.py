"""Site: what the routes share, which is the conversation, its limits, and how they answer."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from consilience.core.diagnosis_record import json_of
from consilience.core.errors import HistoryError
from consilience.core.settings.web_settings import WebSettings
from consilience.frontends.chat.chat import Chat
from consilience.frontends.web.api_models import diagnosis_response
from consilience.frontends.web.guard import BROWSER, cookie
from consilience.frontends.web.heavy_images import HeavyImages
from consilience.frontends.web.limits import Rate, Shares
from consilience.frontends.web.problem import problem
from consilience.frontends.web.prometheus import ServerMetrics
from consilience.frontends.web.upload import Uploads
from consilience.orchestrator.feedback.history import StoredDiagnosis
from consilience.retrieval.encoders.batch_embedding import usable_cores

log = logging.getLogger(__name__)

DiagnosisId = Annotated[str, Path(max_length=64, pattern=r"^[\w-]+$", description="of the diagnosis")]

YEAR_SECONDS = 365 * 86400

DRIFT_SECONDS = 600.0
"""Seconds between two comparisons of the agents with what `fit` measured."""

MAX_BEFORE = 10
"""Diagnoses among which the image before one is looked for: it may have been looked at several times."""

MAX_SMALL_BYTES = 64 * 1024
"""Of a body that is no image: a question, a vote or a token."""

OUTDATED = "The new panel cannot be opened, so the one before it still answers. Please tell whoever runs this server."


@dataclass
class Site:
    """What the routes share.

    Attributes:
        chat: the conversation.
        settings: limits of the page.
        token: what everybody has to sign in with; None: nobody has to.
        metrics: what the server counts.
    """

    chat: Chat
    settings: WebSettings
    token: str | None
    metrics: ServerMetrics = field(default_factory=ServerMetrics)

    def __post_init__(self) -> None:
        self.rate = Rate(self.settings.images_a_minute)
        self.asking = Rate(10 * self.settings.images_a_minute)
        self.guesses = Rate(20)
        self.places = Shares("images", self.settings.queue)
        self.uploads = Uploads(self.settings.max_bytes, self.settings.upload_seconds)
        self.small = Uploads(MAX_SMALL_BYTES, self.settings.upload_seconds)
        self.heavy = HeavyImages(self.chat.diagnoser.settings.images, usable_cores())
        self.metrics.waiting.set_function(lambda: self.places.taken)
        self.drawing = asyncio.Semaphore(1)
        self._comparing = asyncio.Lock()
        self._compared_at = float("-inf")
        self._fallen: list[str] = []

    @property
    def problem(self) -> str | None:
        """Why the panel on disk is not the one in use; None if it is."""
        problem: str | None = getattr(self.chat.diagnoser, "problem", None)
        return problem

    async def notices(self) -> list[str]:
        """Return what people should know before they rely on a diagnosis."""
        async with self._comparing:
            if time.monotonic() - self._compared_at > DRIFT_SECONDS:
                self._fallen = await self._fallen_agents()
                self._compared_at = time.monotonic()
        return [*([OUTDATED] if self.problem is not None else []), *await self._shifted_sources(), *self._fallen]

    async def _shifted_sources(self) -> list[str]:
        """Return a sentence for each source on the web whose images differ from the labelled ones."""
        try:
            shifted = await self.chat.shifted_sources()
        except HistoryError as error:
            log.warning("could not check whether images differ from the labelled ones: %s", error)
            return []
        return [sentence for source, sentence in shifted.items() if source.startswith("web")]

    async def _fallen_agents(self) -> list[str]:
        """Return a sentence for each agent that has become worse since `fit`."""
        try:
            return list((await self.chat.fallen_agents()).values())
        except HistoryError as error:
            log.warning("could not check whether an agent has become worse: %s", error)
            return []

    async def stored(self, id: str) -> StoredDiagnosis:
        """Return a diagnosis with the pictures of its similar cases.

        Raises:
            HistoryError: it is gone, or was never there.
        """
        return await asyncio.to_thread(self.chat.history.get, id, self.chat.diagnoser.memory.labelled_images.thumbnail)

    async def before(self, id: str, person: str) -> str:
        """Return the id of the last diagnosis of another image that a browser asked for before one; empty: none."""
        if not person:
            return ""

        def find() -> str:
            about = self.chat.history.get(id)
            earlier = self.chat.history.find(person=person, channel="web", until=about.when, limit=MAX_BEFORE)
            return next((kept.id for kept in earlier if kept.diagnosis.identity != about.diagnosis.identity), "")

        return await asyncio.to_thread(find)

    async def answer(self, id: str, person: str) -> Response:
        """Answer with a diagnosis and what people say of it; `person`: who asks.

        Raises:
            HistoryError: it is gone, or was never there.
        """

        def read() -> dict[str, Any]:
            return diagnosis_response(self.chat.history.get(id), self.chat.feedbacks.of(id), person)

        return as_json(await asyncio.to_thread(read))


def as_json(data: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON; what is not Unicode in it is written as escapes."""
    return Response(json_of(data), status, headers, "application/json")


def as_picture(data: bytes | None, media_type: str = "image/jpeg") -> Response:
    """Answer with a picture; with 404 if there is none."""
    if data is None:
        return problem(404, "there is no such picture, or it was not kept")
    return Response(data, media_type=media_type, headers={"cache-control": "private, max-age=86400"})


def person_of(request: Request) -> str:
    """Return whose browser it is; empty for a program.

    It is a hash of the cookie: the history need not know what opens somebody's own history.
    """
    browser = cookie(request.headers, BROWSER)
    return f"browser {hashlib.sha256(browser.encode()).hexdigest()[:16]}" if browser else ""


def set_cookie(request: Request, answer: Response, name: str, value: str) -> None:
    """Give a browser a cookie for a year, which no script and no other site can use."""
    is_safe = request.url.scheme == "https"
    answer.set_cookie(name, value, max_age=YEAR_SECONDS, httponly=True, samesite="strict", secure=is_safe)
