"""Which images of a batch are embedded before it is decided, to see whether they differ from the labelled ones."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import PIL.Image

from consilience.core.images import Image, ImageSource, Named
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.orchestrator.shift.two_sample import FEWEST_IMAGES, BatchShift, compared, sampled
from consilience.retrieval.encoders.batch_embedding import Embedded
from consilience.retrieval.encoders.encoder import Vectors

AT_ONCE = 64
"""Images at the start of a batch that are compared, where its others cannot be looked at beforehand."""

Embedding = Callable[[Iterable[ImageSource], Mapping[str, Vectors]], Iterator[Embedded[ImageSource]]]
"""Embeds sources in batches, those of known vectors without encoding them."""


@dataclass(frozen=True)
class TestedBatch:
    """A batch that was compared with the labelled images before it is decided.

    Attributes:
        shift: what was found.
        embedded: the whole batch, embedded as it is asked for; what was embedded already is not encoded again.
        known: by identity, the vectors of the images that were compared.
    """

    shift: BatchShift
    embedded: Iterator[Embedded[ImageSource]]
    known: Mapping[str, Vectors] = field(default_factory=dict)


def tested(images: Iterable[ImageSource], embed: Embedding, reference: Callable[[], ShiftReference]) -> TestedBatch:
    """Compare a batch with the labelled images.

    Of a sequence, a fixed random sample is looked at before; of anything else, or where images can be read only once,
    its first AT_ONCE.

    Args:
        reference: made only where there is something to compare.
    """
    if isinstance(images, Sequence) and len(again := [row for row in range(len(images)) if _stays(images[row])]):
        if len(again) < FEWEST_IMAGES:
            return TestedBatch(compared_few(len(images)), embed(images, {}))
        known = dict[str, Vectors]()
        for batch in embed([images[again[row]] for row in sampled(len(again))], {}):
            known |= vectors_of(batch)
        shift = compared(reference(), _stacked(known), list(known))
        return TestedBatch(shift, embed(images, known), known)
    batches = embed(images, {})
    first = deque(_first_batches(batches))
    known = {identity: vector for batch in first for identity, vector in vectors_of(batch).items()}
    shift = (
        compared(reference(), _stacked(known), list(known)) if len(known) >= FEWEST_IMAGES else compared_few(len(known))
    )
    return TestedBatch(shift, _followed(first, batches), known)


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
