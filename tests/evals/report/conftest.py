"""Evaluations written by hand: rows as `consilience evaluate` writes them, measured as it measures them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from consilience.evals.answer_columns import collect
from consilience.evals.measurement import measure
from consilience.evals.rows import read_rows
from consilience.evals.run_log import write_json

Row = dict[str, Any]


def _prediction(agent: str, shares: Mapping[str, float] | None, stage: str = "first", rationale: str = "") -> Row:
    error = "unplugged" if shares is None else None
    label = None if shares is None else max(shares, key=shares.__getitem__)
    return {
        "agent": agent, "stage": stage, "label": label, "probabilities": shares,
        "confidence": None if shares is None else max(shares.values()), "rationale": rationale, "abstained": False,
        "error": error, "calibrated": shares, "weight": 0.0 if shares is None else 1.0, "cost_usd": 0.0, "tokens": 0,
        "seconds": 0.0, "raw": None, "prompt": "", "cached": False,
    }  # fmt: skip


@pytest.fixture
def row() -> Callable[..., Row]:
    """A row: the true label, the posterior (none: it failed), what else is known."""

    def made(
        truth: str,
        posterior: Mapping[str, float] | None = None,
        *,
        answers: Mapping[str, Mapping[str, float] | None] | None = None,
        first: Mapping[str, float] | None = None,
        refer: bool = False,
        image: str = "",
        rationale: str = "",
        **more: Any,
    ) -> Row:
        base: Row = {
            "source": image, "identity": None, "truth": truth, "leak": False, "label": None, "verdict": None,
            "error": "it is broken", "cost_usd": 0.0, "rounds": 0, "posterior": None, "first_posterior": None,
            "prediction_set": [], "reasons": [], "predictions": [], "evidence": None, "novelty": None,
            "novelty_signs": {}, "rationale": "", "seconds": 0.5,
        }  # fmt: skip
        if posterior is not None:
            voices = {"probe": posterior} if answers is None else answers
            predictions = [_prediction(agent, shares, rationale=rationale) for agent, shares in voices.items()]
            if first is not None:
                predictions.append(_prediction("probe", posterior, "second"))
            base |= {
                "label": max(posterior, key=posterior.__getitem__), "posterior": posterior, "first_posterior": first,
                "verdict": "refer" if refer else "confident", "reasons": ["weak posterior"] if refer else [],
                "predictions": predictions, "error": None, "rounds": 1 if first is None else 2,
                "evidence": {"neighbours": [], "distribution": {}}, "novelty": 0.25, "rationale": rationale,
            }  # fmt: skip
        return base | more

    return made


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as a finished evaluation, without its report."""

    def write(rows: Sequence[Row], labels: Sequence[str], source: str = "test", agents_only: bool = False) -> Path:
        out = tmp_path / "out"
        out.mkdir()
        with (out / "predictions.jsonl").open("w", encoding="utf-8") as file:
            for place, row in enumerate(rows):
                file.write(json.dumps({"row": place, **row, "source": row["source"] or f"{place:05}.png"}) + "\n")
        run = {"panel": {"id": "0a1b"}, "source": {"path": source, "kind": "folder"}, "choice": {"sample": None}}
        write_json(out / "run.json", run)
        figures = measure(collect(read_rows(out, labels), labels), labels, agents_only=agents_only)
        write_json(out / "metrics.json", figures.to_dict())
        return out

    return write
