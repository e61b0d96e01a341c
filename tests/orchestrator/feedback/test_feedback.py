"""Whose vote counts when: at once, by agreement, by review; and votes that disagree wait."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consilience import Diagnoser, Diagnosis, fit
from consilience.core.errors import HistoryError
from consilience.core.settings.settings import LearningSettings
from consilience.core.task import NONE_OF_THESE
from consilience.orchestrator.feedback.feedback import Feedbacks
from consilience.orchestrator.feedback.history import History
from tests.orchestrator.conftest import QUICK

Under = Callable[..., Feedbacks]


@pytest.fixture
def history(panel: Path, tmp_path: Path) -> Iterator[History]:
    own = Path(shutil.copytree(panel, tmp_path / "own", ignore=shutil.ignore_patterns("history.sqlite*")))
    with History.open(own) as opened:
        yield opened


@pytest.fixture
def id(history: History, blobs: Any) -> str:
    """Of a diagnosis of an apple, which says so."""
    with Diagnoser.open(history.database.folder) as diagnoser:
        (diagnosis,) = diagnoser.diagnose_vectors(blobs.centres[:1], ["fruit"])
    assert isinstance(diagnosis, Diagnosis)
    assert diagnosis.label == "apple"
    return history.keep(diagnosis).id


@pytest.fixture
def under(history: History) -> Under:
    return lambda review, people=2: Feedbacks(history, LearningSettings(review=review, people=people))


def statuses(feedbacks: Feedbacks, id: str) -> dict[str, tuple[str, str]]:
    return {vote.person: (vote.label, vote.status) for vote in feedbacks.of(id)}


def test_at_once(under: Under, id: str) -> None:
    feedbacks = under("at-once")
    right = feedbacks.give(id, "Ada", None)
    assert (right.label, right.status) == ("apple", "counts")
    assert [vote.label for vote in feedbacks.to_learn()] == ["apple"]
    changed = feedbacks.give(id, "Ada", " BEECH ")
    assert (changed.label, changed.status) == ("beech", "counts")
    assert [vote.label for vote in feedbacks.to_learn()] == ["beech"]


def test_none_of_these_is_an_answer_and_no_label(under: Under, id: str) -> None:
    feedbacks = under("agreement")
    vote = feedbacks.give(id, "Ada", NONE_OF_THESE)
    assert (vote.to_dict()["label"], vote.to_dict()["none_of_these"], vote.status) == (None, True, "waiting")
    assert feedbacks.give(id, "Bo", NONE_OF_THESE).status == "counts"
    assert [vote.label for vote in feedbacks.to_learn()] == [NONE_OF_THESE]
    assert feedbacks.give(id, "Cy", "beech").status == "waiting"  # they disagree
    feedbacks.accept(id, NONE_OF_THESE)
    assert statuses(feedbacks, id) == {
        "Ada": (NONE_OF_THESE, "counts"), "Bo": (NONE_OF_THESE, "counts"), "Cy": ("beech", "refused"),
    }  # fmt: skip
    with pytest.raises(HistoryError, match="no label 'none of these'"):
        feedbacks.give(id, "Di", "none of these")


def test_a_label_may_be_called_so_and_is_still_another_answer(tmp_path: Path, blobs: Any) -> None:
    vectors, labels = blobs.drawn(30, 3)
    called = {"apple": "none", "beech": "None of these", "cedar": "cedar"}
    source = blobs.save(tmp_path / "v.npz", vectors, [called[label] for label in labels])
    fit(source, tmp_path / "panel", settings=QUICK)
    with Diagnoser.open(tmp_path / "panel") as diagnoser:
        (diagnosis,) = diagnoser.diagnose_vectors(blobs.centres[:1], ["fruit"])
    assert isinstance(diagnosis, Diagnosis)
    with History.open(tmp_path / "panel") as history:
        feedbacks, id = Feedbacks(history), history.keep(diagnosis).id
        answers = ("none", "none of these", NONE_OF_THESE)
        votes = [feedbacks.give(id, str(number), answer) for number, answer in enumerate(answers)]
    assert [vote.label for vote in votes] == ["none", "None of these", NONE_OF_THESE]
    assert [vote.to_dict()["none_of_these"] for vote in votes] == [False, False, True]


def test_agreement(under: Under, id: str) -> None:
    feedbacks = under("agreement")
    assert feedbacks.give(id, "Ada", None).status == "waiting"
    assert feedbacks.give(id, "Ada", "apple").status == "waiting"  # twice the same person is one person
    assert feedbacks.give(id, "", "apple").status == "waiting"  # who is unknown is nobody
    assert feedbacks.to_learn() == []
    assert feedbacks.give(id, "Bo", "apple").status == "counts"
    assert {status for _, status in statuses(feedbacks, id).values()} == {"counts"}
    assert len(feedbacks.to_learn()) == 1


@pytest.mark.parametrize("review", ["at-once", "agreement", "person"])
def test_who_disagree_wait_for_a_person(under: Under, id: str, review: str) -> None:
    feedbacks = under(review)
    for person, label in (("Ada", "beech"), ("Bo", "beech"), ("Cy", "cedar")):
        feedbacks.give(id, person, label)
    (case,) = feedbacks.waiting()
    assert case.is_disputed
    assert case.labels == ("beech", "cedar")
    assert feedbacks.to_learn() == []
    feedbacks.accept(id, "cedar", "Di")
    assert statuses(feedbacks, id) == {
        "Ada": ("beech", "refused"),
        "Bo": ("beech", "refused"),
        "Cy": ("cedar", "counts"),
    }
    assert feedbacks.waiting() == []


def test_a_reviewer_may_know_better_than_all(under: Under, id: str) -> None:
    feedbacks = under("person")
    feedbacks.give(id, "Ada", "beech")
    feedbacks.accept(id, "cedar", "Di")
    assert statuses(feedbacks, id) == {"Ada": ("beech", "refused"), "Di": ("cedar", "counts")}


def test_what_is_refused_counts_nothing_until_it_is_said_anew(under: Under, id: str) -> None:
    feedbacks = under("person")
    feedbacks.give(id, "Ada", "beech")
    feedbacks.refuse(id)
    assert (feedbacks.waiting(), feedbacks.to_learn()) == ([], [])
    assert feedbacks.give(id, "Ada", "cedar").status == "waiting"


def test_what_was_learned_is_not_taken_back_by_a_vote(under: Under, id: str) -> None:
    feedbacks = under("at-once")
    feedbacks.give(id, "Ada", "beech")
    feedbacks.mark([id], 7)
    assert feedbacks.to_learn() == []
    with pytest.raises(HistoryError, match=r"learned what 'Ada' said of .* \(beech\): run 'consilience undo 7' first"):
        feedbacks.give(id, "Ada", "cedar")
    assert feedbacks.give(id, "Bo", "cedar").status == "waiting"
    with pytest.raises(HistoryError, match=r"learned .* as 'beech': run 'consilience undo 7'"):
        feedbacks.accept(id, "cedar", "Di")


def test_votes_on_nothing_are_refused(under: Under, history: History, id: str) -> None:
    feedbacks = under("at-once")
    with pytest.raises(HistoryError, match="the panel's task has no label 'oak'; it has apple, beech, cedar"):
        feedbacks.give(id, "Ada", "oak")
    feedbacks.give(id, "Ada", None)
    history.delete([id])
    assert feedbacks.of(id) == []
    for label in (None, "beech"):
        with pytest.raises(HistoryError, match="no diagnosis"):
            feedbacks.give(id, "Ada", label)
    with pytest.raises(HistoryError, match="no diagnosis"):
        feedbacks.accept(id, "beech", "Di")
