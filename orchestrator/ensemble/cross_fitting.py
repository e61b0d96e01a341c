"""Cross-fitting: what heads and weights say of images that they were not fitted on, from folds that split no group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from consilience.agents import AgentInput, LabelledFeatures, feature_agent
from consilience.agents.heads.folds import count_groups, stratified_folds
from consilience.agents.heads.model_selection import most_similar, parts_of
from consilience.agents.heads.neighbours import K
from consilience.core.task import Task
from consilience.orchestrator.ensemble.error_covariance import ErrorPrior
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.retrieval.encoders.batch_embedding import usable_cores

FOLDS = 20
"""At most; as many as the label in the middle has images, if that is fewer."""

FIVE_FOLDS_FROM = 300
"""From this many images on, 5 folds are enough, and twice as fast."""


def split_into_folds(labels: np.ndarray, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Return the fold of each image, int (n,), as `stratified_folds` does; the images of a group are in one fold.

    The label in the middle decides how many folds there are, so that a rare one does not make them fewer.
    """
    counts = count_groups(labels, groups)
    usual = int(np.median(counts[counts > 0]))
    most = 5 if len(labels) >= FIVE_FOLDS_FROM else FOLDS
    return stratified_folds(labels, min(most, max(usual, 2)), seed, groups)


def out_of_fold(
    name: str, task: Task, data: LabelledFeatures, folds: np.ndarray, on_fold: Callable[[int], None] = lambda _: None
) -> np.ndarray:
    """Return what a kind of head says of each image after it was fitted on the other folds, (n, c).

    Rows of images that are never judged are NaN.

    Args:
        name: of the kind.
        folds: int (n,).
        on_fold: is told how many folds are done.
    """
    kind, raw = feature_agent(name), np.full((len(data.labels), data.n_labels), np.nan)

    def judge(fold: int) -> None:
        known, held_out = data.take(np.flatnonzero(folds != fold)), np.flatnonzero(folds == fold)
        inputs = exact_inputs(task, known, data.features[held_out], K if kind.needs_neighbours else 0)
        raw[held_out] = kind.fit(known).predict_proba(inputs)

    # PyTorch draws from one generator, and takes all cores by itself.
    with ThreadPoolExecutor(1 if kind.trains else usable_cores()) as pool:
        for done, _ in enumerate(pool.map(judge, range(int(folds.max()) + 1)), 1):
            on_fold(done)
    return raw


def fusions_of_others(
    probabilities: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    *,
    spoken: np.ndarray | None = None,
    prior: ErrorPrior | None = None,
    groups: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, Fusion]]:
    """Yield for each fold which images are in it, bool (n,), and the weights that the images of the others support.

    Args:
        probabilities, labels, spoken, prior, groups: of all images, as for `Fusion.from_predictions`.
        folds: int (n,).
    """
    for fold in np.unique(folds):
        others = folds != fold
        first = None if spoken is None else spoken[:, others]
        things = None if groups is None else groups[others]
        yield ~others, Fusion.from_predictions(probabilities[:, others], labels[others], first, prior, things)


def exact_inputs(task: Task, known: LabelledFeatures, features: np.ndarray, k: int = K) -> AgentInput:
    """Return the input for vectors (n, d) whose k neighbours are searched exactly among the known images."""
    k = min(k, len(known.labels))
    nearest, near = np.empty((len(features), k), dtype=np.intp), np.empty((len(features), k), dtype=np.float32)
    for part in parts_of(len(features), len(known.labels)) if k else ():
        nearest[part], near[part] = most_similar(features[part] @ known.features.T, k)
    return AgentInput(task, [None] * len(features), features, known.labels[nearest], near)
