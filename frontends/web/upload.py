"""Upload: reads the body of a request, and no more than is allowed, before anything else is taken for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from consilience.frontends.web.limits import Shares


class Uploads:
    """Bodies that are read, each bounded in bytes and time, and all together in the memory that they take."""

    def __init__(self, max_bytes: int, seconds: float) -> None:
        """Take bodies of at most `max_bytes`, each within `seconds`, and 20 times as much at once."""
        self.max_bytes, self._seconds = max_bytes, seconds
        self._held = Shares("uploads", 20 * max_bytes)

    @asynccontextmanager
    async def reading(self, request: Request) -> AsyncIterator[bytes]:
        """Read the body; the memory that it takes counts until the end.

        Raises:
            HTTPException: 400 it broke off, 408 it takes too long, 413 it is too long.
            TooManyError: those that are being read take too much memory, of all or of this address.
        """
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.max_bytes:
            raise self._too_long()
        address, body, size = address_of(request), bytearray(), 0
        try:
            try:
                async with asyncio.timeout(self._seconds):
                    async for part in request.stream():
                        self._held.take(address, len(part))
                        size += len(part)
                        body += part
                        if size > self.max_bytes:
                            raise self._too_long()
            except TimeoutError:
                raise HTTPException(
                    408, f"the upload took longer than {self._seconds:g} seconds: try again on a faster connection"
                ) from None
            except ClientDisconnect:
                raise HTTPException(400, "the upload broke off: try again") from None
            data = bytes(body)
            body.clear()  # not twice in memory
            yield data
        finally:
            self._held.give_back(address, size)

    def _too_long(self) -> HTTPException:
        return HTTPException(
            413, f"the body is too large: at most {self.max_bytes:,} bytes are allowed here; make the image smaller"
        )


def address_of(request: Request) -> str:
    """Return the network address that a request comes from; empty if unknown."""
    return request.client.host if request.client is not None else ""


def takes_image(path: str) -> bool:
    """Return whether the body of a request to this path is an image; every other body is small."""
    return path == "/v1/diagnose" or path.endswith("/again")


def no_form(request: Request) -> None:
    """Refuse a form: the body is the image.

    Raises:
        HTTPException: 415, it is one.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise HTTPException(415, "send the bytes of the image file as the body, not a form (curl: --data-binary @FILE "
                            "-H 'Content-Type: application/octet-stream')")  # fmt: skip
