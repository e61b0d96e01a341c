"""Read and embed images whose labels nobody knows, but for those that a panel holds with their label."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from consilience.agents.base import Features
from consilience.agents.heads.model_selection import sample
from consilience.core.dataset import images_below
from consilience.core.diagnosis import FailedImage
from consilience.core.errors import DatasetError
from consilience.core.images import Image, load_image
from consilience.core.progress import Progress
from consilience.core.settings.settings import Settings
from consilience.core.sources.outside_links import OutsideLinks
from consilience.orchestrator.fitting.ingest import is_vectors, vector_identity
from consilience.orchestrator.panel.encoder_spec import EncoderRecord
from consilience.retrieval.encoders.batch_embedding import embed_many
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.encoders.precomputed import Precomputed, load_precomputed


@dataclass(frozen=True)
class UnlabelledImages:
    """Unlabelled images that could be read.

    Attributes:
        ids: identities of the m images.
        paths: of the images; empty where only vectors were given.
        vectors: float32 (m, d), rows of unit length.
        known: how many images were passed over because they are labelled, or came twice.
        failed: images that cannot be read.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    vectors: Features
    known: int
    failed: tuple[FailedImage, ...] = ()


@dataclass(frozen=True)
class UnlabelledSource:
    """Where unlabelled images are read from.

    Attributes:
        path: a folder, or an .npz of vectors.
        paths: the images below the folder.
        vectors: those in the .npz; None for a folder.
        aside: which links were left out, in a sentence; empty: none.
    """

    path: Path
    paths: tuple[Path, ...] = ()
    vectors: Precomputed | None = None
    aside: str = ""


def list_unlabelled(source: Path, follow_links: bool = False) -> UnlabelledSource:
    """Return the images below a folder, or the vectors in an .npz; nothing is embedded yet.

    Args:
        source: the folder or file.
        follow_links: whether links that lead out of the folder are followed.

    Raises:
        DatasetError: it cannot be read, or the folder holds no image.
    """
    if is_vectors(source):
        return UnlabelledSource(source, vectors=load_precomputed(source, labelled=False))
    links = OutsideLinks(source, follow_links)
    if not (paths := images_below(source, links)):
        if links.left_out:
            raise DatasetError(f"'{source}' holds no images of its own: {links.sentence()}")
        raise _nothing_left(source, 0, 0)
    return UnlabelledSource(source, tuple(paths), aside=links.sentence())


def sample_unlabelled(
    source: UnlabelledSource, encoder: Encoder, labelled: Collection[str], settings: Settings, progress: Progress
) -> UnlabelledImages:
    """Embed unlabelled images as `embed_unlabelled` does; of very many only a fixed random part.

    Raises:
        DatasetError: no image is left. EncoderError: the vectors come from another encoder.
    """
    if source.vectors is None:
        some = tuple(source.paths[row] for row in sample(len(source.paths)))
        return embed_unlabelled(replace(source, paths=some), encoder, labelled, settings, progress)
    EncoderRecord.of(encoder).check(source.vectors.encoder)
    vectors = source.vectors.embeddings[sample(len(source.vectors.embeddings))]
    rows = {identity: row for row, identity in enumerate(map(vector_identity, vectors)) if identity not in labelled}
    if not rows:
        raise _nothing_left(source.path, len(vectors), 0)
    return UnlabelledImages((*rows,), (), vectors[[*rows.values()]], len(vectors) - len(rows))


def embed_unlabelled(
    source: UnlabelledSource, encoder: Encoder, labelled: Collection[str], settings: Settings, progress: Progress
) -> UnlabelledImages:
    """Embed all images but those whose identity is in `labelled`.

    Raises:
        DatasetError: no image is left.
    """
    known, fresh = 0, dict[str, Path]()
    vectors: list[np.ndarray] = []
    failed: list[FailedImage] = []

    def load(path: Path) -> Image:
        return load_image(path, settings.images)

    done = 0
    for batch in embed_many(source.paths, encoder, load=load, batch_size=settings.batch_size):
        readable = iter(batch.vectors)
        for path, image, error in zip(batch.sources, batch.images, batch.errors, strict=True):
            if image is None:
                failed.append(FailedImage(str(path), error or DatasetError("unreadable")))
                continue
            vector = next(readable)
            if image.identity in labelled or image.identity in fresh:
                known += 1
                continue
            fresh[image.identity] = path
            vectors.append(vector)
        done += len(batch.sources)
        progress("embedding unlabelled images", done, len(source.paths))
    if not fresh:
        raise _nothing_left(source.path, known, len(failed))
    return UnlabelledImages((*fresh,), (*fresh.values(),), np.stack(vectors), known, tuple(failed))


def _nothing_left(source: Path, known: int, unreadable: int) -> DatasetError:
    return DatasetError(
        f"'{source}' holds no unlabelled image: {known} are labelled already or given twice, {unreadable} cannot be "
        "read. Name a folder with other images"
    )
