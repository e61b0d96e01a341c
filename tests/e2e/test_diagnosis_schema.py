"""Whatever writes a diagnosis as JSON follows the one schema that the docs keep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

import consilience
from consilience.core.diagnosis import Diagnosis
from consilience.core.diagnosis_schema import VERSION, diagnosis_schema
from consilience.core.evidence import Evidence, Neighbour
from consilience.core.prediction import Prediction
from consilience.core.trust import Trust
from tests.support.commands import Invoke
from tests.support.web_server import diagnosed, serving

KEPT = Path(__file__).parents[2] / "docs" / "schemas" / f"diagnosis-{VERSION}.schema.json"


def check(written: Mapping[str, Any], *added: str) -> None:
    """Validate what was written; `added` are the fields of the writer's own."""
    diagnosis = {name: value for name, value in written.items() if name not in added}
    jsonschema.validate(diagnosis, diagnosis_schema())


def test_the_docs_keep_the_schema_as_it_is() -> None:
    jsonschema.Draft202012Validator.check_schema(diagnosis_schema())
    assert json.loads(KEPT.read_text(encoding="utf-8")) == diagnosis_schema(), (
        "the schema changed: python -m consilience.core.diagnosis_schema > docs/schemas/... (a new VERSION if a reader "
        "of the old one would stumble)"
    )


def test_every_part_of_a_diagnosis_is_in_the_schema() -> None:
    posterior = {"rust": 0.75, "healthy": 0.25}
    looks = (
        Prediction("probe", "first", posterior, calibrated=posterior, weight=0.5),
        Prediction("qwen", "first", abstained=True, raw="hm", prompt="look 1"),
        Prediction("qwen", "second", error="timed out", cached=True, tokens=3, seconds=1.0),
    )
    evidence = Evidence((Neighbour("a1", "rust", 0.9, "a.jpg"),), posterior, testimony=looks[:1])
    trust = Trust("probe", "first", 40, 0.1, 0.0, 0.3, 0.9, 0.2, {"rust": {"rust": 18, "healthy": 2}})
    whole = Diagnosis(
        label="rust",
        posterior=posterior,
        prediction_set=("rust",),
        verdict="refer",
        reasons=("Only 75 % sure",),
        predictions=looks,
        evidence=evidence,
        rationale="why",
        rounds=2,
        seconds=0.5,
        cost_usd=0.0,
        identity="id",
        source="leaf.jpg",
        trust=(trust,),
        first_posterior=posterior,
        novelty=0.4,
        novelty_signs={"knn": 0.4},
    )
    check(json.loads(whole.to_json()))
    with pytest.raises(jsonschema.ValidationError):
        check(whole.to_dict() | {"image": "leaf.jpg"})


def test_every_writer_follows_it(invoke: Invoke, panel: Path, new_images: dict[str, Path]) -> None:
    image = new_images["circle"]
    check(consilience.diagnose(image, panel=panel).to_dict())
    line = json.loads(invoke("diagnose", image, "--panel", panel, "--json").stdout)
    check(line, "id")
    records = invoke("history", "--panel", panel, "--json").stdout.splitlines()
    assert records
    for record in records:
        check(json.loads(record), "id", "when", "channel", "person", "feedback")
    with serving(panel) as address, httpx.Client(base_url=address, timeout=120, trust_env=False) as client:
        check(diagnosed(client), "id", "when", "page")


def test_a_row_of_an_evaluation_holds_a_diagnosis(invoke: Invoke, panel: Path, shapes: Path, tmp_path: Path) -> None:
    invoke("evaluate", shapes, "--panel", panel, "--out", tmp_path / "out", "--limit", "4")
    rows = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 4
    for row in rows:
        check(json.loads(row) | {"trust": []}, "row", "truth", "leak", "error")
