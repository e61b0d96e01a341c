"""The application: the JSON API, and the page that speaks it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection
from functools import partial
from importlib.resources import files
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from consilience.core.errors import ConsilienceError
from consilience.core.images import ImageSource
from consilience.core.render.phrases import one_line, source_name
from consilience.core.settings.web_settings import WebSettings
from consilience.frontends.chat.chat import Chat
from consilience.frontends.web.api_models import (
    DiagnosisSummary,
    Turn,
    diagnosis_response,
    diagnosis_response_schema,
    diagnosis_summary,
    turn_response,
)
from consilience.frontends.web.guard import BROWSER, SESSION, Guard, cookie, session_of
from consilience.frontends.web.heat_route import add_heat
from consilience.frontends.web.limits import TooManyError
from consilience.frontends.web.problem import MEDIA_TYPE, Problem, problem, problem_of
from consilience.frontends.web.site import DiagnosisId, Site, as_json, as_picture, person_of, set_cookie
from consilience.frontends.web.upload import address_of, no_form

STATIC = files("consilience.frontends.web") / "static"

MAX_RECENT = 50
"""Diagnoses of a browser that are listed."""

DESCRIPTION = """Diagnoses images with a panel of vision agents. Errors are JSON problems (RFC 9457).
Where sign-in is asked for, send `Authorization: Bearer TOKEN`."""


BODY = {
    "required": True,
    "description": "The bytes of the image file, as they are.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}, "image/*": {}},
}


class QuestionBody(BaseModel):
    """A question about a diagnosis."""

    text: str = Field(min_length=1, max_length=1000, description="'why?', 'who disagreed?', 'show similar cases', ...")


class VoteBody(BaseModel):
    """A person's vote on a diagnosis."""

    label: str | None = Field(max_length=500, description="what the image shows; null: the diagnosis is right")
    none_of_these: bool = Field(default=False, description="whether it shows none of the labels; then label is null")


class TokenBody(BaseModel):
    """What a browser signs in with."""

    token: str = Field(max_length=1000)


class PanelFacts(BaseModel):
    """What a page needs to know before anything is asked."""

    domain: str
    labels: list[str]
    agents: list[str]
    images: int = Field(description="in the image memory")
    max_bytes: int = Field(description="of an image")
    notices: list[str] = Field(description="what people should know before they rely on it")


def create_app(chat: Chat, settings: WebSettings, *, token: str | None, hosts: Collection[str] | None) -> FastAPI:
    """Return the application on an open conversation.

    Args:
        token: what everybody has to sign in with; None: nobody has to.
        hosts: names that it is reached under; None: any.
    """
    site = Site(chat, settings, token)
    errors: dict[int | str, dict[str, Any]] = {"default": {"model": Problem, "content": {MEDIA_TYPE: {}}}}
    app = FastAPI(
        title="Consilience",
        description=DESCRIPTION,
        version="1",
        docs_url=None,  # both would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        responses=errors,
    )
    app.state.site = site
    app.add_middleware(Guard, token=token, hosts=hosts, metrics=site.metrics, guesses=site.guesses, small=site.small)
    _handle_errors(app)
    _add_diagnoses(app, site)
    add_heat(app, site)
    _add_conversation(app, site)
    _add_page_and_panel(app, site)
    return app


def _add_diagnoses(app: FastAPI, site: Site) -> None:
    @app.post(
        "/v1/diagnose",
        status_code=201,
        openapi_extra={"requestBody": BODY},
        responses=_gives_diagnosis(201),
        dependencies=[Depends(no_form)],
    )
    async def diagnose(
        request: Request,
        name: Annotated[str, Query(max_length=255)] = "image",
        source: Annotated[str, Query(max_length=100, description="where images come from, such as a device")] = "",
    ) -> Response:
        """Diagnose one image, and keep the diagnosis.

        Whether the images of a source still are like the labelled ones is watched; if not, all are referred.
        """
        address, person = address_of(request), person_of(request)
        site.rate.take(address)
        async with site.uploads.reading(request) as data:
            try:
                with site.places.holding(address):
                    async with site.heavy.waited_for(data, source_name(name), address) as image:
                        stored = await site.chat.diagnose(
                            image, person=person, channel="web", name=source_name(name), source=source
                        )
            except ConsilienceError:
                site.metrics.failed.inc()
                raise
        site.metrics.diagnosed(stored.diagnosis)
        return as_json(diagnosis_response(stored, (), person), 201, {"location": f"/v1/diagnoses/{stored.id}"})

    @app.get("/v1/diagnoses", responses=_gives(list[DiagnosisSummary]))
    async def diagnoses(request: Request) -> list[DiagnosisSummary]:
        """Return the last diagnoses of this browser, the newest first; programs without its cookie get none."""
        if not (person := person_of(request)):
            return []

        def find() -> list[DiagnosisSummary]:
            recent = site.chat.history.find(person=person, channel="web", limit=MAX_RECENT)
            return [diagnosis_summary(stored) for stored in recent]

        return await asyncio.to_thread(find)

    @app.get("/v1/diagnoses/{id}", responses=_gives_diagnosis(200))
    async def diagnosis(request: Request, id: DiagnosisId) -> Response:
        """Return a diagnosis that was kept."""
        return await site.answer(id, person_of(request))

    @app.get("/v1/diagnoses/{id}/image", responses=_gives_picture("image/jpeg"), response_class=Response)
    async def image(id: DiagnosisId) -> Response:
        """Return the image, made small."""
        return as_picture((await site.stored(id)).thumbnail)

    @app.get("/v1/diagnoses/{id}/cases/{place}", responses=_gives_picture("image/jpeg"), response_class=Response)
    async def case(id: DiagnosisId, place: Annotated[int, Path(ge=0, lt=100)]) -> Response:
        """Return the picture of a similar case."""
        neighbours = (await site.stored(id)).diagnosis.evidence.neighbours
        jpeg = await asyncio.to_thread(neighbours[place].thumbnail) if place < len(neighbours) else None
        return as_picture(jpeg)

    @app.get("/v1/diagnoses/{id}/picture", responses=_gives_picture("image/png"), response_class=Response)
    async def picture(
        request: Request,
        id: DiagnosisId,
        heat: Annotated[bool, Query(description="whether it shows where the agents looked")] = False,
    ) -> Response:
        """Return the diagnosis as one picture, to be kept or sent."""
        site.asking.take(address_of(request))
        async with site.drawing:  # it takes most of a core
            reply = await (site.chat.where(id) if heat else site.chat.show(id))
            drawn = await asyncio.to_thread(reply.pictures[0].draw) if reply.pictures else None
        return as_picture(drawn, "image/png")


def _add_conversation(app: FastAPI, site: Site) -> None:
    @app.post("/v1/diagnoses/{id}/questions", responses=_gives(Turn))
    async def question(request: Request, id: DiagnosisId, body: QuestionBody) -> Turn:
        """Ask about a diagnosis; the answer comes from its record."""
        site.asking.take(address_of(request))
        person = person_of(request)
        before = partial(site.before, id, person)
        return turn_response(await site.chat.ask(id, body.text, person=person, channel="web", before=before))

    @app.post(
        "/v1/diagnoses/{id}/again",
        status_code=201,
        openapi_extra={"requestBody": BODY},
        responses=_gives(Turn, 201),
        dependencies=[Depends(no_form)],
    )
    async def again(request: Request, id: DiagnosisId) -> Turn:
        """Look again at an image that was diagnosed; it was not kept, so it is sent once more."""
        address = address_of(request)
        site.rate.take(address)
        async with site.uploads.reading(request) as data:
            with site.places.holding(address):
                async with site.heavy.waited_for(data, "image", address) as sent:

                    async def image() -> ImageSource:
                        return sent

                    reply = await site.chat.ask(id, "look again", person=person_of(request), channel="web", image=image)
        return turn_response(reply)

    @app.post("/v1/diagnoses/{id}/feedback", responses=_gives(Turn))
    async def feedback(request: Request, id: DiagnosisId, body: VoteBody) -> Turn:
        """Vote that a diagnosis is right, for another label, or for none of them. The last vote of a person counts."""
        site.asking.take(address_of(request))
        task = site.chat.diagnoser.panel.task
        if body.label is not None and task.find(body.label) is None:
            raise HTTPException(422, f"there is no label '{body.label}'; choose one of {', '.join(task.names)}")
        if body.label is not None and body.none_of_these:
            raise HTTPException(422, "the image cannot show a label and none of them: give either")
        action = "none" if body.none_of_these else "right" if body.label is None else "wrong"
        reply = await site.chat.press(id, action, body.label or "", person=person_of(request))
        site.metrics.feedback.labels(action).inc()
        return turn_response(reply)


def _add_page_and_panel(app: FastAPI, site: Site) -> None:
    @app.get("/v1/panel", responses=_gives(PanelFacts))
    async def panel() -> PanelFacts:
        """Return what the panel knows, and what people should know of it."""
        at_work = site.chat.diagnoser.panel
        return PanelFacts(
            domain=one_line(at_work.task.domain),
            labels=[one_line(name) for name in at_work.task.names],
            agents=[one_line(name) for name in at_work.agents],
            images=len(at_work.labelled_images),
            max_bytes=site.settings.max_bytes,
            notices=await site.notices(),
        )

    @app.post("/v1/session", status_code=204, response_class=Response)
    async def sign_in(request: Request, body: TokenBody) -> Response:
        """Sign a browser in: it gets a cookie."""
        site.guesses.take(address_of(request))
        if site.token is None or not secrets.compare_digest(body.token.encode(), site.token.encode()):
            return problem(403, "this is not the token of this server: ask whoever runs it")
        answer = Response(status_code=204)
        set_cookie(request, answer, SESSION, session_of(site.token))
        return answer

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Return whether the server works; 'outdated': the new panel cannot be opened, the one before it is used."""
        return {"status": "ok" if site.problem is None else "outdated"}

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return the server's figures in Prometheus' text format."""
        site.metrics.outdated.set(site.problem is not None)
        return Response(site.metrics.text(), media_type="text/plain; version=0.0.4")

    page = (STATIC / "index.html").read_bytes()
    base = (files("consilience.core.render") / "base.css").read_bytes()

    @app.get("/", include_in_schema=False)
    @app.get("/d/{id}", include_in_schema=False)
    async def index(request: Request) -> Response:
        answer = Response(page, media_type="text/html")
        if not cookie(request.headers, BROWSER):
            set_cookie(request, answer, BROWSER, secrets.token_urlsafe(24))
        return answer

    @app.get("/static/base.css", include_in_schema=False)
    async def base_style() -> Response:
        return Response(base, media_type="text/css", headers={"cache-control": "no-cache"})

    app.mount("/static", StaticFiles(directory=str(STATIC)))


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(ConsilienceError)
    async def refused(_: Request, error: ConsilienceError) -> Response:
        return problem_of(error)

    @app.exception_handler(TooManyError)
    async def busy(_: Request, error: TooManyError) -> Response:
        return problem(error.status, str(error), error.seconds)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        causes = [f"{'.'.join(map(str, cause['loc']))}: {cause['msg']}" for cause in error.errors()]
        return problem(422, "; ".join(causes))


def _gives(model: Any, status: int = 200) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": model}}


def _gives_diagnosis(status: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"content": {"application/json": {"schema": diagnosis_response_schema()}}}}


def _gives_picture(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {}}}}
