"""From rows as they are written to figures, worked out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Evidence, Prediction
from consilience.core.errors import EvaluationError
from consilience.evals.answer_columns import collect
from consilience.evals.figures import EvaluationMetrics
from consilience.evals.measurement import measure
from consilience.evals.metrics import PairedChange
from consilience.evals.rows import LEFT_OUT, ROWS_FILE, read_rows, save_parquet, schema
from consilience.orchestrator.novelty.novelty_score import SIGNS
from consilience.orchestrator.novelty.unknown_reference import UNKNOWN

LABELS = ("healthy", "rust")


def shares(rust: float) -> dict[str, float]:
    return {"healthy": 1 - rust, "rust": rust}


def answer(agent: str, rust: float | None, stage: Any = "first", raw: float | None = None, **more: Any) -> Prediction:
    if rust is None:
        return Prediction(agent, stage, weight=0.0, **more)
    return Prediction(agent, stage, shares(rust if raw is None else raw), calibrated=shares(rust), **more)


def row(number: int, truth: str, rust: float | None, *predictions: Prediction, **more: Any) -> dict[str, Any]:
    named = None if rust is None else "rust" if rust > 0.5 else "healthy"
    return {
        "row": number,
        "source": f"{number}.jpg",
        "identity": None if rust is None else f"{number:064x}",
        "truth": truth,
        "leak": False,
        "label": named,
        "probability": None if rust is None else max(rust, 1 - rust),
        "verdict": None if rust is None else "confident",
        "error": "cannot be read" if rust is None else None,
        "cost_usd": sum(prediction.cost_usd for prediction in predictions),
        "rounds": 0 if rust is None else 1,
        "posterior": None if rust is None else shares(rust),
        "first_posterior": None,
        "prediction_set": [] if named is None else [named],
        "reasons": [],
        "expected_cost": None,
        "predictions": [prediction.to_dict() for prediction in predictions],
        "evidence": None if rust is None else Evidence((), shares(0.5)).to_dict(),
        "novelty": None if rust is None else 0.25,
        "novelty_signs": None if rust is None else dict.fromkeys(SIGNS, 0.5) | {UNKNOWN: None},
        "is_novel": None if rust is None else False,
        "unjudgeable": None if rust is None else "",
        "headline": None if named is None else f"{named}, confident",
        "image_note": None if named is None else "",
        "rationale": "",
        "seconds": 0.5,
        **more,
    }


ROWS_BY_HAND = [
    row(
        0,
        "rust",
        0.9,
        answer("probe", 0.8, weight=1.5, raw=1.0, cost_usd=0.25, seconds=2.0, tokens=7),
        answer("qwen", 0.3, weight=0.0),
        answer("qwen", 0.6, "second", weight=0.5),
        rounds=2,
        first_posterior=shares(0.4),
    ),
    row(
        1,
        "healthy",
        0.7,
        answer("probe", 0.2, weight=1.0, raw=0.1),
        answer("qwen", 0.4, weight=0.0),
        answer("qwen", 0.9, "second", weight=3.0),
        rounds=2,
        first_posterior=shares(0.3),
        verdict="refer",
        leak=True,
    ),
    row(2, "healthy", 0.2, answer("probe", 0.8, weight=1.0), answer("qwen", None, error="unplugged")),
    row(3, "rust", 0.8, answer("probe", 0.6, weight=1.0), answer("qwen", None, abstained=True)),
    row(4, "rust", None),
    row(5, "rust", None, leak=True, error=LEFT_OUT),
]


def measured(folder: Path, rows: list[dict[str, Any]], **options: Any) -> EvaluationMetrics:
    (folder / ROWS_FILE).write_text("".join(json.dumps(cells) + "\n" for cells in rows), encoding="utf-8")
    return measure(collect(read_rows(folder, LABELS), LABELS), LABELS, **options)


def test_the_fusion_by_hand(tmp_path: Path) -> None:
    result = measured(tmp_path, ROWS_BY_HAND)
    assert (result.images, result.n, result.errors, result.leaks, result.left_out) == (6, 4, 1, 2, 1)
    fusion = result.fusion
    assert fusion is not None
    assert (fusion.n, fusion.accuracy) == (4, 0.75)
    assert fusion.confusion == {"healthy": {"healthy": 1, "rust": 1}, "rust": {"healthy": 0, "rust": 2}}
    assert fusion.labels["rust"] == {"n": 2, "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8)}
    assert fusion.macro_f1 == pytest.approx((2 / 3 + 0.8) / 2)
    # 0.9 and 0.8 right, 0.7 wrong, 0.8 right: 0.8 stands twice in one bin
    assert fusion.ece == pytest.approx((0.1 + 0.7 + 0.4) / 4)
    assert fusion.brier == pytest.approx((2 * 0.01 + 2 * 0.49 + 2 * 0.04 + 2 * 0.04) / 4)
    assert fusion.log_loss == pytest.approx(-np.log([0.9, 0.3, 0.8, 0.8]).mean(), rel=1e-6)
    assert fusion.auroc == 1.0
    assert fusion.ocr == 0.0
    assert fusion.reliability["n"] == [1, 2, 1]
    assert result.settled is not None
    assert (result.settled.n, result.settled.share, result.settled.right) == (3, 0.75, 3)
    assert (result.cost_usd, result.seconds, result.rounds) == (0.25, 3.0, 1.5)
    assert (result.cost_usd_per_image, result.images_per_second) == (0.0625, 2.0)


def test_agents_by_hand(tmp_path: Path) -> None:
    result = measured(tmp_path, ROWS_BY_HAND)
    probe, qwen, again = result.agents
    assert [figures.who for figures in result.agents] == ["probe", "qwen", "qwen, second look"]
    assert (probe.n, probe.accuracy, probe.ocr) == (4, 0.75, 0.25)
    assert (probe.cost_usd, probe.seconds, probe.tokens) == (0.25, 2.0, 7)
    assert probe.weight == pytest.approx((1.5 / 2.0 + 1.0 / 4.0 + 1 + 1) / 4)
    # (0.7, 0.8]: 0.8, 0.8, 0.8 of which one is wrong; (0.5, 0.6]: 0.6 right
    assert probe.ece == pytest.approx((abs(2 - 2.4) + 0.4) / 4)
    assert probe.raw is not None
    # raw: 1.0 right, 0.9 right, 0.8 wrong, 0.6 right
    assert probe.raw.ece == pytest.approx((0.0 + 0.1 + 0.8 + 0.4) / 4)
    assert (qwen.n, qwen.abstained, qwen.errors, qwen.accuracy) == (2, 1, 1, 0.5)
    assert (again.n, again.stage, again.accuracy) == (2, "second", 0.5)


def test_fusion_and_best_agent_are_compared_on_what_both_answered(tmp_path: Path) -> None:
    result = measured(tmp_path, ROWS_BY_HAND)
    assert result.best_agent == "probe"
    assert result.difference is not None
    assert (result.difference.n, result.difference.only_first, result.difference.only_second) == (4, 1, 1)
    assert (result.difference.difference, result.difference.p_value) == (0.0, 1.0)


def test_what_second_looks_changed(tmp_path: Path) -> None:
    second_looks = measured(tmp_path, ROWS_BY_HAND).second_looks
    assert second_looks.images == 2
    assert second_looks.agents == {"qwen": PairedChange(n=2, changed=2, better=1, worse=1)}
    assert second_looks.fusion == PairedChange(n=2, changed=2, better=1, worse=1)
    unknown = [cells | {"first_posterior": None} for cells in ROWS_BY_HAND]
    assert measured(tmp_path, unknown).second_looks.fusion is None


def test_the_order_of_the_rows_changes_nothing(tmp_path: Path) -> None:
    rows = [*ROWS_BY_HAND[::-1]]
    assert measured(tmp_path, rows) == measured(tmp_path, ROWS_BY_HAND)


def test_agents_only_judges_no_fusion(tmp_path: Path) -> None:
    result = measured(tmp_path, ROWS_BY_HAND, agents_only=True)
    assert (result.fusion, result.settled, result.difference) == (None, None, None)
    assert result.agents == measured(tmp_path, ROWS_BY_HAND).agents


@pytest.mark.parametrize("rows", [[], [row(0, "rust", None)]])
def test_without_any_diagnosis_nothing_is_defined(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    result = measured(tmp_path, rows)
    assert result.n == 0
    assert result.fusion is not None
    assert result.fusion.accuracy is result.fusion.auroc is result.fusion.aurc is result.fusion.brier is None
    assert (result.best_agent, result.difference) == (None, None)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["fusion"]["n"] == 0


def test_metrics_are_json_without_nan(tmp_path: Path) -> None:
    plain = measured(tmp_path, [row(0, "rust", 0.9, answer("probe", 0.9, weight=1.0))]).to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["format"] == 1
    assert plain["fusion"]["labels"]["healthy"] == {"n": 0, "precision": None, "recall": None, "f1": None}


def test_parquet_holds_what_the_rows_hold(tmp_path: Path) -> None:
    import pyarrow.parquet

    measured(tmp_path, ROWS_BY_HAND)
    for _ in save_parquet(tmp_path, LABELS):
        pass
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet")
    assert table.to_pylist() == ROWS_BY_HAND
    assert not list(tmp_path.glob("*.partial"))


def test_the_table_has_a_column_for_everything_that_a_record_says() -> None:
    def fields(kind: Any) -> set[str]:
        return {field.name for field in kind}

    columns = schema(LABELS)
    assert fields(columns.field("predictions").type.value_type) == set(answer("probe", 0.5).to_dict())
    assert fields(columns.field("evidence").type) == set(Evidence((), {}).to_dict())
    assert {column.name for column in columns} == set(ROWS_BY_HAND[0])


def test_damaged_rows_are_named_and_not_measured(tmp_path: Path) -> None:
    lines = [json.dumps(cells) for cells in ROWS_BY_HAND]
    for damage in ("{half a li", '{"row": "text"}'):
        (tmp_path / ROWS_FILE).write_text("\n".join([lines[0], damage, *lines[1:]]) + "\n", encoding="utf-8")
        with pytest.raises(EvaluationError, match=r"predictions\.jsonl' cannot be read"):
            collect(read_rows(tmp_path, LABELS), LABELS)


def test_words_that_are_no_unicode_and_labels_in_any_script_survive(tmp_path: Path) -> None:
    odd: Mapping[str, float] = {'レ "x"': 0.25, "é.ü/€": 0.75}
    hostile = row(0, "é.ü/€", 0.9) | {"posterior": odd, "label": "é.ü/€", "evidence": None, "rationale": "\u2028 {]"}
    (tmp_path / ROWS_FILE).write_text(json.dumps(hostile) + "\n", encoding="utf-8")
    (batch,) = read_rows(tmp_path, list(odd))
    assert batch.to_pylist()[0]["posterior"] == odd
    figures = measure(collect([batch], list(odd)), list(odd))
    assert figures.fusion is not None
    assert figures.fusion.accuracy == 1.0
    assert figures.fusion.ece is not None
    assert not math.isnan(figures.fusion.ece)
