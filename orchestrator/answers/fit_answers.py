"""From a table of agents' answers to a panel: `fit_answers`. No image is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from consilience.core.errors import SettingsError
from consilience.core.progress import Progress, quiet
from consilience.core.render.phrases import counted
from consilience.core.settings.decision_settings import AS_LABELLED
from consilience.core.settings.settings import Settings, settings_or
from consilience.core.storage.panel_folder import refuse_to_replace
from consilience.core.task import Task
from consilience.orchestrator.answers.given_answers import GivenAnswers, answer_identity, open_answers
from consilience.orchestrator.answers.labelled_answers import LabelledAnswers
from consilience.orchestrator.answers.panel_of_agreement import panel_of_agreement
from consilience.orchestrator.answers.raw_looks import foreign_words
from consilience.orchestrator.answers.unlabelled_answers import UnlabelledAnswers
from consilience.orchestrator.decision.settling import check_decision
from consilience.orchestrator.ensemble.cross_fitting import split_into_folds
from consilience.orchestrator.ensemble.out_of_fold import LabelledPredictions
from consilience.orchestrator.fitting.fit import FitReport
from consilience.orchestrator.fitting.fit_context import FitContext
from consilience.orchestrator.fitting.fit_ensemble import judged_ensemble
from consilience.orchestrator.fitting.ungrouped import accuracy_without_groups
from consilience.orchestrator.grouping.given_groups import given_groups
from consilience.orchestrator.grouping.grouping import NO_GROUPING
from consilience.orchestrator.panel.encoder_spec import EncoderRecord
from consilience.orchestrator.panel.panel import Panel, labelled_features
from consilience.orchestrator.panel.writer import writing
from consilience.retrieval.encoders.no_encoder import NoEncoder
from consilience.retrieval.memory.labelled_images import AddReport, LabelledImages


def fit_answers(
    answers: GivenAnswers,
    panel: str | Path,
    *,
    task: Task | None = None,
    group: str | None = None,
    truth: bool = True,
    settings: Settings | None = None,
    overwrite: bool = False,
    progress: Progress = quiet,
    **arguments: Any,
) -> FitReport:
    """Turn what agents answered about labelled images into a panel that weighs their answers on others.

    The agents may be models, checkpoints or persons. Images without a truth are left out; without any truth, what the
    agents are worth is estimated from how far they agree (`agreement`), and nothing is promised.

    >>> report = fit_answers("answers.csv", "panel/")                    # doctest: +SKIP
    >>> [member.trust.accuracy for member in report.panel.members]       # doctest: +SKIP
    [0.74, 0.81]

    Args:
        answers: a table (.csv, .parquet or .jsonl) with a row an image and agent, or an image (the file formats'
            reference has the columns); its rows, as mappings from column to value; or `AnswerArrays`.
        panel: the folder to write. It is written whole or not at all.
        task: default: the labels that are true, or that have probabilities.
        group: as for `fit`, on the images' names. Default: as the table says; else each image is by itself.
        truth: whether the table's truth is learned from; if not, it is not looked at, and may be missing.
        settings: default: from the environment and `arguments`, see `load_settings`.
        overwrite: whether a panel that is there may be replaced.
        progress: is told how far the work is.

    Raises:
        DatasetError: the answers cannot be used; names the row. Without truth: no two agents answered the same image.
        AgentError: no agent answered enough images to be judged.
        SettingsError: the settings name models, which are asked about images; or `decision` does not fit the labels,
            or is set without truth.
        PanelError: the panel cannot be written. PanelBusyError: somebody else is writing it.
    """
    path, settings = Path(panel), settings_or(settings, arguments)
    refuse_to_replace(path, overwrite)  # before the work, not after it
    if settings.models or (settings.reasoner is not None and settings.reasoner.role == "advise"):
        raise SettingsError("models are asked about images, and here are answers alone: leave `models` out")
    if not truth:
        return _fit_agreement(answers, path, task, settings, overwrite, progress)
    with writing(path):
        with open_answers(answers) as source:
            labelled = LabelledAnswers.read(source, task, progress)
        names = labelled.task.names
        check_decision(settings.decision, names, np.bincount(labelled.labels, minlength=len(names)).tolist())
        written = panel_of_answers(labelled, settings, group).save(path, overwrite=overwrite)
    settling = written.settles(settings.policy, settings.decision)
    return FitReport(written, AddReport(len(labelled.names), 0, ()), (), (), settling, asides=_asides(labelled))


def _fit_agreement(
    answers: GivenAnswers, path: Path, task: Task | None, settings: Settings, overwrite: bool, progress: Progress
) -> FitReport:
    if settings.decision != AS_LABELLED:
        raise SettingsError("decision.frequencies and decision.costs take measured trust: give images with their truth")
    with writing(path):
        with open_answers(answers) as source:
            unlabelled = UnlabelledAnswers.read(source, task, progress)
        written = panel_of_agreement(unlabelled).save(path, overwrite=overwrite)
    settling = written.settles(settings.policy, settings.decision)
    return FitReport(written, AddReport(0, 0, ()), (), (), settling, asides=unlabelled.asides())


def panel_of_answers(labelled: LabelledAnswers, settings: Settings, group: str | None = None) -> Panel:
    """Return the panel that labelled answers teach, not written.

    Raises:
        DatasetError: the rule for groups does not fit. AgentError: no agent answered enough images to be judged.
    """
    task, n = labelled.task, len(labelled.names)
    labels = [task.names[place] for place in labelled.labels]
    grouping, groups = given_groups(labelled.names, labels, labelled.groups, group) or (NO_GROUPING, [None] * n)
    ids = [answer_identity(name) for name in labelled.names]
    labelled_images = LabelledImages(
        tuple(ids),
        tuple(labels),
        tuple(labelled.names),
        np.empty((n, 0), np.float32),
        groups=tuple(thing or identity for thing, identity in zip(groups, ids, strict=True)),
    )
    data = labelled_features(labelled_images, task)
    context = FitContext.of(task, labelled_images, data, settings)
    folds = split_into_folds(data.labels, context.seed, data.groups)
    fitted = judged_ensemble((), labelled.member_answers(), context, folds)
    return Panel(
        task=task,
        encoder=EncoderRecord.of(NoEncoder()),
        labelled_images=labelled_images,
        agents=tuple(dict.fromkeys(member.agent for member in fitted.members)),
        choices=fitted.left_out,
        predictions=LabelledPredictions.of_fit(ids, data.labels, [look.raw for look in fitted.looks]),
        grouping=grouping,
        ungrouped_accuracy=accuracy_without_groups(fitted, context),
        **fitted.parts(),
    )


def _asides(labelled: LabelledAnswers) -> tuple[str, ...]:
    """Return what is to be said of rows that did not count, a sentence each."""
    unlabelled = f"{counted(labelled.unlabelled)} without a truth"
    return (*([unlabelled] if labelled.unlabelled else []), *foreign_words(labelled.foreign))
