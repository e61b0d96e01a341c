"""Whether the images of an evaluation come from where the labelled ones come from, found out before they are decided.

OUT/shift.json keeps what was found: a run that goes on must not find something else in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from consilience.core.errors import EvaluationError
from consilience.core.images import Image, load_image
from consilience.core.settings.settings import Settings
from consilience.core.sources.stored import openable, protocol_of, shown_address
from consilience.core.storage.json_text import parsed_json
from consilience.evals.run_log import write_json, written_to
from consilience.evals.source import Source, SourceImage, VectorSource, cases
from consilience.orchestrator.fitting.ingest import vector_identity
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.shift.appearance import (
    SIDE,
    Appearance,
    Difference,
    appearance,
    appearance_of_file,
    differences,
)
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.orchestrator.shift.two_sample import BatchShift, compared, sampled
from consilience.retrieval.encoders.batch_embedding import embed_many
from consilience.retrieval.encoders.encoder import Encoder, Vectors

SHIFT = "shift.json"

STRANGEST = 12
"""Images that are shown beside the nearest labelled ones, where a batch differs."""

LABELLED_LOOKED_AT = 200
"""Labelled images whose appearance is compared, at most."""


@dataclass(frozen=True)
class StrangeImage:
    """An image, and the labelled one that is nearest to it.

    Attributes:
        source, identity: of the image.
        score: how strange it is; about 1 for usual ones.
        nearest: the identity of the nearest labelled image. label: its label. similarity: cosine, [-1, 1].
    """

    source: str
    identity: str
    score: float
    nearest: str
    label: str
    similarity: float


@dataclass(frozen=True)
class ShiftFound(BatchShift):
    """`shift` in metrics.json: see `BatchShift`, and where there is an alarm what differs, and which images most."""

    differences: tuple[Difference, ...] = ()
    strangest: tuple[StrangeImage, ...] = ()

    @property
    def test(self) -> BatchShift:
        """Return the test alone, which is what engines are told."""
        return BatchShift(self.images, self.counted, self.held, self.p, self.mean_rank, self.alarm)


@dataclass
class Encoding:
    """What makes vectors of images in an evaluation: opened once, when it is needed.

    Attributes:
        supplied: the encoder, if the caller opened it.
        known: by identity, the vectors that it made already.
    """

    panel: Panel
    settings: Settings
    supplied: Encoder | None
    known: dict[str, Vectors] = field(default_factory=dict)

    @cached_property
    def encoder(self) -> Encoder:
        """The panel's encoder."""
        return self.supplied if self.supplied is not None else self.panel.encoder.open(self.settings.device)


def shift_found(
    out: Path,
    panel: Panel,
    source: Source,
    labels: Mapping[str, str],
    rows: np.ndarray,
    encoding: Encoding,
) -> ShiftFound:
    """Return whether the chosen rows of a source differ from the labelled images; found out once for each run.

    Args:
        out: the evaluation's folder.
        labels: by the label of the source, the task's.
        rows: that are evaluated, int (n,).
        encoding: makes the vectors of images.

    Raises:
        EvaluationError: what an earlier run found cannot be read.
    """
    path = out / SHIFT
    if path.exists():
        return _read(path)
    wanted = np.zeros(int(rows.max(initial=-1)) + 1, dtype=bool)
    wanted[rows[sampled(len(rows))]] = True
    chosen = list(cases(source, labels, wanted, panel.grouping))
    if isinstance(source, VectorSource):
        panel.encoder.check(source.file.encoder)
        looked_at = _of_vectors(chosen, panel.encoder.dimension)
    else:
        looked_at = _embedded(chosen, encoding)
    reference = panel.shift_reference()
    groups = [group for group in looked_at.groups if group is not None]
    are_known = len(groups) == len(looked_at.ids)  # else those that are alike are put together
    shift = compared(reference, looked_at.vectors, looked_at.ids, groups if are_known else None)
    found = ShiftFound(**shift.to_dict())
    if shift.alarm:
        found = replace(
            found,
            differences=tuple(differences(looked_at.looks, _labelled_looks(panel))),
            strangest=tuple(_strangest(reference, panel, looked_at)),
        )
    with written_to(out):
        write_json(path, asdict(found))
    return found


@dataclass(frozen=True)
class _LookedAt:
    """Images of the sample: names, identities, groups, vectors float32 (n, d), looks (none of vectors alone)."""

    names: list[str]
    ids: list[str]
    groups: list[str | None]
    vectors: Vectors
    looks: list[Appearance]


def _of_vectors(chosen: Sequence[SourceImage], dimension: int) -> _LookedAt:
    usable = [case for case in chosen if case.vector is not None and np.isfinite(case.vector).all()]
    vectors = [case.vector for case in usable if case.vector is not None]
    stacked = np.array(vectors, np.float32).reshape(len(vectors), dimension)
    ids, groups = [vector_identity(vector) for vector in vectors], [case.group for case in usable]
    return _LookedAt([case.name for case in usable], ids, groups, stacked, [])


def _embedded(chosen: Sequence[SourceImage], encoding: Encoding) -> _LookedAt:
    """Load and embed images; those that cannot be read are left out."""
    encoder, settings = encoding.encoder, encoding.settings

    def load(case: SourceImage) -> Image:
        return load_image(openable(case.name), settings.images)

    looked_at = _LookedAt([], [], [], np.empty((0, encoder.dimension), np.float32), [])
    parts = [looked_at.vectors]
    for batch in embed_many(chosen, encoder, load=load, batch_size=settings.batch_size):
        parts.append(batch.vectors)
        for case, image in zip(batch.sources, batch.images, strict=True):
            if image is not None:
                looked_at.names.append(_shown(case.name))
                looked_at.ids.append(image.identity)
                looked_at.groups.append(case.group)
                size = max(image.width, image.height)
                looked_at.looks.append(appearance(image.thumbnail(SIDE), size, image.shot.camera))
    vectors = np.concatenate(parts)
    encoding.known |= dict(zip(looked_at.ids, vectors, strict=True))
    return replace(looked_at, vectors=vectors)


def _labelled_looks(panel: Panel) -> list[Appearance]:
    images = panel.labelled_images
    rows = np.sort(np.random.default_rng(0).permutation(len(images))[:LABELLED_LOOKED_AT])
    looks = (appearance_of_file(images.thumbnail(images.ids[row]), images.sources[row]) for row in rows)
    return [look for look in looks if look is not None]


def _strangest(reference: ShiftReference, panel: Panel, looked_at: _LookedAt) -> list[StrangeImage]:
    """Return the new images that are most strange, and what is nearest to each."""
    scores = reference.scores(looked_at.vectors)
    fresh = [row for row in np.argsort(-scores) if looked_at.ids[row] not in reference.ids][:STRANGEST]
    similarities = looked_at.vectors[fresh] @ panel.labelled_images.vectors.T
    return [
        StrangeImage(
            looked_at.names[row],
            looked_at.ids[row],
            float(scores[row]),
            panel.labelled_images.ids[nearest],
            panel.labelled_images.labels[nearest],
            float(to_all[nearest]),
        )
        for row, to_all in zip(fresh, similarities, strict=True)
        for nearest in [int(to_all.argmax())]
    ]


def _shown(name: str) -> str:
    return shown_address(name) if protocol_of(name) else name.encode("utf-8", "backslashreplace").decode()


def _read(path: Path) -> ShiftFound:
    try:
        data = parsed_json(path.read_bytes())
        parts = {
            "differences": tuple(Difference(**difference) for difference in data["differences"]),
            "strangest": tuple(StrangeImage(**strange) for strange in data["strangest"]),
        }
        return ShiftFound(**data | parts)
    except (OSError, ValueError, TypeError, KeyError) as cause:
        raise EvaluationError(f"'{path}' was damaged ({cause!r}): evaluate again into another folder") from cause
