"""The benchmark of images from elsewhere: what it reads, what it counts, and its answer to wrong patterns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from consilience.evals.benchmarks.shift import (
    false_alarms,
    halves,
    in_groups,
    main,
    one_a_group,
    stream_alarm,
    together,
)
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.retrieval.memory.labelled_images import LabelledImages
from tests.support.shapes import LABELS, draw


def images(n: int, seed: int = 0, groups: tuple[str, ...] = ()) -> LabelledImages:
    vectors = np.random.default_rng(seed).standard_normal((n, 12)) + 2 * np.eye(1, 12)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    ids = tuple(f"{seed} {row}" for row in range(n))
    return LabelledImages(
        ids, ("leaf",) * n, tuple(f"/x/part{row // 4}-{row}.png" for row in range(n)), vectors, (), groups
    )


def test_groups_are_halved_whole_and_counted_once() -> None:
    grouped = in_groups(images(40), "^part[0-9]+")
    assert len(set(grouped.groups)) == 10
    first, second = halves(grouped, np.random.default_rng(0))
    assert not set(first.groups) & set(second.groups)
    assert len(first) + len(second) == 40
    rows = one_a_group(grouped, np.random.default_rng(0))
    assert sorted(grouped.groups[row] for row in rows) == sorted(set(grouped.groups))
    assert len(together(first, grouped)) == 40


def test_the_same_source_raises_no_alarm_and_another_does() -> None:
    found = false_alarms(images(120), draws=10, length=300, seed=0)
    assert (found.draws, found.batches, found.streams) == (10, 0, 0)
    reference = ShiftReference.of(images(120), "")
    assert stream_alarm(reference, reference.scores(-images(40, 1).vectors), np.random.default_rng(0)) is not None


@pytest.mark.slow
def test_it_runs_on_folders_and_writes_its_figures(tmp_path: Path) -> None:
    for part, start in (("train", 0), ("test", 500)):
        for label in LABELS:
            (tmp_path / "shapes" / part / label).mkdir(parents=True)
            for number in range(start, start + 15):
                draw(label, number).save(tmp_path / "shapes" / part / label / f"{number}.png")
    arguments = [str(tmp_path / "shapes"), "--draws", "2", "--length", "50", "--json", str(tmp_path / "figures.json")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "shapes against itself: false alarms in 0 of 2 batches" in result.output
    figures = json.loads((tmp_path / "figures.json").read_text())["shapes"]
    assert set(figures["elsewhere"]) == {"shapes other-camera", "shapes darker-room"}
    wrong = CliRunner().invoke(main, [str(tmp_path / "shapes"), "--group", "^x"])
    assert wrong.exit_code == 1
    assert "does not match '^x'" in wrong.output
