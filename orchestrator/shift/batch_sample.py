"""Which images of a batch are embedded before it is told, to see whether they differ from the labelled ones."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import PIL.Image

from consilience.core.images import Image, ImageSource, Named
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.orchestrator.shift.two_sample import FEWEST_IMAGES, SAMPLE, BatchShift, compared, sampled
from consilience.retrieval.encoders.batch_embedding import Embedded, pixel_bytes
from consilience.retrieval.encoders.encoder import Vectors

AT_ONCE = 64
"""Images at the start of a batch that are compared, where its others cannot be looked at beforehand."""

HELD_PIXEL_BYTES = 256 * 2**20
"""Of images that are embedded ahead, about, until they are decided."""

Embedding = Callable[[Iterable[ImageSource], MutableMapping[str, Vectors]], Iterator[Embedded[ImageSource]]]
"""Embeds sources in batches, those of known vectors without encoding them; more may become known meanwhile."""


@dataclass(frozen=True)
class TestedBatch:
    """A batch that is compared with the labelled images before what becomes of it is told.

    Attributes:
        embedded: the whole batch, embedded as it is asked for; what was embedded already is not encoded again.
        find: compares; `shift` does it once, when it is first asked for. Agents may be at work by then.
    """

    embedded: Iterator[Embedded[ImageSource]]
    find: Callable[[], BatchShift]

    @cached_property
    def shift(self) -> BatchShift:
        """Return what the comparison finds."""
        return self.find()


def tested(images: Iterable[ImageSource], embed: Embedding, reference: Callable[[], ShiftReference]) -> TestedBatch:
    """Return a batch that is compared with the labelled images.

    Of a sequence, a fixed random sample is compared when it is asked what was found; of anything else, or where images
    can be read only once, its first AT_ONCE, now.

    Args:
        reference: made only where there is something to compare.
    """
    if isinstance(images, Sequence) and len(again := [row for row in range(len(images)) if _stays(images[row])]):
        if len(again) < FEWEST_IMAGES:
            return TestedBatch(embed(images, {}), lambda: compared_few(len(images)))
        if len(again) == len(images) <= SAMPLE:
            return _compared_as_embedded(images, embed, reference)
        known = dict[str, Vectors]()
        sample = [images[again[row]] for row in sampled(len(again))]
        return TestedBatch(embed(images, known), lambda: _found(embed(sample, known), known, reference))
    batches = embed(images, {})
    first = deque(_first_batches(batches))
    known = {identity: vector for batch in first for identity, vector in vectors_of(batch).items()}
    shift = (
        compared(reference(), _stacked(known), list(known)) if len(known) >= FEWEST_IMAGES else compared_few(len(known))
    )
    return TestedBatch(_followed(first, batches), lambda: shift)


def _compared_as_embedded(
    images: Sequence[ImageSource], embed: Embedding, reference: Callable[[], ShiftReference]
) -> TestedBatch:
    """Return a batch of so few images that all are compared: as they are embedded, and hardly one twice.

    To tell what is found, the embedding goes on ahead; of its batches HELD_PIXEL_BYTES are kept until they are asked
    for, and what comes after those is read again.
    """
    known, held = dict[str, Vectors](), deque[Embedded[ImageSource]]()
    stream, seen = embed(images, known), 0

    def following() -> Embedded[ImageSource] | None:
        nonlocal seen
        if (batch := next(stream, None)) is not None:
            known.update(vectors_of(batch))
            seen += len(batch.sources)
        return batch

    def left() -> Iterator[Embedded[ImageSource]]:
        while sum(map(pixel_bytes, held)) < HELD_PIXEL_BYTES and (batch := following()) is not None:
            held.append(batch)
        yield from embed(images[seen:], known) if seen < len(images) else ()

    def embedded() -> Iterator[Embedded[ImageSource]]:
        while (batch := held.popleft() if held else following()) is not None:
            yield batch

    return TestedBatch(embedded(), lambda: _found(left(), known, reference))


def _found(
    batches: Iterable[Embedded[ImageSource]], known: dict[str, Vectors], reference: Callable[[], ShiftReference]
) -> BatchShift:
    """Return what the comparison of the known images and these batches finds; they are known from then on."""
    for batch in batches:
        known.update(vectors_of(batch))
    return compared(reference(), _stacked(known), list(known))


def compared_few(images: int) -> BatchShift:
    """Return what is known of too few images: nothing."""
    return BatchShift(images, images, 0, None, None, False)


def vectors_of(batch: Embedded[ImageSource]) -> dict[str, Vectors]:
    """Return the vectors of a batch by the identity of the image."""
    identities = [image.identity for image in batch.images if image is not None]
    return dict(zip(identities, batch.vectors, strict=True))


def _stacked(known: Mapping[str, Vectors]) -> Vectors:
    return np.stack([*known.values()]) if known else np.empty((0, 0), np.float32)


def _stays(source: ImageSource) -> bool:
    """Return whether a source can be read twice, and gives the same image: files, bytes and pictures in memory."""
    holder = source.holder if isinstance(source, Named) else source
    if isinstance(holder, str):
        return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", holder) is None
    return isinstance(holder, (os.PathLike, bytes, bytearray, memoryview, np.ndarray, PIL.Image.Image, Image))


def _first_batches(batches: Iterator[Embedded[ImageSource]]) -> Iterator[Embedded[ImageSource]]:
    seen = 0
    for batch in batches:
        yield batch
        seen += len(batch.sources)
        if seen >= AT_ONCE:
            return


def _followed(
    first: deque[Embedded[ImageSource]], others: Iterator[Embedded[ImageSource]]
) -> Iterator[Embedded[ImageSource]]:
    while first:
        yield first.popleft()  # nobody else holds its pixels
    yield from others


def vector_shift(
    reference: Callable[[], ShiftReference],
    vectors: Vectors,
    identity_of: Callable[[Vectors], str],
    groups: Sequence[str] | None = None,
) -> BatchShift:
    """Return whether images differ from the labelled ones, of vectors alone, float32 (n, d); of very many, a sample.

    Args:
        reference: made only where there is something to compare.
        identity_of: the identity of an image of which only the vector is known.
        groups: n, the name of each image's group; None: not known.
    """
    rows = sampled(len(vectors))
    if len(rows) < FEWEST_IMAGES:
        return compared_few(len(rows))
    ids = [identity_of(vector) for vector in vectors[rows]]
    return compared(reference(), vectors[rows], ids, None if groups is None else [groups[row] for row in rows])
