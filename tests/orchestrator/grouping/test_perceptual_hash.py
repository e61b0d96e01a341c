"""Hashes that stay nearly the same when a picture is resized or saved again."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.orchestrator.grouping import perceptual_hash as module
from consilience.orchestrator.grouping.perceptual_hash import near_hashes, perceptual_hash


def photo(seed: int) -> PIL.Image.Image:
    """Return smooth shapes with grain."""
    rng = np.random.default_rng(seed)
    blobs = PIL.Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    smooth = np.asarray(blobs.resize((320, 240), PIL.Image.Resampling.BICUBIC), dtype=np.float64)
    return PIL.Image.fromarray(np.clip(smooth + rng.normal(0, 8, (240, 320, 1)), 0, 255).astype(np.uint8))


def hash_of(picture: PIL.Image.Image, kind: str = "JPEG", **options: int) -> int:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return perceptual_hash(file.getvalue())


def differing(first: int, second: int) -> int:
    return (first ^ second).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_copies_differ_in_few_bits_and_other_photos_in_many(seed: int) -> None:
    original = hash_of(photo(seed), "PNG")
    for copy in (
        hash_of(photo(seed), quality=30),
        hash_of(photo(seed).resize((96, 72))),
        hash_of(photo(seed).resize((640, 480)), quality=60),
        hash_of(photo(seed).point(lambda value: int(value * 0.8))),
    ):
        assert differing(original, copy) <= 6
    assert differing(original, hash_of(photo(seed + 100))) > 16


def test_a_hash_has_as_many_ones_as_zeros() -> None:
    assert hash_of(photo(0)).bit_count() == 32


@given(
    hashes=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 15), max_size=40),
    bits=st.integers(0, 40),
    most=st.integers(0, 10),
)
def test_near_pairs_are_those_of_a_plain_loop(hashes: list[int], bits: int, most: int) -> None:
    near = {
        (row, other)
        for row, first in enumerate(hashes)
        for other, second in enumerate(hashes)
        if row != other and differing(first, second) <= bits
    }
    usual = {row for row in range(len(hashes)) if sum(pair[0] == row for pair in near) <= most}
    expected = {(row, other) for row, other in near if row < other and {row, other} <= usual}
    pairs = near_hashes(np.array(hashes, dtype=np.uint64), bits, most)
    assert {(row, other) for row, other in pairs.tolist()} == expected
    assert len(pairs) == len(expected)


def test_pairs_are_the_same_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.random.default_rng(0).integers(0, 2**10, 50).astype(np.uint64)
    whole = near_hashes(hashes, 2, 50)
    monkeypatch.setattr(module, "CELLS", 130)
    assert near_hashes(hashes, 2, 50).tolist() == whole.tolist()
    assert len(whole) > 10
