"""Evaluate a panel on labelled images: decide them all, go on where a killed run was, and measure.

OUT/run.json           what the run is                     OUT/predictions.jsonl  a row an image (rows.py)
OUT/metrics.json       every figure (figures.py)           OUT/rows.parquet       the rows again, as a table
OUT/report.html        for people                          OUT/novel/             rows of images of no known label
OUT/frequencies.json   how often labels seem to occur, where that was to be estimated
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from consilience.agents import Agent, answers_fingerprint, with_answers
from consilience.core.errors import EvaluationError
from consilience.core.images import ImageSource
from consilience.core.settings.decision_settings import AS_LABELLED, DecisionSettings
from consilience.core.settings.settings import Settings, settings_or
from consilience.core.storage.panel_folder import open_panel_folder
from consilience.evals import novelty_detection as novelty_figures
from consilience.evals.answer_columns import collect
from consilience.evals.engines.engine import Engine, LocalEngine
from consilience.evals.engines.leaks import FreshDiagnoser, WatchfulDiagnoser
from consilience.evals.engines.process_engine import ProcessEngine
from consilience.evals.engines.ray_engine import Cluster, ClusterEngine
from consilience.evals.figures import EvaluationMetrics
from consilience.evals.first_pass import with_frequencies
from consilience.evals.measurement import measure
from consilience.evals.report import write_report
from consilience.evals.rows import LEFT_OUT, PARQUET, Decided, save_parquet
from consilience.evals.run_log import RunLog, Tally, open_run_log, write_json, written_to
from consilience.evals.shift_check import Encoding, ShiftFound, shift_found
from consilience.evals.source import (
    AnsweredSource,
    Source,
    SourceImage,
    VectorSource,
    cases,
    chosen_rows,
    labels_of,
    open_source,
    waiting_images,
)
from consilience.orchestrator.answers.given_answers import reader_of
from consilience.orchestrator.decision.settling import given_shares
from consilience.orchestrator.grouping.grouping import NO_GROUPING, Grouping
from consilience.orchestrator.in_use.costs import Costs
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.shift.two_sample import NOT_TESTED, BatchShift
from consilience.orchestrator.spending import Confirm, spending_on
from consilience.retrieval.encoders.batch_embedding import usable_cores
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.memory.embedded_index import are_all_compared

FORMAT = 1
"""Of run.json and of the rows."""

METRICS, NOVEL = "metrics.json", "novel"

ONE_PROCESS_BELOW = 4096
"""Vectors that this process decides alone: workers take seconds to start."""

Watch = Callable[[Tally, Sequence[Decided]], None]
"""Called at the start and after each batch: where the evaluation stands, and what was decided just now."""


def unwatched(tally: Tally, batch: Sequence[Decided]) -> None:
    """Ignore where an evaluation stands: nobody watches it."""


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    Attributes:
        out: the folder that holds its rows and figures.
        metrics: the figures, as `metrics.json` holds them.
        unseen: labels of the task that no image has.
        ignored: files in the source that are no labelled images.
    """

    out: Path
    metrics: EvaluationMetrics
    unseen: tuple[str, ...]
    ignored: tuple[Path, ...]

    def failed(self) -> list[tuple[str, str]]:
        """Return image and cause of those without a diagnosis; not those that were left out."""
        rows = self._rows("error", ("error", "!=", LEFT_OUT), ("error", "!=", ""))
        return [(row["source"], row["error"]) for row in rows]

    def leaks(self) -> list[str]:
        """Return the images that the panel has learned from, or from another of their group, left out or not."""
        return [row["source"] for row in self._rows("leak", ("leak", "==", True))]

    def _rows(self, column: str, *conditions: tuple[str, str, Any]) -> list[dict[str, Any]]:
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(self.out / PARQUET, columns=["source", column], filters=list(conditions))
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows


def evaluate(
    source: str | Path,
    panel: str | Path,
    out: str | Path,
    *,
    answers: str | Path | None = None,
    settings: Settings | None = None,
    agents: Sequence[Agent] = (),
    encoder: Encoder | None = None,
    agents_only: bool = False,
    sample: int | None = None,
    limit: int | None = None,
    renamed: Mapping[str, str] | None = None,
    drop_leaks: bool = False,
    novel: str | Path | None = None,
    cluster: Cluster | None = None,
    watch: Watch = unwatched,
    confirm: Confirm | None = None,
    **arguments: Any,
) -> Evaluation:
    """Evaluate a panel. Run again with the same arguments, it goes on where it was, and ends with the same figures.

    >>> evaluation = evaluate("photos/test/", "panel/", "evaluation/")          # doctest: +SKIP
    >>> evaluation.metrics.fusion.accuracy, evaluation.metrics.settled.share    # doctest: +SKIP
    (0.994, 0.93)

    Args:
        source: a folder with one subfolder a label, a manifest (.csv, .parquet, .jsonl) with `path` and `label`, or an
            .npz; for a panel of answers a table of answers, with `image` and `truth`.
        panel: the panel's folder.
        out: where the evaluation is written; new, empty, or this very run's.
        answers: see `Diagnoser.open`; a truth in it is not looked at.
        settings: default: from the environment and `arguments`, see `load_settings`.
        agents, encoder: see `Diagnoser.open`.
        agents_only: agents look once, and the fusion is not judged.
        sample: evaluate so many images drawn at random (`settings.seed`).
        limit: evaluate only the first so many.
        renamed: by a label of the source, the task's label that it stands for.
        drop_leaks: leave out images that the panel has learned from, instead of only counting them: the very image, a
            copy of it, or another one of the same given group.
        novel: images of no known label, in any of the forms of `source`; what they are called there does not matter.
            How well novelty tells them from those of `source` is measured; their rows are in OUT/novel.
        cluster: decide on Ray; None: on this machine, without it. It may be another when the run goes on.
        watch: is told where it stands.
        confirm: is told what the answers of models will take, see `Confirm`.

    Raises:
        DatasetError: the source cannot be used, or names labels that the task does not know.
        EvaluationError: `out` holds another run or cannot be written, or Ray cannot be reached.
        and whatever `Diagnoser.open` raises.
    """
    source, panel, out = Path(source), Path(panel), Path(out)
    settings = settings_or(settings, arguments)
    if agents_only:
        once = settings.policy.model_copy(update={"second_look": "never", "max_rounds": 1})
        settings = settings.model_copy(update={"policy": once})
    follow = settings.images.follow_links
    opened, images = Panel.open(panel), open_source(source, follow)
    if novel is not None and opened.of_answers:
        raise EvaluationError("how novel an image is cannot be told from answers alone: evaluate without novel images")
    if answers is not None:
        settings = with_answers(settings, answers, opened.models)
    strange = None if novel is None else open_source(Path(novel), follow, is_labelled=False)
    labels = labels_of(images, opened.task, renamed or {})
    rows = chosen_rows(len(images), sample, limit, settings.seed)
    choice: dict[str, Any] = {"sample": sample, "limit": limit, "map": dict(renamed or {}), "agents_only": agents_only}
    if answers is not None:
        choice["answers"] = answers_fingerprint(answers)
    run = run_of(panel_state(panel), images, settings, choice | {"drop_leaks": drop_leaks})
    if opened.agreement is not None:
        run["panel"]["trust_from"] = "agreement"
    encoding = Encoding(opened, settings, encoder)
    with open_run_log(out, run, opened.task.names, rows, drop_leaks=drop_leaks) as run_log:
        if confirm is not None:
            asked = partial(_asked, images, run_log.waiting, strange)
            if (spending := spending_on(panel, asked, settings, agents)).calls:
                confirm(spending)
        is_seen = not isinstance(images, AnsweredSource)
        found = shift_found(out, opened, images, labels, rows, encoding) if is_seen else None
        settings = with_frequencies(out, panel, images, rows, settings, agents, encoder)
        open_engine = partial(_engine, opened, settings=settings, agents=agents, encoding=encoding, cluster=cluster)
        tested = partial(open_engine, drop_leaks=drop_leaks, shift=NOT_TESTED if found is None else found.test)
        _decide(run_log, images, labels, tested, watch, opened.grouping)
        strangers = None if strange is None else _decide_strange(out, strange, opened, settings, open_engine, watch)
        metrics = write_figures(
            out,
            opened.task.names,
            agents_only=agents_only,
            novel=strangers,
            most=settings.policy.max_novelty,
            decision=settings.decision,
            shift=found,
        )
        can_tell = bool(opened.encoder.weights) and images.holds_images
        write_report(out, opened, encoding.encoder if can_tell else None)
    seen = set(labels.values())
    return Evaluation(out, metrics, tuple(name for name in opened.task.names if name not in seen), images.ignored)


def _asked(images: Source, waiting: np.ndarray, strange: Source | None) -> list[ImageSource]:
    """Return the images that agents are still asked about, and all that are of no known label."""
    novel = [] if strange is None else waiting_images(strange, np.ones(len(strange), bool))
    return waiting_images(images, waiting) + novel


def _decide(
    run_log: RunLog,
    source: Source,
    labels: Mapping[str, str],
    open_engine: Callable[..., AbstractContextManager[Engine]],
    watch: Watch,
    grouping: Grouping = NO_GROUPING,
) -> None:
    """Have the images that wait decided; no engine is opened where none does. `grouping` is the panel's."""
    watch(run_log.tally, ())
    if run_log.waiting.any():
        with open_engine(source, waiting=int(run_log.waiting.sum())) as engine:
            decide_waiting(run_log, engine, cases(source, labels, run_log.waiting, grouping), watch)


def _decide_strange(
    out: Path,
    strange: Source,
    panel: Panel,
    settings: Settings,
    open_engine: Callable[..., AbstractContextManager[Engine]],
    watch: Watch,
) -> Path:
    """Have images of no known label decided, whatever they are called; return the folder of their rows, below `out`."""
    folder, run = out / NOVEL, run_of(panel_state(panel.path), strange, settings, {"novel": True})
    with open_run_log(folder, run, panel.task.names, np.arange(len(strange)), drop_leaks=False) as run_log:
        as_called = {name: name for name in strange.counts}
        _decide(run_log, strange, as_called, partial(open_engine, drop_leaks=False, shift=NOT_TESTED), watch)
    return folder


def decide_waiting(run_log: RunLog, engine: Engine, waiting: Iterator[SourceImage], watch: Watch) -> None:
    """Have the cases decided, and write their rows batch by batch."""
    started = time.perf_counter()
    for batch in engine.decide(waiting):
        ended = time.perf_counter()
        with written_to(run_log.out):
            run_log.append(batch, ended - started)
        started = ended
        watch(run_log.tally, batch)


def write_figures(
    out: Path,
    labels: tuple[str, ...],
    *,
    agents_only: bool = False,
    novel: Path | None = None,
    most: float = 1.0,
    decision: DecisionSettings = AS_LABELLED,
    shift: ShiftFound | None = None,
) -> EvaluationMetrics:
    """Write `rows.parquet` and `metrics.json` from the rows in `out`, and those of novel images in another folder.

    Args:
        decision: how often labels occur where the panel is used, and what mistakes cost.
        shift: whether the images differ from the labelled ones, if that was looked into.
    """
    with written_to(out):
        rows = collect(save_parquet(out, labels), labels)
        novelty = (
            None
            if novel is None
            else novelty_figures.compared(novelty_figures.read(out, labels), novelty_figures.read(novel, labels), most)
        )
        metrics = measure(
            rows,
            labels,
            agents_only=agents_only,
            novelty=novelty,
            shares=given_shares(decision, labels, [0] * len(labels)),
            costs=Costs.of(decision.costs, labels),
            shift=shift,
        )
        write_json(out / METRICS, metrics.to_dict())
    return metrics


@contextmanager
def _engine(
    panel: Panel,
    source: Source,
    settings: Settings,
    agents: Sequence[Agent],
    encoding: Encoding,
    drop_leaks: bool,
    shift: BatchShift,
    waiting: int,
    cluster: Cluster | None,
) -> Iterator[Engine]:
    """Ray if it is asked for; several processes where many vectors wait that each of them answers alike; else this."""
    kind = FreshDiagnoser if drop_leaks else WatchfulDiagnoser
    settings = panel.with_models(settings, agents)  # other processes and machines know nothing of what was confirmed
    with ExitStack() as stack:
        if isinstance(source, VectorSource):
            panel.encoder.check(source.file.encoder)
        if isinstance(source, AnsweredSource):
            if cluster is not None:
                raise EvaluationError("answers are weighed in this process: evaluate without Ray")
            reader = reader_of(panel, source.table)
            yield LocalEngine(stack.enter_context(kind.open(panel.path, settings=settings)), shift, reader)
            return
        if cluster is not None:
            if agents or encoding.supplied is not None:
                raise EvaluationError("agents and encoders given as objects stay in this process: evaluate without Ray")
            yield stack.enter_context(ClusterEngine(cluster, panel.path, settings, drop_leaks=drop_leaks, shift=shift))
            return
        if isinstance(source, VectorSource):
            is_whole = len(panel.heads) == len(panel.agents)
            if (
                is_whole
                and waiting > ONE_PROCESS_BELOW
                and usable_cores() > 1
                and are_all_compared(panel.labelled_images)
            ):
                cores = usable_cores()
                workers = ProcessEngine(panel.path, settings, cores, drop_leaks=drop_leaks, shift=shift)
                yield stack.enter_context(workers)
                return
        encoder = encoding.supplied if isinstance(source, VectorSource) else encoding.encoder
        diagnoser = stack.enter_context(kind.open(panel.path, settings=settings, agents=agents, encoder=encoder))
        diagnoser.known_vectors = encoding.known
        yield LocalEngine(diagnoser, shift)


def panel_state(panel: Path) -> dict[str, str]:
    """Return what identifies a panel as it is now: its id, and a hash of what its manifest says of its files."""
    manifest = open_panel_folder(panel).manifest
    state = json.dumps(manifest["files"], sort_keys=True).encode()
    return {"id": manifest["id"], "state": hashlib.sha256(state).hexdigest()}


def run_of(panel: Mapping[str, str], source: Source, settings: Settings, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies a run: if any of it changes, its rows belong to another run."""
    return {
        "format": FORMAT,
        "consilience": version("consilience"),
        "panel": dict(panel),
        "source": {
            "path": str(source.path.absolute()),
            "kind": source.kind,
            "images": len(source),
            "content": source.fingerprint,
        },
        "choice": dict(choice),
        "settings": _shown(settings),
    }


def _shown(settings: BaseModel) -> dict[str, Any]:
    """Return settings as JSON; of what is not to be shown, a hash."""
    shown: dict[str, Any] = settings.model_dump(mode="json")
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            shown[name] = _shown(value)
        elif not info.repr and value:
            shown[name] = "sha256:" + hashlib.sha256(json.dumps(shown[name]).encode()).hexdigest()
    return shown
