"""The answer about a panel as images get worse."""

from __future__ import annotations

import json
from pathlib import Path

from consilience.evals.answer_columns import collect
from consilience.evals.evaluation import Evaluation
from consilience.evals.figures import Settled
from consilience.evals.measurement import measure
from consilience.evals.robustness.robustness_metrics import Condition, Robustness, Seen, all_ways


def under(corruption: str, strength: int, *, settled: int, right: int, n: int = 40) -> Condition:
    """A condition of which only the settled images matter."""
    share, accuracy = settled / n, right / settled if settled else None
    settled_figures = Settled(settled, share, right, accuracy, 0.0, 1.0)
    wrong = (settled - right) / n
    return Condition(corruption, strength, n, 0, 0.5, 0.0, 1.0, 0.1, settled_figures, 1.0 - share, wrong, 0.5, {})


def robustness(*conditions: Condition) -> Robustness:
    clean = Evaluation(Path("out/clean"), measure(collect([], ("a", "b")), ("a", "b")), (), ())
    return Robustness(Path("out"), clean, 0.95, conditions)


def test_all_ways_are_the_clean_images_and_eight_corruptions_of_five_strengths() -> None:
    ways = [str(seen) for seen in all_ways()]
    assert (len(set(ways)), ways[0], ways[1]) == (41, "clean", "noise-1")


def test_a_panel_that_refers_is_praised() -> None:
    stressed = robustness(
        under("clean", 0, settled=38, right=38),
        under("noise", 5, settled=2, right=2),
        under("blur", 5, settled=10, right=9),
    )
    assert stressed.answer() == (
        "As images get worse, the panel is not wrong with confidence more often. From clean images to strength 5, as a "
        "mean over the corruptions: settled and wrong 0 % to 1.2 % of the images, referred to a person 5.0 % to "
        "85.0 %."
    )


def test_a_panel_that_is_wrong_with_confidence_at_any_strength_is_reported() -> None:
    """Of 40 clean images none is: up to 8.8 % may be chance (Wilson)."""
    stressed = robustness(
        under("clean", 0, settled=40, right=40),
        under("noise", 2, settled=40, right=36),
        under("noise", 5, settled=0, right=0),
        under("blur", 5, settled=40, right=30),
        under("jpeg", 5, settled=40, right=37),
    )
    assert (
        "wrong with confidence more often under blur (25.0 % at strength 5), noise (10.0 % at strength 2)."
        in stressed.answer()
    )


def test_without_images_there_is_no_answer() -> None:
    assert robustness(under("clean", 0, settled=1, right=1)).answer().startswith("No answer")


def test_the_course_of_a_corruption_begins_with_the_clean_images() -> None:
    clean, noise, blur = (under(name, n, settled=1, right=1) for name, n in (("clean", 0), ("noise", 1), ("blur", 1)))
    stressed = robustness(clean, noise, blur)
    assert stressed.course("blur") == (clean, blur)
    assert json.loads(json.dumps(stressed.to_dict()))["conditions"][2]["corruption"] == "blur"
    assert str(Seen("blur", 1)) == "blur-1"
