"""The images that people upload or link to in Slack. The bot's token goes to Slack's own hosts alone."""

from __future__ import annotations

from urllib.parse import urlsplit

from consilience.core.errors import FetchError
from consilience.core.fetch import Bearer, fetch_image_bytes
from consilience.core.image_limits import ImageLimits
from consilience.core.render.phrases import source_name
from consilience.frontends.slack.request import SlackRequest


def bearer_of(token: str, api_url: str) -> Bearer:
    """Return the bot's token for the hosts of its API: with https://slack.com/api/ for files.slack.com, too."""
    return Bearer(token, (urlsplit(api_url).hostname or "").lower())


def fetched(request: SlackRequest, limits: ImageLimits, bearer: Bearer) -> tuple[bytes, str]:
    """Return the bytes of the image that a request is about, and its name. It blocks.

    Raises:
        FetchError: it was deleted, is no image, is too large, or may not be fetched; says so.
    """
    name = request.name or source_name(urlsplit(request.url).path)
    try:
        return fetch_image_bytes(request.url, limits, bearer if request.file else None), name
    except FetchError as error:
        if request.file and error.status in (404, 410):
            raise FetchError(f"'{name}' was deleted from Slack before it could be fetched; upload it again") from error
        if request.file and error.content_type == "text/html":
            raise FetchError(
                f"Slack shows a page to sign in instead of '{name}': the app lacks the scope files:read, or may not "
                "see this file; install it again from the manifest"
            ) from error
        if request.file and error.content_type:
            raise FetchError(f"'{name}' is {error.content_type}, not an image") from error
        raise
