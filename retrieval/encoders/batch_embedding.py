"""Turning many images into vectors on all cores, in order, with bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from threading import Event
from types import MappingProxyType
from typing import Generic, TypeVar

import numpy as np

from consilience.core.errors import ImageError
from consilience.core.images import Image
from consilience.retrieval.encoders.encoder import Encoder, Vectors

Source = TypeVar("Source")

MAX_PIXEL_BYTES = 256 * 2**20  # a batch of large photographs ends here, however few they are


@dataclass(slots=True)
class Embedded(Generic[Source]):
    """One batch of sources, in the order they came in.

    Attributes:
        sources: n of them.
        images: for each source its image, None where it could not be read.
        errors: for each source why it could not be read, None where it could.
        vectors: float32 (m, d) of unit length, for the m <= n images that could be read, in their order.
    """

    sources: list[Source]
    images: list[Image | None]
    errors: list[ImageError | None]
    vectors: Vectors


def embed_many(
    sources: Iterable[Source],
    encoder: Encoder,
    *,
    load: Callable[[Source], Image],
    batch_size: int = 64,
    workers: int | None = None,
    known: Mapping[str, Vectors] = MappingProxyType({}),
) -> Generator[Embedded[Source], None, None]:
    """Load, prepare and encode images in threads, and yield them in batches in the order of `sources`.

    Each thread takes `encoder.chunk` sources from loading to vectors. At most two chunks a thread are under
    way or waiting to be handed out, plus the batch in the making. Closing the generator, an error or Ctrl-C
    ends the threads after the image or the chunk that they are at.

    Args:
        sources: read lazily, in the caller's thread.
        encoder: makes the vectors.
        load: makes an image of a source, in a thread. An ImageError is reported in the batch, with its
            source, and the others go on; any other error ends the iteration.
        batch_size: images in a batch; the last one may hold fewer, and so may a batch of over 256 MiB of pixels.
        workers: number of threads; None: one for each core that this process may use.
        known: by identity, vectors that the encoder made before: these images are not encoded again.
    """
    threads = workers or usable_cores()
    stop = Event()
    chunks = _chunks(sources, encoder.chunk, batch_size)
    waiting: deque[Future[Embedded[Source]]] = deque()
    parts: list[Embedded[Source]] = []
    seen = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="consilience-embed") as pool:
        try:
            while True:
                for chunk in islice(chunks, 2 * threads - len(waiting)):
                    waiting.append(pool.submit(embed, chunk, encoder, load, stop.is_set, known))
                if not waiting:
                    break
                parts.append(waiting.popleft().result())
                seen += len(parts[-1].sources)
                if seen % batch_size == 0 or sum(map(pixel_bytes, parts)) > MAX_PIXEL_BYTES:
                    yield joined(parts)
                    parts = []
            if parts:
                yield joined(parts)
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _chunks(sources: Iterable[Source], chunk: int, batch_size: int) -> Iterator[list[Source]]:
    """Yield runs of at most `chunk` sources, none of which lies in two batches."""
    remaining = iter(sources)
    taken = 0
    while run := list(islice(remaining, min(chunk, batch_size - taken % batch_size))):
        taken += len(run)
        yield run


def embed(
    sources: Sequence[Source],
    encoder: Encoder,
    load: Callable[[Source], Image],
    is_given_up: Callable[[], bool] = lambda: False,
    known: Mapping[str, Vectors] = MappingProxyType({}),
) -> Embedded[Source]:
    """Load, prepare and encode sources at once, in this thread, and return them as one batch.

    Args:
        sources, encoder, load, known: as for `embed_many`.
        is_given_up: asked before each image; once it answers True, the batch is returned unfinished, without vectors.
    """
    done = Embedded[Source]([*sources], [], [], np.empty((0, encoder.dimension), np.float32))
    prepared, vectors = [], list[Vectors | None]()
    for source in sources:
        if is_given_up():
            return done
        try:
            image = load(source)
        except ImageError as error:
            done.images.append(None)
            done.errors.append(error)
        else:
            done.images.append(image)
            done.errors.append(None)
            vectors.append(known.get(image.identity))
            if vectors[-1] is None:
                prepared.append(encoder.prepare(image))
    if not vectors or is_given_up():
        return done
    encoded = iter(encoder.encode_prepared(np.stack(prepared)) if prepared else ())
    done.vectors = np.stack([next(encoded) if vector is None else vector for vector in vectors])
    return done


def pixel_bytes(batch: Embedded[Source]) -> int:
    """Return what the images of a batch hold in memory."""
    return sum(image.pixels.nbytes for image in batch.images if image is not None)


def joined(parts: Sequence[Embedded[Source]]) -> Embedded[Source]:
    """Return one batch of several, at least one, in their order."""
    return Embedded(
        [source for part in parts for source in part.sources],
        [image for part in parts for image in part.images],
        [error for part in parts for error in part.errors],
        np.concatenate([part.vectors for part in parts]),
    )
