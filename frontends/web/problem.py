"""Problem: an error as JSON (RFC 9457), which says what is wrong and what to do, with the right status."""

from __future__ import annotations

import logging
from http import HTTPStatus

from pydantic import BaseModel, Field
from starlette.responses import Response

from consilience.core.errors import (
    AgentError,
    BudgetSpentError,
    ConsilienceError,
    DiagnosisMissingError,
    HeatMapError,
    HistoryError,
    ImageError,
    MemoryServerError,
    PanelError,
)
from consilience.core.render.phrases import one_line

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUSES: tuple[tuple[type[ConsilienceError], int], ...] = (  # the first that fits, fits
    (ImageError, 422),
    (DiagnosisMissingError, 404),
    (HeatMapError, 404),
    (BudgetSpentError, 503),
    (AgentError, 502),
    (HistoryError, 503),
    (MemoryServerError, 503),
    (PanelError, 503),
    (ConsilienceError, 500),
)


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    title: str = Field(description="the name of the status")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what is wrong, with which input, and what to do")


def problem(status: int, detail: str, retry_after: float | None = None) -> Response:
    """Answer with what is wrong.

    Args:
        retry_after: seconds after which the next try may succeed.
    """
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=one_line(detail, 1000)).model_dump_json()
    headers = {} if retry_after is None else {"retry-after": str(max(1, round(retry_after)))}
    return Response(body, status, headers, MEDIA_TYPE)


def problem_of(error: ConsilienceError) -> Response:
    """Answer with an error; what concerns the server alone, such as where its files lie, is said in its log alone."""
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    if isinstance(error, DiagnosisMissingError):
        return problem(status, "there is no such diagnosis: it was deleted, or the link is incomplete")
    if status >= 500 and not isinstance(error, AgentError):
        log.error("%s: %s", type(error).__name__, error)
        return problem(
            status, f"the server has a problem ({type(error).__name__}), and its log says which: tell whoever runs it"
        )
    return problem(status, str(error))
