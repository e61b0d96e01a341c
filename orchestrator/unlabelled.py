"""Images whose labels nobody knows: read, embedded, freed of those that a panel holds with their label."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consilience.agents.base import Features
from consilience.agents.tuning import sample
from consilience.dataset import images_below
from consilience.diagnosis import FailedImage
from consilience.errors import DatasetError
from consilience.images import Image, load_image
from consilience.orchestrator.encoder_record import EncoderRecord
from consilience.orchestrator.gather import Progress, is_vectors, vector_identity
from consilience.retrieval.embedding import embed_many
from consilience.retrieval.encoder import Encoder
from consilience.retrieval.precomputed import load_precomputed
from consilience.settings import Settings


@dataclass(frozen=True)
class Unlabelled:
    """What was found.

    Attributes:
        paths: of the m images; empty where only vectors were given.
        vectors: float32 (m, d), rows of unit length.
        known: images that were passed over because they are labelled, or came twice.
        failed: those that cannot be read.
    """

    paths: tuple[Path, ...]
    vectors: Features
    known: int
    failed: tuple[FailedImage, ...] = ()


def check_source(source: Path) -> None:
    """Raises DatasetError where there is nothing to read: before labelled images are embedded, not after."""
    if is_vectors(source):
        load_precomputed(source, labelled=False)
    elif not images_below(source):
        raise _nothing_left(source, 0, 0)


def read_unlabelled(
    source: Path, encoder: Encoder, labelled: Collection[str], settings: Settings, progress: Progress
) -> Unlabelled:
    """All images below a folder but those whose identity is among the `labelled`.

    Raises:
        DatasetError: the folder cannot be read, or no image is left.
    """
    return _embedded(source, images_below(source), encoder, labelled, settings, progress)


def sampled_unlabelled(
    source: Path, encoder: Encoder, labelled: Collection[str], settings: Settings, progress: Progress
) -> Unlabelled:
    """As `read_unlabelled`, of a folder or of an .npz of vectors; of very many a fixed random part (`tuning.MOST`).

    Raises:
        DatasetError: it cannot be read, or no image is left. EncoderError: the vectors are of another encoder.
    """
    if not is_vectors(source):
        paths = images_below(source)
        return _embedded(source, [paths[row] for row in sample(len(paths))], encoder, labelled, settings, progress)
    given = load_precomputed(source, labelled=False)
    EncoderRecord.of(encoder).check(given.encoder)
    vectors = given.embeddings[sample(len(given.embeddings))]
    rows = {identity: row for row, identity in enumerate(map(vector_identity, vectors)) if identity not in labelled}
    if not rows:
        raise _nothing_left(source, len(vectors), 0)
    return Unlabelled((), vectors[[*rows.values()]], len(vectors) - len(rows))


def _embedded(
    source: Path,
    paths: list[Path],
    encoder: Encoder,
    labelled: Collection[str],
    settings: Settings,
    progress: Progress,
) -> Unlabelled:
    seen, known = set(labelled), 0
    fresh: list[Path] = []
    vectors: list[np.ndarray] = []
    failed: list[FailedImage] = []

    def load(path: Path) -> Image:
        return load_image(path, settings.images)

    done = 0
    for batch in embed_many(paths, encoder, load=load, batch_size=settings.batch_size):
        readable = iter(batch.vectors)
        for path, image, error in zip(batch.sources, batch.images, batch.errors, strict=True):
            if image is None:
                failed.append(FailedImage(str(path), error or DatasetError("unreadable")))
                continue
            vector = next(readable)
            if image.identity in seen:
                known += 1
                continue
            seen.add(image.identity)
            fresh.append(path)
            vectors.append(vector)
        done += len(batch.sources)
        progress("embedding unlabelled images", done, len(paths))
    if not fresh:
        raise _nothing_left(source, known, len(failed))
    return Unlabelled(tuple(fresh), np.stack(vectors), known, tuple(failed))


def _nothing_left(source: Path, known: int, unreadable: int) -> DatasetError:
    return DatasetError(
        f"'{source}' holds no unlabelled image: {known} are labelled or given twice, {unreadable} cannot be "
        "read. Name a folder of other images"
    )
