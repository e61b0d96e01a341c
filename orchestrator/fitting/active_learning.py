"""Choose which of many unlabelled images a person should label: the few whose labels would help a panel most.

Greedily, the image with the greatest product of

- how unsure the panel's heads are: 1 - (p1 - p2), of their two highest probabilities (margin sampling, Scheffer
  et al. 2001). The Gaussian head is asked where there is one, which with few labels knows best what it does not know
  (chosen on validation images of apple leaves), else all as a committee, by their mean (Seung et al. 1992);
- how typical it is: 1 / its mean distance to the nearest others, labelled or not. With few labels, what lies in a crowd
  tells more than what is odd, since its label speaks for many (TypiClust, Hacohen et al. 2022; weighing uncertainty
  with density: Settles and Craven 2008);
- how far it lies from every image that is labelled, or already chosen, so that no two images alike are asked for
  (core-set, Sener and Savarese 2018).

Distances are 1 - cosine similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilience.agents import Gaussian, Head, LabelledFeatures, kind_of_head
from consilience.agents.base import SIMILARITY_ROWS, nearest_similarities
from consilience.agents.heads.model_selection import sample
from consilience.core.diagnosis import FailedImage
from consilience.core.progress import Progress, quiet
from consilience.core.settings.settings import Settings, settings_or
from consilience.core.task import Task
from consilience.orchestrator.ensemble.cross_fitting import exact_inputs
from consilience.orchestrator.fitting.unlabelled import embed_unlabelled, list_unlabelled
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.runtime.blas_threads import one_blas_thread

CROWD = 20
"""Nearest others that tell how typical an image is, as in TypiClust; on validation images 5 to 40 did as well."""


@dataclass(frozen=True)
class Suggestion:
    """An image that a person should label.

    Attributes:
        path: of the image.
        likely: the two labels that the heads find likeliest.
        uncertainty: of the heads, in [0, 1]; higher = less sure.
        typicality: how close its nearest others are, > 0; higher = more typical.
        distance: to the nearest image that is labelled or was asked for before it, in [0, 2].
    """

    path: Path
    likely: tuple[str, ...]
    uncertainty: float
    typicality: float
    distance: float

    def to_dict(self) -> dict[str, Any]:
        """Return the suggestion as plain data, for JSON."""
        return {
            "path": str(self.path),
            "likely": list(self.likely),
            "uncertainty": self.uncertainty,
            "typicality": self.typicality,
            "distance": self.distance,
        }


@dataclass(frozen=True)
class Suggestions:
    """The images that a person should label.

    Attributes:
        chosen: the images, most helpful first.
        known: how many images were passed over because the panel holds them, or because they came twice.
        failed: the images that cannot be read.
    """

    chosen: tuple[Suggestion, ...]
    known: int
    failed: tuple[FailedImage, ...]


def suggest(
    panel: str | Path,
    folder: str | Path,
    number: int = 10,
    *,
    settings: Settings | None = None,
    progress: Progress = quiet,
    **arguments: Any,
) -> Suggestions:
    """Choose `number` images below a folder to be labelled next, or as many as are left.

    Args:
        panel: the folder of the panel that is to learn from them.
        folder: holds the unlabelled images, at any depth.

    Raises:
        DatasetError: the folder cannot be read, or holds no image that the panel does not know.
        PanelError, EncoderError: as `Diagnoser.open` raises them.
    """
    opened, settings = Panel.open(panel), settings_or(settings, arguments)
    encoder = opened.encoder.open(settings.device)
    pool = embed_unlabelled(
        list_unlabelled(Path(folder), settings.images.follow_links),
        encoder,
        opened.labelled_images.rows.keys(),
        settings,
        progress,
    )
    data, rows = opened.labelled_features(), pool.vectors
    with one_blas_thread():
        committee = mean_prediction(opened.task, to_ask(opened.heads), data, rows)
        uncertainty, typical = one_minus_margin(committee), typicality(rows, data.features)
        chosen = most_helpful(uncertainty * typical, rows, data.features, number)
    names = np.array(opened.task.names)
    return Suggestions(
        tuple(
            Suggestion(
                pool.paths[row],
                tuple(names[np.argsort(-committee[row], kind="stable")[:2]].tolist()),
                float(uncertainty[row]),
                float(typical[row]),
                distance,
            )
            for row, distance in chosen
        ),
        pool.known,
        pool.failed,
    )


def to_ask(heads: Sequence[Head]) -> list[Head]:
    """Return the heads whose uncertainty counts: the Gaussian ones, else all."""
    return [head for head in heads if kind_of_head(head.name) is Gaussian] or list(heads)


def mean_prediction(task: Task, heads: Sequence[Head], data: LabelledFeatures, vectors: np.ndarray) -> np.ndarray:
    """Return the mean of the heads' probabilities, (n, c), for vectors (n, d).

    Without heads it is uniform: all images are equally unsure.
    """
    if not heads:
        return np.full((len(vectors), data.n_labels), 1 / data.n_labels)
    parts = []
    for start in range(0, len(vectors), SIMILARITY_ROWS):
        inputs = exact_inputs(task, data, vectors[start : start + SIMILARITY_ROWS])
        parts.append(np.mean([head.predict_proba(inputs) for head in heads], axis=0))
    return np.concatenate(parts)


def one_minus_margin(probabilities: np.ndarray) -> np.ndarray:
    """Return how unsure rows of probabilities (n, c) are, c >= 2: (n,), in [0, 1]; higher = less sure.

    >>> one_minus_margin(np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.6, 0.3, 0.1]])).round(3).tolist()
    [0.0, 1.0, 0.7]
    """
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.asarray(1.0 - (two[:, 1] - two[:, 0]))


def typicality(vectors: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Return how typical each image is, (n,): 1 / its mean distance to its nearest others.

    Higher means that it lies in a denser place. Of very many images a fixed random part stands for all, so that time
    grows with n and not with n^2.

    Args:
        vectors: of the images, (n, d), rows of unit length.
        labelled: vectors of the labelled images, (m, d), m > 0, rows of unit length.
    """
    n = len(vectors)
    among = sample(n + len(labelled))
    crowd = np.concatenate([vectors[among[among < n]], labelled[among[among >= n] - n]])
    nearest = min(CROWD, len(among) - 1)
    means = []
    for start in range(0, n, SIMILARITY_ROWS):
        distances = 1.0 - vectors[start : start + SIMILARITY_ROWS] @ crowd.T
        distances[np.arange(start, start + len(distances))[:, None] == among] = np.inf  # it is not its own neighbour
        means.append(np.partition(distances, nearest - 1, axis=1)[:, :nearest].mean(axis=1))
    return np.asarray(1.0 / np.maximum(np.concatenate(means), 1e-6))


def most_helpful(worth: np.ndarray, vectors: np.ndarray, labelled: np.ndarray, number: int) -> list[tuple[int, float]]:
    """Return the rows to ask for, in order, each with its distance to the nearest image that is labelled or was chosen.

    Args:
        worth: how much each image helps by itself, (n,).
        vectors: of the unlabelled images, (n, d), rows of unit length.
        labelled: vectors of the labelled images, (m, d), rows of unit length.
        number: how many rows to return, at most.
    """
    distance = (1.0 - nearest_similarities(vectors, labelled)).clip(0.0, 2.0)
    chosen: list[tuple[int, float]] = []
    left = np.ones(len(vectors), dtype=bool)
    for _ in range(min(number, len(vectors))):
        # Where nothing is unsure, distance alone decides.
        row = int(np.argmax(np.where(left, np.maximum(worth, 1e-9) * distance, -1.0)))
        chosen.append((row, float(distance[row])))
        left[row] = False
        distance = np.minimum(distance, (1.0 - vectors @ vectors[row]).clip(0.0, 2.0))
    return chosen
