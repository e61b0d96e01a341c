"""Find the labelled images whose label is perhaps wrong: `suspects`.

An image is suspected where the panel, out of fold, names another label than the folder; where a copy of it has another
label; or where it is novel and the panel is not sure of its label, so that it perhaps shows none of the labels. What
the panel believes least comes first: its fused posterior of the given label, out of fold (self-confidence; Northcutt,
Jiang and Chuang, 'Confident learning', JAIR 2021). Of 30 wrong labels planted among 800 apple leaves, 29, 30 and 30
are among the first 40 (three draws; `python -m consilience.evals.benchmarks.label_errors`). The normalised margin finds
as many; cleanlab's `find_label_issues` on the same posteriors 27, 30 and 27 at best.

No agent is asked again: `fit` keeps what each said out of fold. Images of one group were in one fold, so that a copy
under the same wrong label is no witness for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from consilience.core.errors import PanelError
from consilience.core.exif import UNKNOWN_SHOT
from consilience.core.settings.settings import Settings, settings_or
from consilience.orchestrator.ensemble.trust_metrics import OVERCONFIDENT
from consilience.orchestrator.fitting.update import judged_anew
from consilience.orchestrator.grouping.found_groups import alike_limit, copies
from consilience.orchestrator.grouping.images_to_group import ImagesToGroup
from consilience.orchestrator.panel.panel import Panel
from consilience.retrieval.memory.labelled_images import LabelledImages

Suspicion: TypeAlias = Literal["contradicted", "copy", "none-of-these"]
"""The panel names another label; a copy of the image has another label; perhaps it shows none of the labels."""

SHOWN = 40
"""Suspects that are shown, unless asked otherwise."""


@dataclass(frozen=True)
class Suspect:
    """A labelled image whose label is perhaps wrong.

    Attributes:
        id: identity of the image.
        source: path or address that it came from.
        given: its label.
        named: the label that the panel names out of fold; None where no agent judged the image.
        given_probability, named_probability: posterior of these two, out of fold, in [0, 1]; None likewise.
        why: what speaks against the label.
        copy: identity of the copy with another label; None where there is none.
    """

    id: str
    source: str
    given: str
    named: str | None
    given_probability: float | None
    named_probability: float | None
    why: tuple[Suspicion, ...]
    copy: str | None = None

    @property
    def proposed(self) -> str | None:
        """Return the label to give it; None where that is for a person to say."""
        return self.named if "contradicted" in self.why and "none-of-these" not in self.why else None


@dataclass(frozen=True)
class Suspects:
    """Labelled images whose labels are perhaps wrong.

    Attributes:
        panel: whose images they are.
        shown: the suspects, what the panel believes least first.
        total: how many there are in all.
        unjudged: how many labelled images no agent judged out of fold, such as those that came by `add`.
    """

    panel: Panel
    shown: tuple[Suspect, ...]
    total: int
    unjudged: int

    def to_dict(self, suspect: Suspect) -> dict[str, Any]:
        """Return one of the suspects as plain data, for JSON."""
        return {
            "id": suspect.id,
            "source": suspect.source,
            "label": suspect.given,
            "probability": suspect.given_probability,
            "panel_label": suspect.named,
            "panel_probability": suspect.named_probability,
            "why": list(suspect.why),
            "copy": None if suspect.copy is None else self.image(suspect.copy),
            "proposed": suspect.proposed,
        }

    def image(self, identity: str) -> dict[str, str]:
        """Return source and label of an image of the panel."""
        images = self.panel.labelled_images
        row = images.rows[identity]
        return {"source": images.sources[row], "label": images.labels[row]}


def suspects(panel: str | Path, number: int = SHOWN, *, settings: Settings | None = None, **arguments: Any) -> Suspects:
    """Find the images of a panel whose labels are perhaps wrong.

    Args:
        panel: its folder; nothing in it is changed.
        number: how many to show at most, > 0.

    Raises:
        PanelError: it cannot be read; or it was fitted without truth, and has no labels to doubt.
    """
    opened, settings = Panel.open(panel), settings_or(settings, arguments)
    images, judged = opened.labelled_images, opened.predictions
    if opened.agreement is not None:
        raise PanelError(f"the panel '{opened.path}' was fitted without truth: it has no labels that could be wrong")
    n, names = len(images), opened.task.names
    place = {name: label for label, name in enumerate(names)}
    labels = np.array([place[label] for label in images.labels], dtype=np.intp)
    posterior, novelty = np.full((n, len(names)), np.nan), np.zeros(n)
    if judged.ids:
        ensemble, rows = judged_anew(opened, judged, settings), [images.rows[identity] for identity in judged.ids]
        answered = np.isfinite(ensemble.calibrated).all(axis=2).any(axis=0)
        posterior[rows] = np.where(answered[:, None], ensemble.posterior, np.nan)
        novelty[rows] = ensemble.how_novel
    is_judged = np.isfinite(posterior).all(axis=1)
    known = np.where(is_judged[:, None], posterior, 0.0)
    named, given = known.argmax(axis=1), np.where(is_judged, known[np.arange(n), labels], 1.0)
    copy_of = _contradicting_copies(images, opened.encoder.name, given)
    speaks: dict[Suspicion, np.ndarray] = {
        "contradicted": is_judged & (named != labels),
        "copy": np.array([row in copy_of for row in range(n)], dtype=bool),
        "none-of-these": (novelty > settings.policy.max_novelty) & (given < OVERCONFIDENT),
    }
    suspected = np.flatnonzero(np.any([*speaks.values()], axis=0))
    ordered = suspected[np.argsort(given[suspected], kind="stable")]
    shown = tuple(
        Suspect(
            id=images.ids[row],
            source=images.sources[row],
            given=images.labels[row],
            named=names[named[row]] if is_judged[row] else None,
            given_probability=float(given[row]) if is_judged[row] else None,
            named_probability=float(known[row].max()) if is_judged[row] else None,
            why=tuple(reason for reason, holds in speaks.items() if holds[row]),
            copy=images.ids[copy_of[row]] if row in copy_of else None,
        )
        for row in ordered[:number].tolist()
    )
    return Suspects(opened, shown, len(suspected), int((~is_judged).sum()))


def _contradicting_copies(images: LabelledImages, encoder: str, given: np.ndarray) -> dict[int, int]:
    """Return, of each two copies with different labels, the row that is believed less, and the row of the other.

    Args:
        encoder: the name of the one that wrote the vectors.
        given: how far each label is believed, (n,).
    """
    shots = [UNKNOWN_SHOT] * len(images)
    compared = ImagesToGroup(images.ids, images.sources, shots, images.vectors, images.thumbnail)
    less_believed: dict[int, int] = {}
    for first, second in copies(compared, alike_limit(images.vectors, encoder)).tolist():
        if images.labels[first] != images.labels[second]:
            row, other = (first, second) if given[first] < given[second] else (second, first)
            less_believed.setdefault(row, other)
    return less_believed
