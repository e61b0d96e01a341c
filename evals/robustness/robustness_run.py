"""Evaluate a panel on the same images under corruptions: does it refer more, rather than be wrong with confidence?

OUT/clean, OUT/noise-1, ...  an evaluation each (evaluation.py), which goes on where it was; `compare` reads them, too
OUT/metrics.json             figures of all of them (robustness_metrics.py)              OUT/report.html  for people
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from consilience.agents import Agent
from consilience.core.errors import DatasetError, EvaluationError
from consilience.core.images import Image, ImageSource
from consilience.core.settings.settings import Settings, settings_or
from consilience.core.storage.atomic_write import partial_file
from consilience.evals.engines.engine import LocalEngine
from consilience.evals.evaluation import METRICS, Evaluation, decide_waiting, panel_state, run_of, write_figures
from consilience.evals.figures import EvaluationMetrics
from consilience.evals.robustness.corruptions import corrupted
from consilience.evals.robustness.robustness_metrics import Condition, Robustness, Seen, all_ways, condition
from consilience.evals.robustness.robustness_page import REPORT, write_page
from consilience.evals.run_log import open_run_log, write_json, written_to
from consilience.evals.source import cases, chosen_rows, labels_of, open_source, waiting_images
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.spending import Confirm, spending_on
from consilience.retrieval.encoders.encoder import Encoder

Watch = Callable[[int, int, str], None]
"""Called as it goes on: images decided, of how many in all, and what was done to them."""


class Corrupting(Diagnoser):
    """Corrupts every image that it loads, as `seen` says; change `seen` only while no image is under way."""

    seen = Seen()

    def _load(self, source: ImageSource) -> Image:
        image = super()._load(source)
        return corrupted(image, self.seen.corruption, self.seen.strength) if self.seen.strength else image


def stress(
    source: str | Path,
    panel: str | Path,
    out: str | Path,
    *,
    settings: Settings | None = None,
    agents: Sequence[Agent] = (),
    encoder: Encoder | None = None,
    sample: int | None = None,
    limit: int | None = None,
    renamed: Mapping[str, str] | None = None,
    watch: Watch | None = None,
    confirm: Confirm | None = None,
    **arguments: Any,
) -> Robustness:
    """Evaluate a panel on images, and on the same images made worse. Run again, it continues where it stopped.

    >>> print(stress("photos/test/", "panel/", "stress/", sample=200).answer())        # doctest: +SKIP
    As images get worse, the panel is not wrong with confidence more often. From clean images ...

    Args:
        source: a folder with one subfolder a label, or a manifest; for the other arguments see `evaluate`.
        watch: called with the progress, see `Watch`.
        confirm: is told what the answers of models will take, see `Confirm`.

    Raises:
        DatasetError: the source cannot be used, holds vectors or answers, or names labels that the task does not know.
        EvaluationError: `out` holds another run or something else, or cannot be written.
        and whatever `Diagnoser.open` raises.
    """
    source, panel, out = Path(source), Path(panel), Path(out)
    settings = settings_or(settings, arguments)
    opened, images = Panel.open(panel), open_source(source, settings.images.follow_links)
    if not images.holds_images:
        raise DatasetError(f"'{source}' holds {images.kind}: only images can be corrupted; name a folder or a manifest")
    names, ways = opened.task.names, list(all_ways())
    labels = labels_of(images, opened.task, renamed or {})
    rows = chosen_rows(len(images), sample, limit, settings.seed)
    _check(out, ways)
    choice = {"sample": sample, "limit": limit, "map": dict(renamed or {})}
    run = run_of(panel_state(panel), images, settings, choice)
    if confirm is not None:
        chosen = np.isin(np.arange(len(images)), rows)
        asked = partial(waiting_images, images, chosen)
        once = spending_on(panel, asked, settings, agents, each_is_changed=True)
        if once.calls and (left := _left(out, run, ways, names, rows)):
            confirm(once.of_more(left / len(rows)))
    conditions, metrics = list[Condition](), list[EvaluationMetrics]()
    with ExitStack() as stack:
        diagnoser: Corrupting | None = None  # is not opened where all is decided
        for seen in ways:
            folder, before = out / str(seen), len(conditions) * len(rows)

            def report(done: int, before: int = before, seen: Seen = seen) -> None:
                if watch is not None:
                    watch(before + done, len(ways) * len(rows), str(seen))

            with open_run_log(folder, run | {"images": str(seen)}, names, rows, drop_leaks=False) as run_log:
                report(run_log.tally.done)
                if run_log.waiting.any():
                    if diagnoser is None:
                        diagnoser = Corrupting.open(panel, settings=settings, agents=agents, encoder=encoder)
                        stack.enter_context(diagnoser)
                    diagnoser.seen = seen
                    waiting = cases(images, labels, run_log.waiting)
                    decide_waiting(run_log, LocalEngine(diagnoser), waiting, lambda tally, _: report(tally.done))
                metrics.append(write_figures(folder, names))
            conditions.append(condition(seen, metrics[-1], folder))
    unseen = tuple(name for name in names if name not in labels.values())
    clean = Evaluation(out / str(ways[0]), metrics[0], unseen, images.ignored)
    robustness = Robustness(out, clean, settings.policy.target, tuple(conditions))
    with written_to(out):
        write_json(out / METRICS, robustness.to_dict())
        write_page(robustness, f"{panel.name} on {source.name}")
    return robustness


def _left(out: Path, run: Mapping[str, Any], ways: Sequence[Seen], names: Sequence[str], rows: np.ndarray) -> int:
    """Return how many images an interrupted run has left, in all ways together."""
    left = 0
    for seen in ways:
        with open_run_log(out / str(seen), {**run, "images": str(seen)}, names, rows, drop_leaks=False) as run_log:
            left += int(run_log.waiting.sum())
    return left


def _check(out: Path, ways: Sequence[Seen]) -> None:
    """Raise EvaluationError if the folder holds what `stress` did not write."""
    ours = {*map(str, ways), METRICS, REPORT, *(partial_file(Path(name)).name for name in (METRICS, REPORT))}
    with written_to(out):
        others = sorted(set(os.listdir(out)) - ours) if out.exists() else []
    if others:
        raise EvaluationError(
            f"the folder '{out}' holds '{others[0]}', which 'consilience stress' did not write: name a new one"
        )
