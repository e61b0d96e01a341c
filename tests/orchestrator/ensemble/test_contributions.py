"""What an agent adds: pools, intervals and confusions worked out by hand, and copies that are told apart from help."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from consilience.agents.base import softmax
from consilience.orchestrator.ensemble.contributions import (
    Confusion,
    Contribution,
    contributions_of,
    typical_confusion,
)
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.orchestrator.ensemble.members import Member
from consilience.orchestrator.ensemble.scaling import TemperatureScaling
from consilience.orchestrator.ensemble.trust_metrics import measure

LABELS = np.repeat([0, 1], 5)


def member(name: str, answers: np.ndarray, labels: np.ndarray, cost_usd: float = 0.0, seconds: float = 0.0) -> Member:
    names = tuple("abcd"[: answers.shape[1]])
    trust = measure(name, "first", answers, labels, names)
    return Member(name, "first", TemperatureScaling(1.0), trust, cost_usd, seconds)


def contributions(
    answers: np.ndarray,
    labels: np.ndarray,
    members: Sequence[Member],
    groups: np.ndarray | None = None,
    fusion: Fusion | None = None,
) -> tuple[Contribution, ...]:
    """Of one pool for all images; by default each counts in full."""
    parts = [(np.ones(len(labels), bool), fusion or Fusion.independent(len(members)))]
    things = np.arange(len(labels)) if groups is None else groups
    named = np.nan_to_num(answers).argmax(axis=2)
    return contributions_of(members, answers, named, labels, things, parts, "abcd"[: answers.shape[2]])


def steady_and_saviour() -> np.ndarray:
    """One is right but for the first two images; the other is sure of these, and knows nothing of the rest."""
    steady = np.where(np.eye(2)[LABELS] > 0, 0.6, 0.4)
    steady[:2] = steady[:2, ::-1]
    saviour = np.full((10, 2), 0.5)
    saviour[:2] = 0.9, 0.1
    return np.stack([steady, saviour])


def test_what_two_agents_add_by_hand() -> None:
    answers = steady_and_saviour()
    members = [member("steady", answers[0], LABELS, 0.02, 1.5), member("saviour", answers[1], LABELS, 0.0, 0.5)]
    steady, saviour = contributions(answers, LABELS, members)
    assert (steady.alone, steady.without, steady.adds) == (0.8, 0.5, 0.5)  # left alone, the other names "a" for all
    assert (saviour.alone, saviour.without) == (0.5, 0.8)
    assert saviour.adds == pytest.approx(0.2)
    width = 1.96 * np.sqrt((3 / 12 - (2 / 12) ** 2) / 12)  # two images gained, and half an image more in each cell
    assert (saviour.low, saviour.high) == pytest.approx((2 / 12 - width, 2 / 12 + width))
    assert saviour.is_noise
    assert (steady.cost_usd, steady.seconds, saviour.seconds) == (0.02, 1.0, 0.0)
    assert steady.images == 10


def test_a_thing_counts_once_however_many_images_show_it() -> None:
    answers = steady_and_saviour()
    members = [member("steady", answers[0], LABELS), member("saviour", answers[1], LABELS)]
    saviour = contributions(answers, LABELS, members, groups=np.arange(10) // 2)[1]
    width = 1.96 * np.sqrt((2 / 7 - (1 / 7) ** 2) / 7)  # one thing of five gained
    assert (saviour.low, saviour.high) == pytest.approx((1 / 7 - width, 1 / 7 + width))


def test_an_only_agent_is_compared_with_nobody() -> None:
    answers = steady_and_saviour()[:1]
    [only] = contributions(answers, LABELS, [member("steady", answers[0], LABELS)])
    assert (only.adds, only.without, only.repeats) == (None, None, None)


def test_copies_repeat_each_other_and_an_independent_agent_adds() -> None:
    rng, labels = np.random.default_rng(0), np.random.default_rng(1).integers(0, 4, 600)
    own, other = rng.standard_normal((2, 600, 4))
    said = [1.5 * np.eye(4)[labels] + noise for noise in (own, own + 0.05 * rng.standard_normal((600, 4)), other)]
    answers = np.stack([softmax(1.5 * words) for words in said])
    members = [member(name, rows, labels) for name, rows in zip(("one", "copy", "other"), answers, strict=True)]
    one, copy, third = contributions(answers, labels, members, fusion=Fusion.from_predictions(answers, labels))
    assert (one.repeats, copy.repeats, third.repeats) == ("copy", "one", None)
    assert third.low > 0.02
    one, copy, _ = contributions(answers, labels, members)  # a copy that counts in full does harm
    assert max(one.high, copy.high) < 0
    assert one.repeats is copy.repeats is None


def test_an_agent_that_never_answered_has_no_line_and_images_without_answers_count_not() -> None:
    answers = np.stack([*steady_and_saviour(), np.full((10, 2), np.nan)])
    answers[:, 9] = np.nan
    members = [member(name, rows, LABELS) for name, rows in zip(("steady", "saviour", "mute"), answers, strict=True)]
    found = contributions(answers, LABELS, members)
    assert [contribution.agent for contribution in found] == ["steady", "saviour"]
    assert found[0].images == 9
    assert found[1].without == pytest.approx(7 / 9)


def test_a_typical_confusion_is_one_beyond_the_other_mistakes() -> None:
    """Of 40 images of each of three labels 10 of "a" are called "b", and two more are mistaken elsewhere."""
    labels = np.repeat([0, 1, 2], 40)
    named = labels.copy()
    named[:10], named[40], named[80] = 1, 2, 0
    assert typical_confusion(named, labels, "abc", np.arange(120)) == Confusion("a", "b", 0.25)
    assert typical_confusion(named, labels, "abc", np.arange(120) // 20) is None  # six things alone
    evenly = (labels + np.tile([0, 0, 1, 2], 30)) % 3
    assert typical_confusion(evenly, labels, "abc", np.arange(120)) is None
    assert typical_confusion(labels, labels, "abc", np.arange(120)) is None


def test_it_is_restored_from_plain_data() -> None:
    whole = Contribution("a", 9, 0.8, 0.1, -0.1, 0.3, 0.7, "b", Confusion("x", "y", 0.4), 0.01, 2.0)
    assert Contribution.from_dict(whole.to_dict()) == whole
    bare = Contribution("a", 9, 0.8, None, 0.0, 0.0, None, None, None, 0.0, 0.0)
    assert Contribution.from_dict(bare.to_dict()) == bare
