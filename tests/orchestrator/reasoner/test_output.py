"""A reasoner's reply is read strictly, and its figures are looked up in the record."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.core.errors import AnswerError
from consilience.core.render.phrases import percent
from consilience.orchestrator.reasoner.output import invented_figures, output_schema, parse_output
from tests.support.reasoner_cases import TASK, output_of


def test_an_opinion_is_read() -> None:
    wish = {"agent": "qwen", "why": "it looked\nonce"}
    output = parse_output(output_of("Scab", 0.7, ask_again=[wish]), TASK, ["qwen", "gpt"])
    assert (output.label, output.probability, output.rationale) == ("scab", 0.7, "Both looks name it.")
    assert output.ask_again == {"qwen": "it looked once"}


@pytest.mark.parametrize("text", ['Well. ```json\n{"LABEL": "scab", "Rationale": "r", "probability": "70 %"}\n```'])
def test_what_is_harmless_is_repaired(text: str) -> None:
    output = parse_output(text, TASK, ())
    assert (output.label, output.probability, output.ask_again) == ("scab", 0.7, {})


REFUSED = {
    "prose": ("It is scab.", "no JSON object"),
    "two": (output_of("scab") + output_of("rust"), "2 JSON objects"),
    "no label": (json.dumps({"rationale": "r", "probability": 0.9}), "lacks the key 'label'"),
    "another label": (output_of("mildew"), '"mildew" is none of the labels'),
    "unsure": (output_of("unsure"), "must be one of the labels"),
    "over 1": (output_of("scab", 1.4), "'probability' is no number from 0 to 1"),
    "not a number": ('{"rationale": "r", "label": "scab", "probability": NaN}', "NaN"),
    "less than even": (output_of("scab", 0.3), "less than an even share of 3 labels"),
    "no wishes": (output_of("scab"), "lacks the key 'ask_again'"),
    "wishes in prose": (output_of("scab", ask_again="qwen"), "'ask_again' is of the wrong type"),
    "a wish in prose": (output_of("scab", ask_again=["qwen"]), "must be a list of objects"),
    "a wish without why": (output_of("scab", ask_again=[{"agent": "qwen"}]), "lacks the key 'why'"),
    "who is not there": (output_of("scab", ask_again=[{"agent": "eve", "why": "w"}]), '"eve" cannot be asked'),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_opinion_is_refused(case: str) -> None:
    text, problem = REFUSED[case]
    with pytest.raises(AnswerError, match=re.escape(problem)):
        parse_output(text, TASK, ["qwen"])


def test_nobody_can_be_asked_where_nobody_can_look_again() -> None:
    with pytest.raises(AnswerError, match="those that can: none"):
        parse_output(output_of("scab", ask_again=[{"agent": "qwen", "why": "w"}]), TASK, ())
    assert "ask_again" not in output_schema(TASK, ())["properties"]


def objects(schema: Any) -> list[dict[str, Any]]:
    """All object schemas within a schema."""
    inner = [*schema.values()] if isinstance(schema, dict) else schema if isinstance(schema, list) else []
    own = [schema] if isinstance(schema, dict) and schema.get("type") == "object" else []
    return own + [nested for value in inner for nested in objects(value)]


def test_the_schema_is_strict_throughout() -> None:
    schema = output_schema(TASK, ["qwen"])
    assert len(objects(schema)) == 2
    for part in objects(schema):
        assert part["required"] == list(part["properties"])
        assert part["additionalProperties"] is False
    assert schema["properties"]["label"]["enum"] == ["healthy", "rust", "scab"]
    assert schema["properties"]["ask_again"]["items"]["properties"]["agent"]["enum"] == ["qwen"]


SHOWN = '- "gaussian": "scab", confidence 81.3 %, right on 93.3 % of 90 images, CCC 0.45; its words: "I am 12.5 % sure"'


@pytest.mark.parametrize(
    "words",
    [
        "No figures at all.",
        "It has 81.3 %, which is 81 % or 0.81, or even 0.8.",
        "It was right on 93.3 percent of 90 images, that is on 93%.",
        "2 of the 10 looks say so.",
        "I give it 66 %.",
        "The CCC is 0.45 (or -0.45), and stage 7.5 is a label.",
        "The 1st and the b2 are no figures.",
    ],
)
def test_figures_of_the_record_are_known(words: str) -> None:
    assert invented_figures(words, shown=SHOWN, names=["stage 7.5"], own=0.66, countable=10) == []


@pytest.mark.parametrize(
    ("words", "figures"),
    [
        ("It has 82 %.", ["82 %"]),
        ("It has 81.4% or 81.35 percent.", ["81.4%", "81.35 percent"]),
        ("Sure to 12.5 %, it says.", ["12.5 %"]),
        ("Right on 9 % of 900 images.", ["9 %", "900"]),
        ("ECE 0.039", ["0.039"]),
        ("７７ %", ["77 %"]),
    ],
)
def test_figures_that_are_made_up_are_found(words: str, figures: list[str]) -> None:
    assert invented_figures(words, shown=SHOWN, names=[], own=0.66, countable=10) == figures


@given(st.floats(0.001, 0.999), st.integers(0, 1))
def test_a_share_of_the_record_may_be_rounded(share: float, places: int) -> None:
    words = f"It has {100 * float(percent(share).split()[-2]) / 100:.{places}f} %."
    assert invented_figures(words, shown=percent(share), names=[], own=0.0, countable=0) == []
