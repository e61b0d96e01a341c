"""Upload: reads the bytes of an image, and no more than are allowed."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

MAX_SECONDS = 60.0
"""For an upload: one that trickles would hold a place for ever."""


async def body_of(request: Request, most: int) -> bytes:
    """Return the body, of at most `most` bytes.

    Raises:
        HTTPException: 411 or 400 it has no proper length, 413 it is too long, 415 it is a form, 408 it takes too long.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise HTTPException(415, "send the bytes of the image file as the body, not a form (curl: --data-binary @FILE "
                            "-H 'Content-Type: application/octet-stream')")  # fmt: skip
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > most:
        raise _too_long(most)
    parts: list[bytes] = []
    left = most
    try:
        async with asyncio.timeout(MAX_SECONDS):
            async for part in request.stream():
                left -= len(part)
                if left < 0:
                    raise _too_long(most)
                parts.append(part)
    except TimeoutError:
        raise HTTPException(
            408, f"the upload took longer than {MAX_SECONDS:g} seconds: try again on a faster connection"
        ) from None
    except ClientDisconnect:
        raise HTTPException(400, "the upload broke off: try again") from None
    return b"".join(parts)


def _too_long(most: int) -> HTTPException:
    return HTTPException(413, f"the image is too large: at most {most:,} bytes are allowed here; make it smaller")
