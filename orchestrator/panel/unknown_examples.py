"""Examples of the unknown: images that people said show none of the panel's labels, kept as vectors without a label.

Where they are learned from feedback they stand beside the labelled images under NONE_OF_THESE, so that an image is
never both; in a panel they lie apart, and no agent learns them as a label.
"""

from __future__ import annotations

from consilience.core.task import NONE_OF_THESE
from consilience.retrieval.memory.labelled_images import LabelledImages


def joined(labelled_images: LabelledImages, unknown: LabelledImages | None) -> LabelledImages:
    """Return the labelled images and behind them the examples of the unknown, under NONE_OF_THESE."""
    if unknown is None:
        return labelled_images
    pictures = {identity: unknown.thumbnail(identity) for identity in unknown.ids}
    kept = {identity: picture for identity, picture in pictures.items() if picture is not None}
    parts = unknown.ids, unknown.labels, unknown.sources, unknown.vectors
    return labelled_images.with_added(*parts, kept, unknown.groups)[0]


def parted(images: LabelledImages) -> tuple[LabelledImages, LabelledImages | None]:
    """Return the labelled images, and the examples of the unknown; None if there are none: what `joined` joined."""
    labels = dict(zip(images.ids, images.labels, strict=True))
    unknown = [identity for identity, label in labels.items() if label == NONE_OF_THESE]
    if not unknown:
        return images, None
    return images.without(unknown), images.without(labels.keys() - set(unknown))


def without_labelled(unknown: LabelledImages | None, labelled_images: LabelledImages) -> LabelledImages | None:
    """Return the examples of the unknown without those that have a label by now; None if none is left."""
    left = None if unknown is None else unknown.without(labelled_images.ids)
    return left if left else None


def without_like(unknown: LabelledImages | None, labelled_images: LabelledImages, label: str) -> LabelledImages | None:
    """Return the examples of the unknown without those most like `label`, which the panel has learned since.

    Nothing says that they show it, but they must not speak against the images that do.
    """
    left = without_labelled(unknown, labelled_images)
    if left is None:
        return None
    nearest = (left.vectors @ labelled_images.vectors.T).argmax(axis=1).tolist()
    gone = [identity for identity, row in zip(left.ids, nearest, strict=True) if labelled_images.labels[row] == label]
    return without_labelled(left.without(gone), labelled_images)
