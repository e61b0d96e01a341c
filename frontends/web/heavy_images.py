"""Heavy images: those that take long to decode wait for each other, so that they keep no usual one waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from consilience.core.decoding.image_file import decoding_work
from consilience.core.image_limits import ImageLimits
from consilience.core.images import ImageSource, Named, load_image
from consilience.frontends.web.limits import network

HEAVY_PIXELS = 25_000_000
"""Pixels that decoding goes through, over all scans: a usual photo has 12 million, and takes a tenth of a second."""


class HeavyImages:
    """Lets one heavy image of an address through at a time, and of all together as many as half of the cores."""

    def __init__(self, limits: ImageLimits, cores: int) -> None:
        """Decode within limits."""
        self._limits, self._room = limits, asyncio.Semaphore(max(1, cores // 2))
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def waited_for(self, data: bytes, name: str, address: str) -> AsyncIterator[ImageSource]:
        """Give what is to be diagnosed: a usual image as it came, a heavy one decoded, once it is its turn.

        Raises:
            ImageError: a heavy one cannot be read.
        """
        work = await asyncio.to_thread(decoding_work, data, self._limits)
        if work is not None and work <= HEAVY_PIXELS:
            yield data
            return
        turn = self._turns.setdefault(network(address), asyncio.Lock())
        async with turn, self._room:
            yield await asyncio.to_thread(load_image, Named(data, name), self._limits)
