"""Choose which heads a panel needs: `--agents auto`.

All heads that the images and the encoder allow are fitted. Then, one after another, the head goes whose absence costs
the fusion least, until each that is left would be missed: without it the out-of-fold log loss would rise by WORTH or
more, and by more than one standard error of the paired differences (the rule of Breiman et al. 1984: the simplest that
none beats by more). The losses come from weights that were fitted on other folds, so that a head which only adds noise
shows as such.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consilience.agents import FEATURE_AGENTS, LabelledFeatures, on_each_eye
from consilience.agents.heads.model_selection import MAX_JUDGED_IMAGES, mean_and_error
from consilience.agents.heads.on_eye import AT
from consilience.core.task import Task
from consilience.orchestrator.ensemble.cross_fitting import fusions_of_others
from consilience.orchestrator.ensemble.error_covariance import ErrorPrior
from consilience.orchestrator.ensemble.members import AgentChoice
from consilience.orchestrator.ensemble.scaling import log_probabilities
from consilience.orchestrator.fitting.expected_errors import error_prior_of
from consilience.orchestrator.fitting.fit_ensemble import FittedEnsemble, first_looks, fit_ensemble

AUTO = "auto"
"""In the place of agents' names: choose them."""

WORTH = 0.005
"""Log loss, in nats an image, below which nobody would notice: half a percent of the probability of the truth."""


def candidates(data: LabelledFeatures) -> tuple[list[str], list[AgentChoice]]:
    """Return the names of the heads that can be tried on these images, and why the others cannot."""
    names, out = [], []
    fewest = int(np.bincount(data.labels, minlength=data.n_labels).min())
    for name in on_each_eye(FEATURE_AGENTS, data.eyes):
        kind, texts = FEATURE_AGENTS[name.partition(AT)[0]], data.texts_of.get(name.partition(AT)[2], data)
        if kind.needs_text and texts.texts is None:
            out.append(AgentChoice(name, False, "not tried: the encoder cannot read text"))
        elif kind.needs_tower and texts.tower is None:
            out.append(AgentChoice(name, False, "not tried: this encoder's text tower cannot be trained"))
        elif kind.needs_unlabelled and data.unlabelled is None:
            out.append(AgentChoice(name, False, "not tried: no unlabelled images were given"))
        elif kind.trains and (fewest < 2 or len(data.labels) > MAX_JUDGED_IMAGES):
            reason = (
                f"not tried: it needs at least 2 images of each label (the rarest has {fewest}) and at most "
                f"{MAX_JUDGED_IMAGES:,} in all (there are {len(data.labels):,})"
            )
            out.append(AgentChoice(name, False, reason))
        else:
            names.append(name)
    return names, out


def select(fitted: FittedEnsemble, task: Task, data: LabelledFeatures) -> tuple[FittedEnsemble, list[AgentChoice]]:
    """Return the ensemble without the heads that nobody would miss, and why each was kept or dropped.

    Agents that are no heads were asked for by name, and stay.

    Args:
        data: the labelled images that `fitted` comes from.
    """
    heads = [head.name for head in fitted.heads]
    first = first_looks(fitted.members, fitted.calibrated)
    judged = fitted.folds >= 0
    if not judged.any():
        return fitted, [AgentChoice(name, True, "kept: no labelled image is left to judge it by") for name in heads]
    agents = [member.agent for member in fitted.members]
    first, labels, folds = first[:, judged], data.labels[judged], fitted.folds[judged]

    def losses(without: Sequence[str]) -> np.ndarray:
        rows = [number for number, agent in enumerate(agents) if agent not in without]
        return _losses(first[rows], labels, folds, error_prior_of([agents[row] for row in rows], len(labels)))

    dropped: list[str] = []
    choices: list[AgentChoice] = []
    now = losses(dropped)
    while True:
        left = [name for name in heads if name not in dropped]
        if len(set(agents)) - len(dropped) < 2:
            missed = dict.fromkeys(left, (np.inf, 0.0))
        else:
            without = {name: losses([*dropped, name]) for name in left}
            missed = {name: mean_and_error(loss - now) for name, loss in without.items()}
        least = min(left, key=lambda name: missed[name][0] - missed[name][1], default=None)
        if least is None or missed[least][0] > max(missed[least][1], WORTH):
            break
        dropped.append(least)
        choices.append(
            AgentChoice(least, False, f"dropped: predictions are as good without it ({_change(*missed[least])})")
        )
        now = without[least]
    choices = [*(AgentChoice(name, True, _kept(*missed[name])) for name in left), *choices]
    if not dropped:
        return fitted, choices
    remaining = tuple(head for head in fitted.heads if head.name not in dropped)
    looks = [look for look in fitted.looks if look.agent not in dropped]
    return fit_ensemble(remaining, looks, task, data, fitted.folds), choices


def _losses(first: np.ndarray, labels: np.ndarray, folds: np.ndarray, prior: ErrorPrior) -> np.ndarray:
    """Return the negative log posterior of the true label, (n,), each from weights fitted on the other folds."""
    posterior = np.empty(first.shape[1:])
    for held_out, others in fusions_of_others(first, labels, folds, prior=prior):
        posterior[held_out] = others.posterior(first[:, held_out])[0]
    return np.asarray(-log_probabilities(posterior)[np.arange(len(labels)), labels])


def _kept(mean: float, error: float) -> str:
    """Return why an agent is kept, from the change of the log loss without it."""
    if np.isinf(mean):
        return "kept: no other agent is left"
    return f"kept: predictions get worse without it ({_change(mean, error)})"


def _change(mean: float, error: float) -> str:
    """Return the change of the log loss, in nats an image, with its standard error."""
    return f"log loss {mean:+.4f}, standard error {error:.4f}"
