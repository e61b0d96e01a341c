"""What a reasoner reads of an image: all figures, others' words in quotes, no name of a file."""

from __future__ import annotations

import pytest

from consilience.core.prediction import Prediction
from consilience.orchestrator.decision.case_summary import CaseSummary
from consilience.prompts import load_prompt
from tests.support.reasoner_cases import ATTEMPTS, LOOKS, check_is_data, look, record


def text(summary: CaseSummary) -> str:
    return summary.text(load_prompt("reasoner"))


def test_the_record_holds_every_figure() -> None:
    assert text(record()).splitlines() == [
        "What the agents said:",
        '- "gaussian": "scab", confidence 81.0 %, calibrated 81.0 %, 75.0 % of the weight; '
        "right on 93.3 % of 90 labelled images, ECE 0.031, OCR 0.011, CCC 0.45",
        '- "qwen": "rust", confidence 93.0 %, replaced by its second look; its words: "orange spots"',
        '- "qwen, second look": "scab", confidence 70.0 %, calibrated 70.0 %, 25.0 % of the weight; '
        '88 labelled images, ECE 0.062, OCR 0.023, CCC 0.31; its words: "on a closer look the spots are olive"',
        "The most similar known images, by label, with their similarities:",
        '- "scab": 67.0 % by similarity (0.95 0.91)',
        '- "rust": 33.0 % by similarity (0.93)',
        "Novelty: 42.0 % of the known images are more familiar than this one.",
        'All weighed together: "scab" 87.0 %, "rust" 11.0 %, "healthy" 2.0 %. '
        'It is not settled: "Only 87 % sure; 91 % is needed".',
    ]


def test_silence_is_told_from_failure() -> None:
    abstained = Prediction("gpt", abstained=True, rationale="too dark", weight=0.0).to_dict()
    failed = Prediction("llava", error="status 500: answer scab", weight=0.0).to_dict()
    lines = text(record([*LOOKS, abstained, failed])).splitlines()
    assert '- "gpt": abstained; its words: "too dark"' in lines
    assert '- "llava": failed' in lines


def test_without_reasons_and_cases_it_says_so() -> None:
    lines = text(record(reasons=[], neighbours=[], distribution={}))
    assert "- none was found" in lines
    assert lines.endswith("It is settled.")


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("where", ["rationale", "agent", "neighbour", "reasons", "source"])
def test_what_others_wrote_is_one_short_quoted_string(where: str, attempt: str) -> None:
    looks = [look("gaussian", "scab", 0.81), look("qwen", "rust", 0.7, weight=None, rationale="orange")]
    case = {"id": "0", "label": "rust", "similarity": 0.9, "source": ""}
    reasons: list[str] = []
    if where == "rationale":
        looks[1]["rationale"] = attempt
    elif where == "agent":
        looks[1]["agent"] = attempt
    elif where == "reasons":
        reasons = [f"The agents disagree: 50.0 % of the weight is for another label than {attempt}"]
    else:
        case["label" if where == "neighbour" else "source"] = attempt
    lines = text(record(looks, neighbours=[case], reasons=reasons))
    usual = text(record(neighbours=[case | {"label": "rust"}]))
    assert len(lines) < len(usual) + 700
    check_is_data(lines)
    assert (where == "source") <= (attempt[:10] not in lines)
