"""Read and embed labelled images; leave out doubles and images that stand under several labels; put them in groups."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from consilience.core.dataset import LabelledImage
from consilience.core.diagnosis import FailedImage
from consilience.core.errors import DatasetError
from consilience.core.exif import UNKNOWN_SHOT, Shot
from consilience.core.image_quality import MEASURES, Measures
from consilience.core.images import Image, ImageNotes, load_image
from consilience.core.progress import Progress
from consilience.core.settings.settings import Settings
from consilience.core.sources.labelled_source import read_labelled_source
from consilience.core.sources.stored import openable, shown_address
from consilience.core.task import Task
from consilience.orchestrator.grouping.found_groups import alike_limit, find_groups
from consilience.orchestrator.grouping.given_groups import NONE, given_groups
from consilience.orchestrator.grouping.grouping import NO_GROUPING, Grouping
from consilience.orchestrator.grouping.images_to_group import ImagesToGroup
from consilience.orchestrator.grouping.joining import joined_groups
from consilience.orchestrator.grouping.links import Link
from consilience.retrieval.encoders.batch_embedding import embed_many
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.encoders.open_encoder import open_encoder
from consilience.retrieval.encoders.precomputed import load_precomputed
from consilience.retrieval.memory.labelled_images import AddReport, LabelledImages


@dataclass(frozen=True)
class IngestedImages:
    """The labelled images that could be read.

    Attributes:
        task: as given, else made from the labels.
        encoder: the one that embedded the images.
        labelled_images: labels, sources, groups and vectors.
        report: how many images were new, given twice, or kept out because they stand under several labels.
        failed: images that could not be read.
        ignored: files and folders that are no labelled images.
        by_products: files that other programs made beside the images.
        asides: which links were left out, and how images were read whose files leave that open, a sentence each.
        grouping: where the groups come from.
        links: why images are in one group, where groups were found.
        addresses: of the images that have one, by their source, in which nothing secret stands.
        measures: what tells whether each image can be judged, float32 (n, k); nothing for vectors.
    """

    task: Task
    encoder: Encoder
    labelled_images: LabelledImages
    report: AddReport
    failed: tuple[FailedImage, ...] = ()
    ignored: tuple[Path, ...] = ()
    by_products: tuple[Path, ...] = ()
    asides: tuple[str, ...] = ()
    grouping: Grouping = NO_GROUPING
    links: tuple[Link, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)
    measures: Measures = field(default_factory=lambda: np.empty((0, len(MEASURES)), np.float32))


def is_vectors(source: Path) -> bool:
    """Return whether `source` is an .npz of vectors rather than a folder of images."""
    return source.suffix == ".npz" and not os.path.isdir(source)  # no error for a name that is too long


def ingest(
    source: Path, task: Task | None, settings: Settings, progress: Progress, group: str | None = NONE
) -> IngestedImages:
    """Read a labelled folder, a manifest, or an .npz of vectors.

    Args:
        source: it; see `read_labelled_source` and `load_precomputed`.
        group: the rule for groups, see `given_groups`; None: as a manifest says, else they are found.

    Raises:
        DatasetError: it cannot be used, or no image of a label is left, or the rule for groups does not fit.
        EncoderError: see `open_encoder`.
    """
    ingested = (
        _vectors(source, task, progress, group)
        if is_vectors(source)
        else _images(source, task, settings, progress, group)
    )
    for name in ingested.task.names:
        if not ingested.labelled_images.labels.count(name):
            raise DatasetError(
                f"the label '{name}' has no usable image in '{source}' ({len(ingested.failed)} could not be read, "
                f"{len(ingested.report.conflicts)} stand under several labels). Add images of it, or take the label out"
            )
    return ingested


def _vectors(source: Path, task: Task | None, progress: Progress, rule: str | None) -> IngestedImages:
    vectors = load_precomputed(source)
    task = task or Task.from_labels(sorted(set(vectors.labels)))
    meant = {label: _label_of(task, label, source) for label in dict.fromkeys(vectors.labels)}
    labels = [meant[label] for label in vectors.labels]
    by_rule = given_groups(vectors.names, labels, vectors.groups or [None] * len(labels), rule)
    grouping, groups = by_rule or (NO_GROUPING, [None] * len(labels))
    ids = [vector_identity(vector) for vector in vectors.embeddings]
    named = [group or identity for group, identity in zip(groups, ids, strict=True)]
    empty = _empty(vectors.encoder)
    labelled_images, report = empty.with_added(ids, labels, vectors.names, vectors.embeddings, groups=named)
    ingested = IngestedImages(task, vectors.encoder, labelled_images, report, grouping=grouping)
    if by_rule is not None:
        return ingested
    names = [f"{label}/{name}" for label, name in zip(labelled_images.labels, labelled_images.sources, strict=True)]
    return _with_found_groups(ingested, names, {}, progress)


def _images(
    source: Path, task: Task | None, settings: Settings, progress: Progress, rule: str | None
) -> IngestedImages:
    folder = read_labelled_source(source, task, follow_links=settings.images.follow_links)
    root = source if os.path.isdir(source) else source.parent
    names = [_name_below(root, image.path) for image in folder.images]
    labels, written = [image.label for image in folder.images], [image.group for image in folder.images]
    by_rule = given_groups(names, labels, written, rule)
    grouping, groups = by_rule or (NO_GROUPING, written)
    images = [replace(image, group=group) for image, group in zip(folder.images, groups, strict=True)]
    task = task or Task.from_labels(folder.labels)
    encoder = open_encoder(settings.encoders, device=settings.device)
    added = with_images(_empty(encoder), images, encoder, settings, progress)
    ingested = IngestedImages(
        task=task,
        encoder=encoder,
        labelled_images=added.labelled_images,
        report=added.report,
        failed=added.failed,
        ignored=folder.ignored,
        by_products=folder.by_products,
        asides=(*filter(None, [folder.aside]), *added.asides),
        grouping=grouping,
        measures=added.measures,
        addresses={shown_address(image.path): image.path for image in images if isinstance(image.path, str)},
    )
    if by_rule is not None:
        return ingested
    name_of = {_source_of(image): name for image, name in zip(images, names, strict=True)}
    return _with_found_groups(
        ingested, [name_of[name] for name in added.labelled_images.sources], added.shots, progress
    )


def _with_found_groups(
    ingested: IngestedImages, names: Sequence[str], shots: Mapping[str, Shot], progress: Progress
) -> IngestedImages:
    """Put the images into groups that are found in them; `names` are paths below the labelled folder."""
    labelled_images = ingested.labelled_images
    images = ImagesToGroup(
        labelled_images.ids,
        names,
        [shots.get(identity, UNKNOWN_SHOT) for identity in labelled_images.ids],
        labelled_images.vectors,
        labelled_images.thumbnail,
    )
    progress("finding groups", 0, len(labelled_images))
    limit = alike_limit(labelled_images.vectors, ingested.encoder.name)
    groups = find_groups(images, limit, labelled_images.labels)
    grouped = replace(labelled_images, groups=groups.groups)
    return replace(ingested, labelled_images=grouped, grouping=groups.grouping, links=groups.links)


@dataclass(frozen=True)
class AddedImages:
    """Labelled images with new ones.

    Attributes:
        labelled_images: all.
        report: how many were new or kept out.
        failed: those that cannot be read.
        shots: camera and time of the new ones, by identity.
        measures: what tells whether each new one can be judged, float32 (m, k).
        asides: how images were read whose files leave that open, a sentence each.
    """

    labelled_images: LabelledImages
    report: AddReport
    failed: tuple[FailedImage, ...]
    shots: Mapping[str, Shot]
    measures: Measures
    asides: tuple[str, ...] = ()


def with_images(
    labelled_images: LabelledImages,
    images: Sequence[LabelledImage],
    encoder: Encoder,
    settings: Settings,
    progress: Progress,
    grouping: Grouping = NO_GROUPING,
) -> AddedImages:
    """Add images, embedded in batches.

    Args:
        labelled_images: those that are there.
        images: new ones.
        encoder: the one that embedded those that are there.
        settings: limits on images, and the size of a batch.
        progress: is told how far it is.
        grouping: how the images that are there are grouped: new ones join by the same rule.
    """
    ids: list[str] = []
    labels: list[str] = []
    sources: list[str] = []
    groups: list[str | None] = []
    vectors = [np.empty((0, encoder.dimension), np.float32)]
    thumbnails: dict[str, bytes] = {}
    shots: dict[str, Shot] = {}
    measures = [np.empty((0, len(MEASURES)), np.float32)]
    failed: list[FailedImage] = []
    notes = ImageNotes()

    def load(source: LabelledImage) -> Image:
        image = load_image(openable(source.path) if isinstance(source.path, str) else source.path, settings.images)
        _ = image.measures  # here, in the thread that decoded it
        return image

    done = 0
    for batch in embed_many(images, encoder, load=load, batch_size=settings.batch_size):
        for source, image, error in zip(batch.sources, batch.images, batch.errors, strict=True):
            if image is None:
                failed.append(FailedImage(_source_of(source), error or DatasetError("unreadable")))
            else:
                ids.append(image.identity)
                labels.append(source.label)
                sources.append(_source_of(source))
                groups.append(source.group)
                thumbnails[image.identity], shots[image.identity] = image.thumbnail(), image.shot
                measures.append(image.measures[None])
                notes.add(image)
        vectors.append(batch.vectors)
        done += len(batch.sources)
        progress("embedding images", done, len(images))
    embedded = np.concatenate(vectors)
    new = ImagesToGroup(ids, sources, [shots[identity] for identity in ids], embedded, thumbnails.get)
    joined = joined_groups(new, groups, grouping, labelled_images, encoder.name)
    grown, report = labelled_images.with_added(ids, labels, sources, embedded, thumbnails, joined)
    return AddedImages(grown, report, tuple(failed), shots, np.concatenate(measures), notes.sentences())


def vector_identity(vector: np.ndarray) -> str:
    """Return the identity of an image of which only the vector is known: a hash of the vector."""
    return hashlib.sha256(np.ascontiguousarray(vector, dtype=np.float32).tobytes()).hexdigest()


def _empty(encoder: Encoder) -> LabelledImages:
    return LabelledImages((), (), (), np.empty((0, encoder.dimension), np.float32))


def _source_of(image: LabelledImage) -> str:
    """Return the source that a panel remembers: an absolute path, or an address without what may be secret."""
    return shown_address(image.path) if isinstance(image.path, str) else str(image.path.absolute())


def _name_below(root: Path, path: Path | str) -> str:
    """Return an image's path below a folder, with slashes; its whole path or address where it lies elsewhere."""
    if isinstance(path, str):
        return shown_address(path)
    absolute, above = path.absolute(), root.absolute()
    return (absolute.relative_to(above) if absolute.is_relative_to(above) else absolute).as_posix()


def _label_of(task: Task, label: str, source: Path) -> str:
    if (name := task.find(label)) is None:
        raise DatasetError(f"'{source}' has the label '{label}', which the task lacks; it has {', '.join(task.names)}")
    return name
