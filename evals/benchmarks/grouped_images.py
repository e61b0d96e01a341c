"""Images in groups: as a folder has them, or made from its photos; each embedded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from consilience.core.dataset import LabelledImage, read_labelled_folder
from consilience.core.exif import UNKNOWN_SHOT
from consilience.core.images import Image, load_image
from consilience.core.progress import quiet
from consilience.core.settings.settings import Settings
from consilience.evals.benchmarks.retaken import retaken
from consilience.orchestrator.fitting.ingest import ingest, is_vectors
from consilience.orchestrator.grouping.found_groups import alike_limit, find_groups
from consilience.orchestrator.grouping.given_groups import NONE
from consilience.orchestrator.grouping.images_to_group import ImagesToGroup
from consilience.orchestrator.grouping.path_pattern import PathPattern
from consilience.retrieval.encoders.batch_embedding import embed_many
from consilience.retrieval.encoders.open_encoder import open_encoder
from consilience.retrieval.encoders.precomputed import load_precomputed
from consilience.retrieval.memory.labelled_images import LabelledImages


@dataclass(frozen=True)
class Take:
    """One image to embed.

    Attributes:
        number: which copy of the file; 0: the file itself.
    """

    file: LabelledImage
    group: str
    number: int


PARTS = ("train", "val", "test")
"""Parts of a folder that are read, all as one."""


def grouped_images(
    source: Path,
    settings: Settings,
    *,
    rule: str | None = None,
    made: str | None = None,
    copies: int = 1,
    photos: int | None = None,
) -> tuple[LabelledImages, str]:
    """Return the images of a source with their vectors, thumbnails and groups, and the encoder's name.

    Args:
        source: a labelled folder, all its parts, or an .npz of vectors.
        rule: how a path tells the group, as for `fit`; None: each file is a group of its own.
        made: a key of `retaken.COPIES`; then each photo stands with its copies, and they are a group.
        copies: images of each photo, itself included.
        photos: so many files a label, drawn by `settings.seed`; None: all.

    Raises:
        DatasetError: it cannot be used. EncoderError: see `open_encoder`.
    """
    if is_vectors(source):
        rule = NONE if load_precomputed(source).groups is None else None
        ingested = ingest(source, None, settings, quiet, rule)
        return ingested.labelled_images, ingested.encoder.name
    files = _chosen(_files_of(source), photos, settings.seed)
    groups = [str(file.path) for file in files] if rule is None else _groups_of(files, rule, source)
    numbers = range(copies if made else 1)
    takes = [Take(file, group, number) for file, group in zip(files, groups, strict=True) for number in numbers]
    encoder = open_encoder(settings.encoders, device=settings.device)
    images = LabelledImages((), (), (), np.empty((0, encoder.dimension), np.float32))

    def load(take: Take) -> Image:
        return retaken(load_image(take.file.path, settings.images), made or "", take.number)

    for batch in embed_many(takes, encoder, load=load, batch_size=settings.batch_size):
        read = [(take, image) for take, image in zip(batch.sources, batch.images, strict=True) if image is not None]
        images = images.with_added(
            [image.identity for _, image in read],
            [take.file.label for take, _ in read],
            [_name(take, image) for take, image in read],
            batch.vectors,
            {image.identity: image.thumbnail() for _, image in read},
            [take.group for take, _ in read],
        )[0]
    return images, encoder.name


def with_found_groups(images: LabelledImages, encoder: str) -> LabelledImages:
    """Return the images in the groups that `fit` finds in them."""
    names = [f"{label}/{Path(source).name}" for label, source in zip(images.labels, images.sources, strict=True)]
    shots = [UNKNOWN_SHOT] * len(images)  # the copies of a photo have no time of their own
    known = ImagesToGroup(images.ids, names, shots, images.vectors, images.thumbnail)
    return replace(images, groups=find_groups(known, alike_limit(images.vectors, encoder), images.labels).groups)


def _files_of(source: Path) -> list[LabelledImage]:
    """Return the files of all parts; of the folder itself, where it has none."""
    parts = [source / part for part in PARTS if (source / part).is_dir()]
    return [file for part in parts or [source] for file in read_labelled_folder(part, splits=()).images]


def _groups_of(files: Sequence[LabelledImage], rule: str, source: Path) -> list[str]:
    names, labels = [Path(file.path).relative_to(source).as_posix() for file in files], [file.label for file in files]
    return PathPattern(rule).checked_groups(names, labels)


def _chosen(files: Sequence[LabelledImage], photos: int | None, seed: int) -> list[LabelledImage]:
    """Return so many of each label at most, in order."""
    rng, labels = np.random.default_rng(seed), np.array([file.label for file in files])
    rows = [rng.permutation(np.flatnonzero(labels == label))[:photos] for label in dict.fromkeys(labels.tolist())]
    return [files[row] for row in np.sort(np.concatenate(rows))]


def _name(take: Take, image: Image) -> str:
    """Return the file's path; of a copy one that does not tell what it is a copy of."""
    path = Path(take.file.path)
    return str(path if take.number == 0 else path.with_name(f"{image.identity[:16]}.png"))
