"""Give a panel one more label: `add_label`.

No image that the memory holds is embedded again. The heads and what is known of them come from the stored vectors, out
of fold, exactly as `fit` would. Agents that see images are asked about the new label's images alone. Their answers on
the others, which could not name the new label, are kept with room for it (`with_room`): how often they will take an old
label for the new one is not known until feedback tells or the panel is fitted again, so their trust is an optimistic
estimate until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from consilience.agents import Agent, Budget, CapsAdapter, kind_of_head
from consilience.agents.heads.on_eye import head_itself
from consilience.core.dataset import LabelledImage
from consilience.core.errors import DatasetError, PanelError
from consilience.core.image_quality import widened
from consilience.core.images import load_image
from consilience.core.progress import Progress, quiet
from consilience.core.settings.settings import Settings, settings_or
from consilience.core.sources.stored import openable
from consilience.core.task import Label, Task
from consilience.orchestrator.decision.settling import check_decision
from consilience.orchestrator.ensemble.out_of_fold import LabelledPredictions, with_room
from consilience.orchestrator.fitting.collect import MemberAnswers, predictions_of_others
from consilience.orchestrator.fitting.fit import FitReport
from consilience.orchestrator.fitting.fit_context import FitContext
from consilience.orchestrator.fitting.fit_ensemble import FittedEnsemble, fit_agents, fit_ensemble
from consilience.orchestrator.fitting.ingest import with_images
from consilience.orchestrator.fitting.label_texts import with_texts
from consilience.orchestrator.panel.panel import Panel, labelled_features
from consilience.orchestrator.panel.unknown_examples import without_like
from consilience.orchestrator.panel.writer import index, prepare_novelty, writing
from consilience.orchestrator.runtime.calls import run_sync


def add_label(
    panel: str | Path,
    label: Label | str,
    images: Sequence[Path],
    *,
    settings: Settings | None = None,
    agents: Sequence[Agent] = (),
    progress: Progress = quiet,
    **arguments: Any,
) -> FitReport:
    """Give a panel one more label, the last of its task.

    Examples of the unknown that are most like its images are dropped: they would speak against it.

    Args:
        label: its name, or its name with descriptions and synonyms.
        images: that show it: 2 at least, as many as of the other labels if possible.
        agents: those that the panel cannot hold itself, as for `Diagnoser.open`.

    Raises:
        TaskError: the task has such a label. DatasetError: fewer than 2 images can be used.
        PanelError: a panel without agents on features, with a reasoner that advises or with captions must be fitted
            again.
        Others as `add` and `Diagnoser.open` raise them; BudgetSpentError as `fit`.
    """
    path, settings = Path(panel), settings_or(settings, arguments)
    added = Task.label(label) if isinstance(label, str) else label
    with writing(path):
        old = Panel.open(path)
        settings = old.with_models(settings, agents)
        task, budget = old.task.with_label(added), Budget(settings.policy.max_run_cost_usd)
        check_decision(settings.decision, task.names, [0] * len(task.names))  # before the work, not after it
        others = [
            agent for name, agent in old.open_agents(settings, agents, budget).items() if kind_of_head(name) is None
        ]
        if _must_be_fitted_again(old):
            raise PanelError(
                f"the panel '{path}' cannot take a new label: fit it again with all images ('consilience fit')"
            )
        encoder = old.encoder.open(settings.device)
        new = [LabelledImage(image, added.name) for image in images]
        joined = with_images(old.labelled_images, new, encoder, settings, progress, old.grouping)
        labelled_images, report, failed = joined.labelled_images, joined.report, joined.failed
        if report.added < 2:
            raise DatasetError(
                f"the label '{added.name}' needs at least 2 usable images, and has {report.added} ({len(failed)} could "
                f"not be read, {len(report.conflicts)} stand under another label)"
            )
        data = with_texts(labelled_features(labelled_images, task, encoder.eyes), encoder, task)
        if old.unlabelled is not None:
            data = data.with_unlabelled(old.unlabelled)
        context = FitContext.of(
            task,
            labelled_images,
            data,
            settings,
            load=lambda source: load_image(openable(source), settings.images),
            progress=progress,
        )
        fitted = fit_agents(context, [head.name for head in old.heads])
        if others:
            fitted = _with_others(fitted, old, replace(context, others=others))
        prepare_novelty(fitted.novelty, labelled_images, settings)
        written = replace(
            old,
            task=task,
            labelled_images=labelled_images,
            predictions=_predictions(fitted, old, context),
            bounds=widened(old.bounds, joined.measures),
            unknown=without_like(old.unknown, labelled_images, added.name),
            **fitted.parts(),
        ).save(path, overwrite=True)
    index(written, settings, progress)
    settling = written.settles(settings.policy, settings.decision)
    return FitReport(written, report, failed, (), settling, budget.spent_usd)


def _must_be_fitted_again(panel: Panel) -> bool:
    """Return whether a part of the panel cannot be made to know of one more label."""
    heads = [head_itself(head) for head in panel.heads]
    captions = any(isinstance(head, CapsAdapter) and head.described is not None for head in heads)
    return not panel.heads or panel.reasoner is not None or captions


def _with_others(fitted: FittedEnsemble, old: Panel, context: FitContext) -> FittedEnsemble:
    """Return what the images teach with the context's other agents, which are asked about the new ones alone."""
    ids = context.labelled_images.ids
    new = range(len(old.labelled_images), len(ids))
    heads = [replace(look, raw=look.raw[new]) for look in fitted.looks]
    answers = run_sync(predictions_of_others(context, heads, new))
    extended = [_with_old_answers(look, old, ids) for look in answers]
    in_order = {name: place for place, name in enumerate(old.agents)}
    looks = sorted((*fitted.looks, *extended), key=lambda look: in_order[look.agent])
    return fit_ensemble(fitted.heads, looks, context.task, context.data, fitted.folds)


def _predictions(fitted: FittedEnsemble, old: Panel, context: FitContext) -> LabelledPredictions:
    """Return what the panel was learned from; an image that feedback brought can still be taken back."""
    ids = context.labelled_images.ids
    predictions = LabelledPredictions.of_fit(ids, context.data.labels, [look.raw for look in fitted.looks])
    changes = dict(zip(old.predictions.ids, old.predictions.changes, strict=True))
    return replace(predictions, changes=np.array([changes.get(identity, 0) for identity in ids], np.intp))


def _with_old_answers(answers: MemberAnswers, old: Panel, ids: Sequence[str]) -> MemberAnswers:
    """Return an agent's answers on all images: the old ones with room for the new label, then the new ones."""
    looks = [(member.agent, member.stage) for member in old.members]
    raw = np.full((len(ids), answers.raw.shape[1]), np.nan)
    if (answers.agent, answers.stage) in looks:
        known = with_room(old.predictions.raw[looks.index((answers.agent, answers.stage))])
        row_of = {identity: row for row, identity in enumerate(ids)}
        places = [row_of.get(identity) for identity in old.predictions.ids]
        for place, row in zip(places, known, strict=True):
            if place is not None:
                raw[place] = row
    raw[len(ids) - len(answers.raw) :] = answers.raw
    return replace(answers, raw=raw, predictions=())
