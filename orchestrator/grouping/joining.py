"""Which group of a panel an image joins that comes later: by the panel's own rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from consilience.orchestrator.grouping.average_linkage import sums_of
from consilience.orchestrator.grouping.found_groups import COPY_DISTANCE, MOST_COPIES, alike_limit, find_new_groups
from consilience.orchestrator.grouping.given_groups import MANIFEST
from consilience.orchestrator.grouping.grouping import Grouping
from consilience.orchestrator.grouping.images_to_group import ImagesToGroup
from consilience.orchestrator.grouping.path_pattern import PathPattern
from consilience.orchestrator.grouping.perceptual_hash import COPY_BITS, perceptual_hash
from consilience.retrieval.memory.labelled_images import LabelledImages

BATCH = 256
"""New images that are compared with the panel's at a time."""


def joined_groups(
    images: ImagesToGroup,
    written: Sequence[str | None],
    grouping: Grouping,
    labelled_images: LabelledImages,
    encoder: str,
) -> list[str]:
    """Return the group of each new image: of the panel's groups or one of its own, named by an identity.

    Where groups are given by a pattern, it tells; where they were found, an image joins the group that it is nearly
    equal to on average, or that it is a copy of an image of, and new images that belong together join together.

    Args:
        images: n new images.
        written: the groups that are given for them, which count first; None where none is.
        grouping: the panel's rule.
        labelled_images: the panel's.
        encoder: the name of the encoder that made the vectors.
    """
    joined: list[str | None] = [None] * len(images)
    if grouping.how == "given" and grouping.rule != MANIFEST:
        joined = PathPattern(grouping.rule).groups(images.names)
    elif grouping.how == "found" and grouping.distance is not None and len(images):
        limit = alike_limit(labelled_images.vectors, encoder)
        among_new = find_new_groups(images, limit, grouping.distance).groups
        nearest = _nearest_groups(images, grouping.distance, limit, labelled_images)
        known = dict[str, str]()
        for group, near in zip(among_new, nearest, strict=True):
            if near is not None:
                known.setdefault(group, near)
        joined = [known.get(group, group) for group in among_new]
    own = zip(written, joined, images.ids, strict=True)
    return [group or rule or identity for group, rule, identity in own]


def _nearest_groups(
    images: ImagesToGroup, distance: float, limit: float, labelled_images: LabelledImages
) -> list[str | None]:
    """Return the panel's group that each new image belongs to, None where it belongs to none."""
    if not len(labelled_images):
        return [None] * len(images)
    groups = sorted(set(labelled_images.groups))
    sums, sizes = sums_of(labelled_images.vectors, labelled_images.group_numbers)
    means = sums / sizes[:, None].astype(np.float32)
    nearest: list[str | None] = []
    for start in range(0, len(images), BATCH):
        vectors = images.vectors[start : start + BATCH]
        to_groups, to_images = vectors @ means.T, vectors @ labelled_images.vectors.T
        for row, similarities in enumerate(to_groups):
            closest = int(similarities.argmax())
            if 1 - similarities[closest] <= distance:
                nearest.append(groups[closest])
            else:
                picture = partial(images.thumbnail, images.ids[start + row])
                copied = copied_row(picture, to_images[row], limit, labelled_images)
                nearest.append(None if copied is None else labelled_images.groups[copied])
    return nearest


def copied_row(
    picture: Callable[[], bytes | None], similarities: np.ndarray, limit: float, labelled_images: LabelledImages
) -> int | None:
    """Return the row of the panel's image that an image is a copy of, resized or saved again; None if it is of none.

    Args:
        picture: returns a small JPEG of the image, None where there is none; it is asked where one is like it.
        similarities: cosine similarity to each image of the panel, (n,).
        limit: see `alike_limit`.
        labelled_images: the panel's.
    """
    candidates = np.flatnonzero(1 - similarities <= COPY_DISTANCE * limit)
    if not len(candidates) or (thumbnail := picture()) is None:
        return None
    own = perceptual_hash(thumbnail)
    for row in candidates[np.argsort(-similarities[candidates])][:MOST_COPIES].tolist():
        other = labelled_images.thumbnail(labelled_images.ids[row])
        if other is not None and (own ^ perceptual_hash(other)).bit_count() <= COPY_BITS:
            return int(row)
    return None
