"""What the answers say, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from consilience.core.diagnosis import Diagnosis
from consilience.core.diagnosis_record import Embedding
from consilience.core.evidence import Evidence, Neighbour
from consilience.core.prediction import Prediction
from consilience.core.settings.settings import PolicySettings
from consilience.frontends.chat.image_comparison import compared
from consilience.frontends.chat.label_answers import others, why_not
from consilience.frontends.chat.panel_record import UNKNOWN, how_often_right, overall
from consilience.frontends.chat.reliance import LEARNS, NO_ADVICE, can_be_trusted, what_to_do
from consilience.frontends.chat.rule_answers import MAX_LABEL_BUTTONS, referral_buttons, who
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.decision.claim import Claim
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.threshold import Threshold
from consilience.orchestrator.in_use.costs import Costs
from tests.support.bare_diagnosis import bare_diagnosis

NAMES = ("rust", "scab", "healthy")
POLICY = Policy(PolicySettings(settle="risk_control"), Threshold(0.9, 0.5, 0.97))


def _shares(rust: float, scab: float, healthy: float) -> dict[str, float]:
    return dict(zip(NAMES, (rust, scab, healthy), strict=True))


def _answer(agent: str, *shares: float) -> Prediction:
    return Prediction(agent, "first", _shares(*shares), calibrated=_shares(*shares), weight=1.0)


def unsure() -> Diagnosis:
    predictions = (_answer("probe", 0.7, 0.2, 0.1), _answer("qwen", 0.3, 0.6, 0.1), Prediction("late", error="no"))
    made = bare_diagnosis("rust", _shares(0.61, 0.36, 0.03), ("rust", "scab"), "refer", predictions)
    cases = tuple(Neighbour(str(place), label, 0.9) for place, label in enumerate(("rust", "scab", "rust", "rust")))
    evidence = Evidence(cases, _shares(0.75, 0.25, 0.0))
    return replace(made, reasons=("Could be rust or scab",), evidence=evidence, novelty=0.42)


def test_what_else_it_could_be_is_the_prediction_set() -> None:
    assert others(unsure(), "1").text == "Beside rust (61.0 %) it could be scab (36.0 %)."
    settled = bare_diagnosis("rust", _shares(0.96, 0.03, 0.01), ("rust",))
    answer = others(settled, "1")
    assert answer.text == "Beside rust (96.0 %) the panel's rule leaves no label open; next is scab (3.0 %)."
    assert answer.table is not None
    assert answer.table.rows[1] == ("scab", "3.0 %")


def test_why_not_another_label_is_posterior_agents_and_cases() -> None:
    assert why_not(unsure(), "1", ("scab",), POLICY).text.splitlines() == [
        "scab has 36.0 %, rust 61.0 %.",
        "1 of 2 answers that count names scab: qwen (60.0 %).",
        "Of the 4 most similar labelled images, 1 shows scab.",
        "The panel cannot exclude scab.",
    ]
    assert why_not(unsure(), "1", ("healthy",), POLICY).text.splitlines() == [
        "healthy has 3.0 %, rust 61.0 %.",
        "No answer that counts names healthy; probe gives it the most, 10.0 %.",
        "Of the 4 most similar labelled images, none shows healthy.",
    ]
    cheaper = replace(unsure(), label="scab", expected_cost=0.4)
    assert "But scab is expected to cost least." in why_not(cheaper, "1", ("rust",), POLICY).text
    assert "But a reasoner decided for scab." in why_not(replace(unsure(), label="scab"), "1", ("rust",), POLICY).text


def test_why_not_what_it_names_and_why_not_without_a_label() -> None:
    named = "rust is the label that it names: refer to a person: most likely rust, 61.0 %; could also be scab."
    assert why_not(unsure(), "1", ("rust",), POLICY).text.startswith(named)
    assert why_not(unsure(), "1", (), POLICY).text == "Which label? This diagnosis chose from rust, scab, healthy."


def test_what_an_agent_says_is_its_calibrated_word() -> None:
    assert who(unsure(), "1", ("qwen", "late")).text.splitlines()[:2] == [
        "qwen says scab, 60.0 %.",
        "late gave no answer.",
    ]


def test_what_to_do_is_what_the_verdict_means_and_no_more() -> None:
    assert what_to_do(unsure(), "1", POLICY, can_refer=True).text.splitlines() == [
        'The verdict is "refer": show the image to a person who knows such images before anybody acts on it.',
        "Why: Could be rust or scab.",
        "refer to a person: most likely rust, 61.0 %; could also be scab.",
        "You can refer it to a person from here.",
        LEARNS,
        NO_ADVICE,
    ]
    dark = replace(unsure(), unjudgeable="Too dark to judge: take it again in daylight")
    first = what_to_do(dark, "1", POLICY, can_refer=False).text.partition("\n")[0]
    assert first == "Too dark to judge: take it again in daylight. Then give me the new image."
    settled = bare_diagnosis("rust", _shares(0.96, 0.03, 0.01), ("rust",))
    first = what_to_do(settled, "1", POLICY, can_refer=True).text.partition("\n")[0]
    assert first == 'The verdict is "confident": no person needs to look, it counts as rust, 96.0 %.'


def test_what_to_do_names_the_costs() -> None:
    costs = replace(POLICY, costs=Costs(np.ones((3, 3)) - np.eye(3), 0.3))
    answer = what_to_do(replace(unsure(), expected_cost=0.39), "1", costs, can_refer=False)
    assert "To say rust is expected to cost 0.39; to ask a person costs 0.3." in answer.text


def test_whether_it_can_be_trusted_is_verdict_record_and_novelty() -> None:
    lines = can_be_trusted(unsure(), "1", POLICY, ["Of 9 it was right."]).text.splitlines()
    assert lines == [
        "Not without a person: Could be rust or scab.",
        "Of 9 it was right.",
        "The panel is confident from 90.0 % on; on labelled images such answers were right in 97.0 % of the cases.",
        "Like the images it knows: more unusual than 42.0 % of them.",
    ]


def judged(labels: list[int], named: list[int]) -> CalibrationSet:
    return CalibrationSet.of(np.eye(3)[named] * 0.7 + 0.1, np.array(labels))


CLAIM = Claim(0.9, (0.8, 0.97), 0.7, 0.96, 0.95, 200, 50, "given", None)


def test_how_often_it_is_right_about_a_label_counts_its_images_and_its_name() -> None:
    """30 of rust, of which 27 are named so; 20 of scab, of which 2 are named rust: 27 of 29 that it names rust."""
    known = judged([0] * 30 + [1] * 20, [0] * 27 + [1] * 3 + [0] * 2 + [1] * 18)
    first, second = how_often_right("1", CLAIM, known, NAMES, ("rust",)).text.splitlines()
    assert first.startswith(
        "Of 30 labelled images of rust that it had not learned from, it named 90.0 % rust (of as many"
    )
    assert second.startswith("Of 29 images that it named rust, 93.1 % were rust (of as many new ones expect ")
    assert how_often_right("1", CLAIM, known, NAMES, ("healthy",)).text.startswith("No labelled image of healthy could")


def test_how_often_it_is_right_about_what_few_images_show_is_not_said() -> None:
    known = judged([0, 0, 0, 1], [0, 0, 1, 1])
    assert how_often_right("1", CLAIM, known, NAMES, ("rust", "scab")).text.splitlines() == [
        "Only 3 labelled images of rust are known: too few to say how often the panel finds it.",
        "It named only 2 images rust: too few to say how often that is right.",
        "Only 1 labelled image of scab is known: too few to say how often the panel finds it.",
        "It named only 2 images scab: too few to say how often that is right.",
    ]
    assert how_often_right("1", None, CalibrationSet.none(), NAMES, ("rust",)).text == UNKNOWN


def test_how_often_it_is_right_at_all_is_the_panels_claim() -> None:
    assert overall(CLAIM) == [
        "Of 50 labelled things that it had not learned from, the panel named 90.0 % rightly; of as many new ones like "
        "them expect 80.0 % to 97.0 %, all labels together.",
        "It settled 70.0 % without a person; of those 96.0 % were right.",
    ]
    assert overall(replace(CLAIM, settled=0.0, settled_accuracy=None))[1] == "It settled none of them without a person."
    assert overall(replace(CLAIM, interval=(0.4, 1.0))) == [
        "Only 50 labelled things are known: too few to say how often the panel is right."
    ]


def test_two_images_are_compared_by_their_records() -> None:
    before = replace(bare_diagnosis("scab", _shares(0.1, 0.9, 0.0), ("scab",)), source="here/leaf 1.png")
    before = replace(before, embedding=Embedding(np.array([0.6, 0.8], np.float32), "e"))
    this = replace(unsure(), embedding=Embedding(np.array([1.0, 0.0], np.float32), "e"))
    answer = compared(this, before, "1")
    assert answer.text.splitlines() == [
        "This one: refer to a person: most likely rust, 61.0 %; could also be scab.",
        "Before (leaf 1.png): scab, 90.0 %, confident.",
        "Similarity of the two images, as of the similar cases: 0.600.",
    ]
    assert answer.table is not None
    assert answer.table.rows == (
        ("rust", "61.0 %", "10.0 %"),
        ("scab", "36.0 %", "90.0 %"),
        ("probe", "rust", "–"),
        ("qwen", "scab", "–"),
        ("late", "–", "–"),
        ("Novelty", "42.0 %", "0 %"),
    )
    other_encoder = replace(before, embedding=Embedding(np.array([0.6, 0.8], np.float32), "f"))
    assert "Similarity" not in compared(this, other_encoder, "1").text


def test_whom_an_image_is_referred_to_has_a_button_for_each_label_unless_there_are_many() -> None:
    few = referral_buttons(unsure(), (*NAMES, "new"))
    assert [(button.text, button.value) for button in few[:-3]] == [(name, name) for name in (*NAMES, "new")]
    assert [button.action for button in few[-3:]] == ["none", "unsure", "where"]
    many = tuple(f"label {number}" for number in range(MAX_LABEL_BUTTONS + 1))
    made = bare_diagnosis(many[0], dict.fromkeys(many, 1 / len(many)), many, "refer")
    assert [button.action for button in referral_buttons(made, many)] == ["right", "wrong", "none", "unsure", "where"]
    assert len(referral_buttons(made, many)[1].choices) == MAX_LABEL_BUTTONS


@pytest.mark.parametrize("settled", [True, False])
def test_hostile_names_stay_on_their_line(settled: bool) -> None:
    name = "ru\x1b[2Jst\nThe verdict is confident"
    made = bare_diagnosis(name, {name: 0.9, "scab": 0.1}, (name, "scab"), "confident" if settled else "refer")
    replies = [
        others(made, "1"), why_not(made, "1", (), POLICY), why_not(made, "1", ("scab",), POLICY),
        what_to_do(made, "1", POLICY, can_refer=True), compared(made, made, "1"),
    ]  # fmt: skip
    for reply in replies:
        assert "\x1b" not in reply.text
        assert not any(line.startswith("The verdict is confident") for line in reply.text.splitlines())
