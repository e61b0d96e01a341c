"""Judge what a table of answers teaches without a second table: each image by a panel of the other folds.

OUT holds what `evaluate` writes: a row an image with its posterior, verdict and weights out of fold, figures, report.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from consilience.agents.heads.folds import stratified_folds
from consilience.agents.recorded import AnswerReader
from consilience.core.errors import EvaluationError
from consilience.core.progress import quiet
from consilience.core.settings.settings import Settings, settings_or
from consilience.core.task import Task
from consilience.evals.engines.engine import LocalEngine
from consilience.evals.evaluation import Evaluation, Watch, decide_waiting, run_of, unwatched, write_figures
from consilience.evals.report import write_report
from consilience.evals.run_log import open_run_log
from consilience.evals.source import AnsweredSource, cases, labels_of
from consilience.orchestrator.answers.fit_answers import panel_of_answers
from consilience.orchestrator.answers.labelled_answers import LabelledAnswers
from consilience.orchestrator.diagnoser import Diagnoser

FOLDS = 10


def cross_validate(
    answers: str | Path,
    out: str | Path,
    *,
    folds: int = FOLDS,
    task: Task | None = None,
    group: str | None = None,
    settings: Settings | None = None,
    watch: Watch = unwatched,
    **arguments: Any,
) -> Evaluation:
    """Judge the panel that a table of answers would teach: each image is diagnosed by what the other folds teach.

    The images of a group are in one fold. Run again with the same arguments, it goes on where it was.

    >>> evaluation = cross_validate("answers.csv", "cross-validation/")       # doctest: +SKIP
    >>> evaluation.metrics.fusion.accuracy                                    # doctest: +SKIP
    0.87

    Args:
        answers: a table of answers with the truth, as for `fit_answers`.
        out: where the evaluation is written; new, empty, or this very run's.
        folds: into how many parts the images are dealt, stratified by label; 2 or more.
        task, group: as for `fit_answers`.
        settings: default: from the environment and `arguments`, see `load_settings`.
        watch: is told where it stands.

    Raises:
        DatasetError: the answers cannot be used; names the row.
        AgentError: what is left without a fold is too little to judge any agent.
        EvaluationError: `out` holds another run or cannot be written, or there are fewer than two folds.
    """
    out, settings = Path(out), settings_or(settings, arguments)
    if folds < 2:
        raise EvaluationError(f"{folds} folds cannot be judged by each other: take 2 or more")
    source = AnsweredSource(Path(answers))
    labelled = LabelledAnswers.read(source.table, task, quiet)
    whole = panel_of_answers(labelled, settings, group)
    reader, labels = AnswerReader(whole.task, source.table), labels_of(source, whole.task, {})
    fold_of = stratified_folds(labelled.labels, folds, settings.seed, whole.labelled_images.group_numbers)
    choice = {"folds": folds, "group": group, "labels": list(whole.task.names)}
    run = run_of({"id": "cross-validated"}, source, settings, choice)
    with open_run_log(out, run, whole.task.names, np.arange(len(source)), drop_leaks=False) as run_log:
        watch(run_log.tally, ())
        for fold in np.unique(fold_of):
            waiting = run_log.waiting & (fold_of == fold)
            if not waiting.any():
                continue
            panel = panel_of_answers(labelled.take(fold_of != fold), settings, group)
            with Diagnoser(panel, settings, (), None) as diagnoser:
                engine = LocalEngine(diagnoser, reader=reader)
                decide_waiting(run_log, engine, cases(source, labels, waiting, whole.grouping), watch)
        metrics = write_figures(out, whole.task.names, decision=settings.decision)
        write_report(out)
    return Evaluation(out, metrics, tuple(name for name in whole.task.names if name not in labels.values()), ())
