"""The route that tells where in an image the agents looked, when somebody wants to know."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from starlette.exceptions import HTTPException

from consilience.core.errors import DatasetError
from consilience.frontends.web.api_models import Heat, heat_response
from consilience.frontends.web.site import DiagnosisId, Site
from consilience.frontends.web.upload import address_of

Label = Annotated[str | None, Query(max_length=500)]


def add_heat(app: FastAPI, site: Site) -> None:
    """Add the route to the application."""

    @app.get("/v1/diagnoses/{id}/heat", responses={200: {"model": Heat}})
    async def heat(request: Request, id: DiagnosisId, label: Label = None, other: Label = None) -> Heat:
        """Return which regions of the image speak for a label, and which for another.

        Without `label` it is the diagnosis's own, without `other` the most probable one beside it. It is found out in
        the small picture that was kept; 404 says why where it cannot be.
        """
        site.asking.take(address_of(request))
        try:
            async with site.drawing:  # the encoder looks once more
                found = await site.chat.heat(id, label, other)
        except DatasetError as error:
            raise HTTPException(422, str(error)) from error
        return heat_response(found)
