"""How much decoding may be under way in this process, and for how long one file may be decoded."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from consilience.core.errors import ImageError

READ_AT_ONCE = 16_384
"""Bytes that a decoder gets at a time: between two such pieces it can be ended."""


def took_too_long(name: str, seconds: float) -> ImageError:
    """Return the error of a file that takes more than so many seconds to decode."""
    return ImageError(
        f"{name!r} takes more than {seconds:g} s to decode: store it as a plain JPEG or PNG, or raise decode_seconds"
    )


class EndingFile(io.BytesIO):
    """The bytes of one file; reading them ends with an ImageError when decoding them has taken too long.

    Args:
        data: the bytes.
        seconds: of work of this thread, from now on; waiting for others is not counted.
        name: what the message calls the file.
    """

    def __init__(self, data: bytes, seconds: float, name: str) -> None:
        super().__init__(data)
        self._seconds, self._name, self._end = seconds, name, time.thread_time() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` bytes. Raises ImageError when the time is over."""
        if time.thread_time() > self._end:
            raise took_too_long(self._name, self._seconds)
        return super().read(size)


class PixelRoom:
    """The room for pixels that are being decoded at once in this process; whoever waits first gets in first."""

    def __init__(self) -> None:
        self._empty()
        if hasattr(os, "register_at_fork"):  # what other threads decoded is not decoded in a child
            os.register_at_fork(after_in_child=self._empty)

    def _empty(self) -> None:
        self._taken = 0
        self._turn = threading.Lock()
        self._freed = threading.Condition()

    @contextmanager
    def holding(self, pixels: int, most: int) -> Iterator[None]:
        """Wait until `pixels` more are no more than `most`, and hold them in the `with`.

        An image with more than `most` is decoded alone.
        """
        pixels = min(pixels, most)
        with self._turn, self._freed:
            self._freed.wait_for(lambda: self._taken + pixels <= most or not self._taken)
            self._taken += pixels
        try:
            yield
        finally:
            with self._freed:
                self._taken -= pixels
                self._freed.notify_all()


PIXEL_ROOM = PixelRoom()
"""The one of this process."""
