"""Turn labelled features into what a panel learns: fitted heads, calibrators, trust, fusion and novelty.

Everything that judges an agent is out of fold: the labelled images are split into folds, the images of a group in one;
an image's prediction comes from heads that were fitted on the other folds, its calibrated prediction from calibrators
fitted on the others' predictions, and its fused posterior from weights fitted on the others' calibrated predictions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TypedDict

import numpy as np

from consilience.agents import Head, LabelledFeatures, feature_agent
from consilience.agents.heads.folds import UNJUDGED
from consilience.core.errors import AgentError
from consilience.core.prediction import FailureTally
from consilience.core.progress import Progress
from consilience.core.task import Task
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.decision.case_summary import REASONER
from consilience.orchestrator.decision.second_look import SecondLookAnswers
from consilience.orchestrator.ensemble.calibration import FITTED_TO_HEADS, fit_calibrator
from consilience.orchestrator.ensemble.confusion import calibrated_statements
from consilience.orchestrator.ensemble.contributions import Contribution, contributions_of
from consilience.orchestrator.ensemble.cross_fitting import fusions_of_others, out_of_fold, split_into_folds
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.orchestrator.ensemble.members import LEFT_OUT, AgentChoice, Member
from consilience.orchestrator.ensemble.scaling import Calibrator, TemperatureScaling
from consilience.orchestrator.ensemble.trust_metrics import measure
from consilience.orchestrator.fitting.collect import MemberAnswers, named_labels, predictions_of_others
from consilience.orchestrator.fitting.expected_errors import error_prior_of
from consilience.orchestrator.fitting.fit_context import FitContext
from consilience.orchestrator.novelty.novelty_score import Novelty
from consilience.orchestrator.runtime.blas_threads import one_blas_thread
from consilience.orchestrator.runtime.calls import run_sync
from consilience.retrieval.encoders.batch_embedding import usable_cores


class PanelParts(TypedDict):
    """The parts of a `Panel` that are learned from labelled images, by its attribute."""

    heads: tuple[Head, ...]
    members: tuple[Member, ...]
    fusion: Fusion
    calibration_set: CalibrationSet
    second_looks: SecondLookAnswers
    novelty: Novelty | None
    contributions: tuple[Contribution, ...]


@dataclass(frozen=True)
class FittedEnsemble:
    """The parts of a panel that are learned, with the predictions that they were learned from.

    Attributes:
        heads: fitted on all images.
        members: every look with its calibrator and trust; first looks before second looks.
        fusion: weighs the members.
        calibration_set: what the fusion says of the labelled images, out of fold.
        second_looks: the agents' second looks at the labelled images.
        looks: the raw answers of the members, in their order.
        folds: the fold of each of the n images, int (n,).
        calibrated: the calibrated answers, out of fold (a, n, c); rows of NaN where an agent did not answer, of SILENT
            where it named nothing.
        posterior: the fused first looks, out of fold, (n, c).
        weights: of each look in that posterior, (n, a).
        novelty: what images are compared with; None where no image could be judged, or none was looked at.
        how_novel: the novelty of the labelled images, out of fold, (n,); 0 for those that could not be judged.
        contributions: what each agent adds, out of fold.
        left_out: agents of which too few answers are there to judge them, and why.
        unanswered: which looks of the others did not answer about some images, and why, a sentence each.
    """

    heads: tuple[Head, ...]
    members: tuple[Member, ...]
    fusion: Fusion
    calibration_set: CalibrationSet
    second_looks: SecondLookAnswers
    looks: tuple[MemberAnswers, ...]
    folds: np.ndarray
    calibrated: np.ndarray
    posterior: np.ndarray
    weights: np.ndarray
    novelty: Novelty | None
    how_novel: np.ndarray
    contributions: tuple[Contribution, ...] = ()
    left_out: tuple[AgentChoice, ...] = ()
    unanswered: tuple[str, ...] = ()

    def parts(self) -> PanelParts:
        """Return the parts that a panel holds."""
        return {
            "heads": self.heads,
            "members": self.members,
            "fusion": self.fusion,
            "calibration_set": self.calibration_set,
            "second_looks": self.second_looks,
            "novelty": self.novelty,
            "contributions": self.contributions,
        }


def fit_agents(context: FitContext, kinds: Sequence[str]) -> FittedEnsemble:
    """Fit feature agents, judge them and the context's other agents out of fold, and learn how to weigh them.

    Args:
        kinds: names of feature agents to fit.

    Raises:
        AgentError: there is no agent, two have one name, or every agent failed on so many images that it cannot be
            judged. An agent of several that did is left out.
        BudgetSpentError: the answers would cost more than they may.
    """
    task, data, progress = context.task, context.data, context.progress
    names = [*kinds, *(agent.name for agent in context.others)]
    if not names or len(set(names)) != len(names):
        raise AgentError(f"a panel needs at least one agent, and each name once; it got: {', '.join(names) or 'none'}")
    folds = split_into_folds(data.labels, context.seed, data.groups)
    n_folds = int(folds.max()) + 1
    looks: list[MemberAnswers] = []
    heads: list[Head] = []
    with one_blas_thread():
        for name in kinds:
            what = f"fitting {name}"
            progress(what, 0, n_folds + 1)
            raw = out_of_fold(name, task, data, folds, partial(_fold_done, progress, what, n_folds + 1))
            looks.append(MemberAnswers(name, "first", raw, calibrators=FITTED_TO_HEADS))
            heads.append(feature_agent(name).fit(data))
            progress(what, n_folds + 1, n_folds + 1)
    failed: dict[str, str] = {}
    if context.others:
        looks += run_sync(predictions_of_others(context, looks, failed=failed))
    return judged_ensemble(tuple(heads), looks, context, folds, failed)


def judged_ensemble(
    heads: tuple[Head, ...],
    looks: Sequence[MemberAnswers],
    context: FitContext,
    folds: np.ndarray,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> FittedEnsemble:
    """Return what the looks teach of which enough answers are there; an agent of several that cannot be judged goes.

    Args:
        heads: fitted on all images; they can always be judged.
        looks: raw answers on the n labelled images, one entry an agent and stage.
        folds: of the images, int (n,).
        failed: by agent, why it is left out already.

    Raises:
        AgentError: no agent can be judged.
    """
    failed, kinds = dict(failed), {head.name for head in heads}
    judged = [look for look in looks if look.agent in kinds or _can_be_judged(look, folds)]
    for look in looks:
        if look not in judged and look.stage == "first":
            failed[look.agent] = _too_few(look)
    judged = [look for look in judged if look.agent not in failed]
    if not judged:
        raise AgentError("; ".join(f"the agent '{agent}' {cause}" for agent, cause in failed.items()))
    left_out = tuple(AgentChoice(agent, False, f"{LEFT_OUT}: it {cause}") for agent, cause in failed.items())
    failures = FailureTally()
    for look in looks:
        if look.agent not in failed:
            failures.add(look.predictions)
    context.progress("weighing agents", 0, len(judged))
    fitted = fit_ensemble(heads, judged, context.task, context.data, folds)
    context.progress("weighing agents", len(judged), len(judged))
    return replace(fitted, left_out=left_out, unanswered=tuple(failures.sentences))


def _fold_done(progress: Progress, what: str, total: int, done: int) -> None:
    progress(what, done, total)


def _can_be_judged(look: MemberAnswers, folds: np.ndarray) -> bool:
    """Return whether an agent answered images of two folds at least, so that one can judge what the other taught."""
    return len(np.unique(folds[np.isfinite(look.raw).all(axis=1)])) > 1


def _too_few(look: MemberAnswers) -> str:
    answered = int(np.isfinite(look.raw).all(axis=1).sum())
    causes = Counter(prediction.error for prediction in look.predictions if prediction.error is not None)
    cause = f". The cause: {causes.most_common(1)[0][0]}" if causes else ""
    return (
        f"gave a {look.stage} prediction for {answered} of {len(look.raw)} labelled images: too few to measure how "
        f"good it is{cause}"
    )


def fit_ensemble(
    heads: tuple[Head, ...],
    looks: Sequence[MemberAnswers],
    task: Task,
    data: LabelledFeatures,
    folds: np.ndarray,
) -> FittedEnsemble:
    """Judge each look, learn how to weigh them all, and how novel images are beside the labelled ones.

    Args:
        heads: fitted on all images; they are passed on.
        looks: raw answers on the n labelled images, one entry an agent and stage.
        data: features and labels of the images.
        folds: of the images, int (n,).

    Raises:
        AgentError: an agent answered for too few images.
    """
    labels, groups = data.labels, data.groups
    looks = in_order(looks)
    prior = error_prior_of([look.agent for look in looks], len(labels))
    with one_blas_thread():
        members, calibrated = judge_all(looks, labels, folds, task)
        first = first_looks(members, calibrated)
        again = {
            member.agent: with_second_look(members, calibrated, member.agent)
            for member in members
            if member.stage == "second"
        }
        posterior, weights = np.empty(first.shape[1:]), np.empty((len(labels), len(looks)))
        posteriors_again = {agent: np.empty_like(posterior) for agent in again}
        fusions = [*fusions_of_others(calibrated, labels, folds, spoken=first, prior=prior, groups=groups)]
        for held_out, others in fusions:
            posterior[held_out], weights[held_out] = others.posterior(first[:, held_out])
            for agent, pooled in posteriors_again.items():
                pooled[held_out] = others.posterior(again[agent][:, held_out])[0]
        seen = answered_by_any(first)  # where nobody could be asked nothing is learned
        calibration_sets_again = {
            agent: CalibrationSet.of(pooled[seen], labels[seen], groups[seen])
            for agent, pooled in posteriors_again.items()
        }
        named = np.stack([named_labels(look.raw) for look in looks])
        firsts = [
            number for number, member in enumerate(members) if member.stage == "first" and member.agent != REASONER
        ]
        novelty, how_novel, is_judged = None, np.zeros(len(labels)), folds != UNJUDGED
        if is_judged.any() and data.features.shape[1]:
            novelty, how_novel[is_judged] = Novelty.fit(data, folds, calibrated[firsts])
        return FittedEnsemble(
            heads=heads,
            members=tuple(members),
            fusion=Fusion.from_predictions(calibrated, labels, first, prior, groups),
            calibration_set=replace(
                CalibrationSet.of(posterior[seen], labels[seen], groups[seen]), again=calibration_sets_again
            ),
            second_looks=second_looks(looks, calibrated, labels),
            looks=tuple(looks),
            folds=folds,
            calibrated=calibrated,
            posterior=posterior,
            weights=weights,
            novelty=novelty,
            how_novel=how_novel,
            contributions=contributions_of(members, first, named, labels, groups, fusions, task.names),
        )


def second_looks(looks: Sequence[MemberAnswers], calibrated: np.ndarray, labels: np.ndarray) -> SecondLookAnswers:
    """Return the second looks among `looks`, with what the same agents named at first.

    Args:
        calibrated: the answers of all looks, calibrated, (a, n, c).
        labels: the true labels, int (n,).
    """
    places = {(look.agent, look.stage): number for number, look in enumerate(looks)}
    again = [look.agent for look in looks if look.stage == "second"]
    first = [looks[places[agent, "first"]].raw for agent in again]
    return SecondLookAnswers(
        tuple(again),
        calibrated[[places[agent, "second"] for agent in again]],
        np.array([named_labels(raw) for raw in first], dtype=np.intp).reshape(len(again), len(labels)),
        labels,
    )


def in_order(looks: Sequence[MemberAnswers]) -> list[MemberAnswers]:
    """Return first looks before second looks, otherwise as they are: the order of a panel's members."""
    return sorted(looks, key=lambda look: look.stage)


def judge_all(
    looks: Sequence[MemberAnswers], labels: np.ndarray, folds: np.ndarray, task: Task
) -> tuple[list[Member], np.ndarray]:
    """Return looks as members that can be weighed, and their calibrated answers (a, n, c), out of fold.

    Raises:
        AgentError: an agent answered for too few images.
    """
    in_words = [number for number, look in enumerate(looks) if look.in_words and _can_be_judged(look, folds)]
    stated = calibrated_statements([looks[number].raw for number in in_words], labels, folds)
    of_words = dict(zip(in_words, stated, strict=True))
    with ThreadPoolExecutor(usable_cores()) as pool:
        numbers = range(len(looks))
        judged = [*pool.map(lambda at: _judge(looks[at], labels, folds, task, of_words.get(at)), numbers)]
    return [member for member, _ in judged], np.stack([calibrated for _, calibrated in judged])


def _judge(
    look: MemberAnswers,
    labels: np.ndarray,
    folds: np.ndarray,
    task: Task,
    calibration: tuple[Calibrator, np.ndarray] | None,
) -> tuple[Member, np.ndarray]:
    """Return a look as a member, and its calibrated answers (n, c); a calibration that there is already is kept."""
    raw, answered = look.raw, np.isfinite(look.raw).all(axis=1)
    if (folds == UNJUDGED).all() and not answered.any():  # a head, and one image a label: nothing can be known
        trust = measure(look.agent, look.stage, raw, labels, task.names)
        return Member(look.agent, look.stage, TemperatureScaling(1.0), trust, look.cost_usd, look.seconds), raw
    if not _can_be_judged(look, folds):
        raise AgentError(f"the agent '{look.agent}' {_too_few(look)}")
    if calibration is None:
        calibrated = raw.copy()
        calibrator, calibrated[answered] = fit_calibrator(
            raw[answered], labels[answered], folds[answered], look.calibrators, by_name=look.by_name
        )
    else:
        calibrator, calibrated = calibration
    trust = measure(look.agent, look.stage, calibrated, labels, task.names)
    return Member(look.agent, look.stage, calibrator, trust, look.cost_usd, look.seconds), calibrated


def first_looks(members: Sequence[Member], calibrated: np.ndarray) -> np.ndarray:
    """Return the answers (a, n, c) with NaN for the second looks: what a diagnosis starts with."""
    is_first = np.array([member.stage == "first" for member in members])
    return np.where(is_first[:, None, None], calibrated, np.nan)


def answered_by_any(predictions: np.ndarray) -> np.ndarray:
    """Return which images have an answer among (a, n, c), bool (n,)."""
    return np.asarray(np.isfinite(predictions).all(axis=2).any(axis=0))


def with_second_look(members: Sequence[Member], calibrated: np.ndarray, agent: str) -> np.ndarray:
    """Return `first_looks` with the agent's second look, where it gave one, in the place of its first."""
    predictions, looks = first_looks(members, calibrated), [(member.agent, member.stage) for member in members]
    first, second = looks.index((agent, "first")), looks.index((agent, "second"))
    predictions[second] = calibrated[second]
    predictions[first, np.isfinite(calibrated[second]).all(axis=1)] = np.nan
    return predictions
