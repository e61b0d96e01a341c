"""Read and embed labelled images; leave out doubles and images that stand under several labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consilience.core.dataset import LabelledImage, read_labelled_folder
from consilience.core.diagnosis import FailedImage
from consilience.core.errors import DatasetError
from consilience.core.images import Image, load_image
from consilience.core.progress import Progress
from consilience.core.settings.settings import Settings
from consilience.core.task import Task
from consilience.retrieval.encoders.batch_embedding import embed_many
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.encoders.open_encoder import open_encoder
from consilience.retrieval.encoders.precomputed import Precomputed, load_precomputed
from consilience.retrieval.memory.labelled_images import AddReport, LabelledImages


@dataclass(frozen=True)
class IngestedImages:
    """The labelled images that could be read.

    Attributes:
        task: as given, else made from the labels.
        encoder: the one that embedded the images.
        labelled_images: labels, sources and vectors.
        report: how many images were new, given twice, or kept out because they stand under several labels.
        failed: images that could not be read.
        ignored: files and folders that are no labelled images.
    """

    task: Task
    encoder: Encoder
    labelled_images: LabelledImages
    report: AddReport
    failed: tuple[FailedImage, ...] = ()
    ignored: tuple[Path, ...] = ()


def is_vectors(source: Path) -> bool:
    """Return whether `source` is an .npz of vectors rather than a folder of images."""
    return source.suffix == ".npz" and not os.path.isdir(source)  # no error for a name that is too long


def ingest(source: Path, task: Task | None, settings: Settings, progress: Progress) -> IngestedImages:
    """Read a labelled folder, or an .npz of vectors.

    Raises:
        DatasetError: it cannot be used, or no image of a label is left. EncoderError: see `open_encoder`.
    """
    if is_vectors(source):
        vectors = load_precomputed(source)
        task = task or Task.from_labels(sorted(set(vectors.labels)))
        labels = [_label_of(task, label, source) for label in vectors.labels]
        labelled_images, report = with_vectors(_empty(vectors.encoder), vectors, labels)
        ingested = IngestedImages(task, vectors.encoder, labelled_images, report)
    else:
        folder = read_labelled_folder(source, task)
        task = task or Task.from_labels(folder.labels)
        encoder = open_encoder(settings.encoder, device=settings.device)
        labelled_images, report, failed = with_images(_empty(encoder), folder.images, encoder, settings, progress)
        ingested = IngestedImages(task, encoder, labelled_images, report, failed, folder.ignored)
    for name in ingested.task.names:
        if not ingested.labelled_images.labels.count(name):
            raise DatasetError(
                f"the label '{name}' has no usable image in '{source}' ({len(ingested.failed)} could not be read, "
                f"{len(report.conflicts)} stand under several labels). Add images of it, or take the label out"
            )
    return ingested


def with_images(
    labelled_images: LabelledImages,
    images: Sequence[LabelledImage],
    encoder: Encoder,
    settings: Settings,
    progress: Progress,
) -> tuple[LabelledImages, AddReport, tuple[FailedImage, ...]]:
    """Add images, embedded in batches.

    Returns:
        The labelled images with the new ones; how many were new or kept out; and those that cannot be read.
    """
    ids: list[str] = []
    labels: list[str] = []
    sources: list[str] = []
    vectors = [np.empty((0, encoder.dimension), np.float32)]
    thumbnails: dict[str, bytes] = {}
    failed: list[FailedImage] = []

    def load(source: LabelledImage) -> Image:
        return load_image(source.path, settings.images)

    done = 0
    for batch in embed_many(images, encoder, load=load, batch_size=settings.batch_size):
        for source, image, error in zip(batch.sources, batch.images, batch.errors, strict=True):
            if image is None:
                failed.append(FailedImage(str(source.path), error or DatasetError("unreadable")))
            else:
                ids.append(image.identity)
                labels.append(source.label)
                sources.append(str(source.path.absolute()))
                thumbnails[image.identity] = image.thumbnail()
        vectors.append(batch.vectors)
        done += len(batch.sources)
        progress("embedding images", done, len(images))
    grown, report = labelled_images.with_added(ids, labels, sources, np.concatenate(vectors), thumbnails)
    return grown, report, tuple(failed)


def with_vectors(
    labelled_images: LabelledImages, vectors: Precomputed, labels: Sequence[str]
) -> tuple[LabelledImages, AddReport]:
    """Add vectors, each under its hash; also return how many were new or kept out."""
    ids = [vector_identity(vector) for vector in vectors.embeddings]
    return labelled_images.with_added(ids, labels, vectors.names, vectors.embeddings, groups=vectors.groups)


def vector_identity(vector: np.ndarray) -> str:
    """Return the identity of an image of which only the vector is known: a hash of the vector."""
    return hashlib.sha256(np.ascontiguousarray(vector, dtype=np.float32).tobytes()).hexdigest()


def _empty(encoder: Encoder) -> LabelledImages:
    return LabelledImages((), (), (), np.empty((0, encoder.dimension), np.float32))


def _label_of(task: Task, label: str, source: Path) -> str:
    if (name := task.find(label)) is None:
        raise DatasetError(f"'{source}' has the label '{label}', which the task lacks; it has {', '.join(task.names)}")
    return name
