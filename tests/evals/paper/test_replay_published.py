"""The paper's own recorded rows (arXiv 2507.10571), where they are at hand: the figures that a replay must reach."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from consilience.core.progress import quiet
from consilience.core.settings.settings import Settings
from consilience.core.task import Task
from consilience.evals.paper.recordings import Recording, read_recording
from consilience.evals.paper.replay import (
    RECORDED,
    compare,
    figures,
    from_labelled,
    from_summary,
    neighbours_member,
    read_trust,
    replay,
)
from consilience.evals.scores import FUSION
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.fitting.ingest import ingest
from tests.support.real_data import real_data

SETTINGS = Settings()


def write(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def experiment(name: str, path: Path | None = None) -> tuple[Recording, tuple[str, ...], Weigher]:
    """A published run, and how it is weighed by the published summary numbers only."""
    runs = real_data("recorded-runs")
    known = ingest(runs / "clip_vit_b32_train.npz", None, SETTINGS, quiet)
    member = neighbours_member(known.labelled_images, known.task, SETTINGS)
    recording, truths = read_recording(path or runs / name, known.task)
    return recording, truths, from_summary(recording, read_trust(runs / "train_trust.json"), member, SETTINGS)


def test_the_papers_rows_of_experiment_three() -> None:
    recording, truths, weigher = experiment("case3_trust_rag.csv")
    conclusions = replay(recording, weigher)
    scores = compare(conclusions, recording, truths)
    by_name = {score.who: score for score in scores}
    published = {"Qwen": 0.5, "GPT": 0.6, "neighbours": 0.975, "Qwen, second look": 0.775, "GPT, second look": 0.9}
    assert {who: by_name[who].accuracy for who in published} == pytest.approx(published)
    assert by_name[RECORDED].accuracy == pytest.approx(0.9)
    assert by_name[FUSION].accuracy >= 0.9875
    assert by_name[FUSION].ece <= 0.03
    assert figures(conclusions, recording, weigher, scores)["second_looks"]["share"] <= 0.15


def test_the_papers_rows_of_experiment_one() -> None:
    recording, truths, weigher = experiment("case1_zero_shot.csv")
    qwen, gpt, orchestrator, fusion = compare(replay(recording, weigher), recording, truths)
    assert fusion.accuracy >= max(qwen.accuracy, gpt.accuracy)
    assert fusion.accuracy > orchestrator.accuracy
    assert fusion.ece < min(qwen.ece, gpt.ece, orchestrator.ece)


def test_other_true_labels_change_no_posterior(tmp_path: Path) -> None:
    with (real_data("recorded-runs") / "case3_trust_rag.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, other in zip(
        rows, np.random.default_rng(0).permutation([cells["Category"] for cells in rows]), strict=True
    ):
        row["Category"] = str(other)
    recording, truths, weigher = experiment("case3_trust_rag.csv")
    shuffled, other_truths, same = experiment("", write(tmp_path / "shuffled.csv", rows))
    assert other_truths != truths
    conclusions = replay(recording, weigher)
    assert replay(shuffled, same) == conclusions
    assert compare(conclusions, shuffled, other_truths)[-1].accuracy < 0.5


def test_half_of_the_papers_rows_can_teach_the_other_half(tmp_path: Path) -> None:
    with (real_data("recorded-runs") / "case3_trust_rag.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    task = Task.from_labels(["black-rot", "healthy", "rust", "scab"])
    known, known_truths = read_recording(write(tmp_path / "known.csv", rows[::2]), task)
    recording, truths = read_recording(write(tmp_path / "new.csv", rows[1::2]), task)
    weigher = from_labelled(recording, known, known_truths, None, SETTINGS)
    by_name = {score.who: score for score in compare(replay(recording, weigher), recording, truths)}
    assert by_name[FUSION].accuracy >= by_name[RECORDED].accuracy
    assert all(member.trust.n == 40 for member in weigher.members)
