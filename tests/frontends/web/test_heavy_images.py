"""Images that take long to decode wait for each other, and keep no others waiting."""

from __future__ import annotations

import asyncio

import pytest

from consilience.core.decoding.image_file import decoding_work
from consilience.core.errors import ImageError
from consilience.core.image_limits import DEFAULT_LIMITS
from consilience.core.images import Image, load_image
from consilience.evals.benchmarks.speed.under_attack import scan_bomb
from consilience.frontends.web.heavy_images import HeavyImages
from tests.support.web_server import png

BOMB, PLAIN = scan_bomb(512, 100), png("circle", 1)


def test_the_work_is_that_of_every_scan() -> None:
    assert decoding_work(BOMB, DEFAULT_LIMITS) == 512 * 512 * 100
    assert decoding_work(PLAIN, DEFAULT_LIMITS) == 96 * 96
    assert decoding_work(b"hello", DEFAULT_LIMITS) is None


async def _is_over(heavy: HeavyImages, address: str) -> None:
    async with heavy.waited_for(BOMB, "bomb.jpg", address):
        pass


def test_one_address_has_one_at_a_time_and_usual_images_wait_for_none() -> None:
    async def scenario() -> None:
        heavy = HeavyImages(DEFAULT_LIMITS, cores=4)
        async with heavy.waited_for(BOMB, "bomb.jpg", "a") as image:
            assert isinstance(image, Image)
            assert (image.source, image.identity) == ("bomb.jpg", load_image(BOMB).identity)
            second = asyncio.create_task(_is_over(heavy, "a"))
            async with heavy.waited_for(PLAIN, "plain.png", "a") as data:
                assert data is PLAIN
            await _is_over(heavy, "b")
            assert not second.done()
        await second

    asyncio.run(scenario())


def test_all_together_take_half_of_the_cores() -> None:
    async def scenario() -> None:
        heavy = HeavyImages(DEFAULT_LIMITS, cores=2)
        async with heavy.waited_for(BOMB, "bomb.jpg", "a"):
            other = asyncio.create_task(_is_over(heavy, "b"))
            async with heavy.waited_for(PLAIN, "plain.png", "b"):
                assert not other.done()
        await other

    asyncio.run(scenario())


def test_what_does_not_tell_how_large_it_is_is_refused_as_elsewhere() -> None:
    async def scenario() -> None:
        async with HeavyImages(DEFAULT_LIMITS, 2).waited_for(b"hello", "leaf.png", "a"):
            pass

    with pytest.raises(ImageError, match="is not an image"):
        asyncio.run(scenario())
