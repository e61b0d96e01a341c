"""Reading a model's reply: every field is checked, what is harmless is repaired, nothing is guessed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience.agents.vlm.label_answer import RATIONALE_PATTERN, LabelAnswer, answer_schema, parse_answer, parse_label
from consilience.core.errors import AgentError, AnswerError
from consilience.core.task import Label, Task

TASK = Task(labels=(Label(name="healthy"), Label(name="black rot", synonyms=("frogeye",)), Label(name="scab")))


def reply(**fields: Any) -> str:
    return json.dumps({"rationale": "spots", "label": "scab", "confidence": 0.7} | fields)


@pytest.mark.parametrize(
    "text",
    [
        reply(),
        f"```json\n{reply()}\n```",
        f"I looked closely {{at it}}. My answer: {reply()} I hope it helps.",
        reply(label=" SCAB "),
        reply(confidence="0.7"),
        reply(confidence="70%"),
        reply(confidence=" 70 % "),
        reply(confidence=70),
        reply(confidence="70"),
        reply(confidence="0,7"),
        reply(confidence="70,0 %"),
        reply(confidence="70 percent"),
        reply(confidence="7/10"),
        reply(confidence="7 out of 10"),
        reply(confidence="70/100"),
        reply(label=["scab"]),
        reply(label=["scab", "scab"]),
        reply() + reply(),
        f"```json\n{reply()}\n```\nIn short:\n```json\n{reply(rationale='again')}\n```",
        '{"thinking": "spots"}' + reply(),
        reply(further="ignored"),
        '{"Rationale": "spots", "LABEL": "scab", "confidence": 7e-1}',
        '{"rationale": "spo\nts", "label": "scab", "confidence": 0.7}'.replace("\nts", "ts\n"),
        f"[{reply()}]",
        "\ufeff" + reply(),
    ],
)
def test_what_is_harmless_is_repaired(text: str) -> None:
    assert parse_answer(text, TASK) == LabelAnswer("scab", 0.7, "spots")


@pytest.mark.parametrize(("text", "label"), [("frogeye", "black rot"), ("Black_Rot", "black rot"), ("UNSURE", None)])
def test_synonyms_spellings_and_unsure(text: str, label: str | None) -> None:
    assert parse_answer(reply(label=text), TASK).label == label


@pytest.mark.parametrize(
    ("value", "confidence"),
    [
        (0, 0.0),
        (1, 1.0),
        (1.0, 1.0),
        ("1", 1.0),
        ("1%", 0.01),
        ("0.5 %", 0.005),
        ("2 %", 0.02),
        (11, 0.11),
        (43, 0.43),
        (100, 1.0),
    ],
)
def test_a_probability_or_a_percentage(value: object, confidence: float) -> None:
    assert parse_answer(reply(confidence=value), TASK).confidence == pytest.approx(confidence)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("scab", "holds no JSON object"),
        ("", "holds no JSON object"),
        (reply() + reply(label="healthy"), "holds 2 JSON objects that differ"),
        (reply() + reply(confidence=0.6), "holds 2 JSON objects that differ"),
        (reply()[:-1], "holds no JSON object"),
        (reply().replace("}", ",}"), "holds no JSON object"),
        ("{" * 100, "holds no JSON object"),
        ('{"a":' * 3000, "over 100 braces"),
        (" " * 20_001, "over 20000 characters"),
        ('{"a":' + "[" * 10_000, "holds no JSON object"),
        ('{"answer": ' + reply() + "}", "lacks the key 'label'"),
        ('{"label": "scab", "label": "healthy"}', "a key twice"),
        ('{"label": "scab", "LABEL": "healthy"}', "a key twice"),
        ('{"label": "scab", "confidence": 0.7}', "lacks the key 'rationale'"),
        ('{"label": "scab", "rationale": ""}', "lacks the key 'confidence'"),
        (reply(label="mildew"), '"mildew" is none of the labels, which are "healthy", "black rot", "scab", "unsure"'),
        (reply(label="healthy or scab"), "none of the labels"),
        (reply(label="not scab"), "none of the labels"),
        (reply(label="sca"), "none of the labels"),
        (reply(label=""), "none of the labels"),
        (reply(label=None), "'label' is of the wrong type"),
        (reply(label=["scab", "healthy"]), "'label' holds 2 labels; it must be exactly one"),
        (reply(label=[]), "'label' is of the wrong type"),
        (reply(label=[1]), "'label' is of the wrong type"),
        (reply(rationale=3), "'rationale' is of the wrong type"),
        (reply(confidence=None), "'confidence' is of the wrong type"),
        (reply(confidence=True), "'confidence' is of the wrong type"),
        (reply(confidence=[0.7]), "'confidence' is of the wrong type"),
        (reply(confidence=float("nan")), "NaN is no number"),
        (reply(confidence=float("inf")), "Infinity is no number"),
        (reply().replace("0.7", "1e999"), "no number from 0 to 1"),
        (reply().replace("0.7", "1" * 400), "no number from 0 to 1"),
        (reply().replace("0.7", "1" * 5000), "holds no JSON object"),
        (reply(confidence=-0.1), "no number from 0 to 1"),
        (reply(confidence="-5%"), "no number from 0 to 1"),
        (reply(confidence=1.5), "no number from 0 to 1, and could be percent or points of ten"),
        (reply(confidence=8), "no number from 0 to 1, and could be percent or points of ten"),
        (reply(confidence="8"), "no number from 0 to 1"),
        (reply(confidence="12/10"), "no number from 0 to 1"),
        (reply(confidence="1.000,5"), "no number from 0 to 1"),
        (reply(confidence=101), "no number from 0 to 1"),
        (reply(confidence="101%"), "no number from 0 to 1"),
        (reply(confidence="nan"), "no number from 0 to 1"),
        (reply(confidence="high"), "no number from 0 to 1"),
        (reply(confidence=""), "no number from 0 to 1"),
    ],
)
def test_everything_else_is_refused_by_name(text: str, problem: str) -> None:
    with pytest.raises(AnswerError, match=problem) as caught:
        parse_answer(text, TASK)
    assert isinstance(caught.value, AgentError)
    assert len(str(caught.value)) < 1000


def test_a_task_that_means_something_by_unsure() -> None:
    task = Task.from_labels(["unsure", "sure"])
    assert parse_answer(reply(label="Unsure"), task).label == "unsure"
    assert answer_schema(task)["properties"]["label"]["enum"] == ["unsure", "sure"]


def test_a_second_look_must_say_why() -> None:
    assert parse_answer(reply(), TASK, "second").rationale == "spots"
    with pytest.raises(AnswerError, match="'rationale' is empty; it must say why"):
        parse_answer(reply(rationale=" \n"), TASK, "second")
    assert parse_answer(reply(rationale=""), TASK, "first").label == "scab"


def test_the_schema_is_strict() -> None:
    schema = answer_schema(TASK)
    assert [*schema["properties"]] == schema["required"] == ["rationale", "label", "confidence"]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("text", ["Orange spots, 3 mm; halos' edge!", "", "a" * 300])
def test_the_pattern_of_a_rationale_allows_a_sentence(text: str) -> None:
    assert re.fullmatch(RATIONALE_PATTERN, text)


@pytest.mark.parametrize("text", ["a" * 301, 'a "quote"', "back\\slash", "two\nlines", "\x07"])
def test_the_pattern_of_a_rationale_refuses_what_could_break_the_json(text: str) -> None:
    assert not re.fullmatch(RATIONALE_PATTERN, text)


@pytest.mark.parametrize("text", ["scab", ' "Scab".\n', "**scab**", "`scab`"])
def test_a_label_by_itself(text: str) -> None:
    assert parse_label(text, TASK) == "scab"


def test_a_label_in_a_sentence_is_not_picked_out() -> None:
    with pytest.raises(AnswerError):
        parse_label("It is scab", TASK)


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


keys = st.fixed_dictionaries({"label": anything, "confidence": anything, "rationale": anything})


@settings(max_examples=60)
@given(st.text() | keys.map(json.dumps))
def test_no_reply_does_anything_but_answer_or_be_refused(text: str) -> None:
    try:
        answer = parse_answer(text, TASK)
    except AnswerError:
        return
    assert answer.label in (*TASK.names, None)
    assert answer.confidence is not None
    assert 0.0 <= answer.confidence <= 1.0
    assert "\n" not in answer.rationale
