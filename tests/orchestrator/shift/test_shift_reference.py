"""What new images are compared with: the split by group, the score, and what it makes of labels and of new sources."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from consilience.orchestrator.grouping.grouping import Grouping
from consilience.orchestrator.shift.shift_reference import (
    CLASSES,
    K,
    ShiftReference,
    chances,
    classes_of,
)
from consilience.retrieval.memory.labelled_images import LabelledImages

Drawn = Callable[..., np.ndarray]
Make = Callable[..., ShiftReference]


def test_a_third_of_the_groups_is_held_out_with_one_image_each(drawn: Drawn, make_reference: Make) -> None:
    vectors = drawn(90, 1)
    groups = [f"part {row // 3}" for row in range(90)]
    reference = make_reference(vectors, groups, Grouping("given", "part"))
    assert len(reference.held) == 10
    assert len(reference.known) == 60
    assert reference.images_a_thing == 3
    known = {groups[row] for row in range(90) if (vectors[row] == reference.known).all(axis=1).any()}
    assert len(known) == 20  # no group lies on both sides


def test_the_score_is_the_distance_beside_that_of_the_nearest_to_each_other(make_reference: Make, drawn: Drawn) -> None:
    reference = make_reference(drawn(60, 2))
    new = drawn(4, 3)
    apart = 1.0 - new.astype(np.float64) @ reference.known.T.astype(np.float64)
    among = 1.0 - reference.known.astype(np.float64) @ reference.known.T.astype(np.float64)
    np.fill_diagonal(among, np.inf)
    spread = np.sort(among, axis=1)[:, :K].mean(axis=1)
    for row in range(4):
        nearest = np.argsort(apart[row])[:K]
        expected = apart[row, nearest].mean() / spread[nearest].mean()
        assert reference.scores(new)[row] == pytest.approx(expected, rel=1e-4)


def test_images_of_one_group_do_not_make_each_other_usual(drawn: Drawn, make_reference: Make) -> None:
    """Six copies of each image: by themselves they look as if all images had an equal beside them."""
    vectors = np.repeat(drawn(60, 4), 6, axis=0)
    groups = [f"thing {row // 6}" for row in range(len(vectors))]
    by_group, by_image = make_reference(vectors, groups), make_reference(vectors)
    new = drawn(100, 5)
    assert 0.35 < (by_group.scores(new)[:, None] > by_group.held).mean() < 0.65
    assert (by_image.scores(new)[:, None] > by_image.held).mean() > 0.8


def test_a_varied_label_alone_is_no_stranger_than_all_labels(make_reference: Make) -> None:
    rng = np.random.default_rng(0)

    def around(place: int, n: int, spread: float) -> np.ndarray:
        vectors = np.eye(2, 16)[place] + spread * rng.standard_normal((n, 16))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    reference = make_reference(np.concatenate([around(0, 150, 0.02), around(1, 150, 0.2)]))
    rank = (reference.scores(around(1, 100, 0.2))[:, None] > reference.held).mean()
    plain = 1.0 - (around(1, 100, 0.2) @ reference.known.T).max(axis=1)
    assert 0.4 < rank < 0.6
    assert np.median(plain) > 0.1  # while the other label's are a hundred times nearer


def test_twenty_labelled_images_of_a_new_source_make_its_others_usual(drawn: Drawn, make_reference: Make) -> None:
    old, away = drawn(300, 6), drawn(80, 7, away=1.5)
    before = make_reference(old)
    after = make_reference(np.concatenate([old, away[:20]]))
    assert (before.scores(away[20:])[:, None] > before.held).mean() > 0.99
    assert (after.scores(away[20:])[:, None] > after.held).mean() < 0.7


def test_more_labelled_images_hardly_change_the_split(drawn: Drawn, make_reference: Make) -> None:
    vectors = drawn(120, 8)
    smaller, larger = make_reference(vectors[:115]), make_reference(vectors)
    same = {row.tobytes() for row in smaller.known} & {row.tobytes() for row in larger.known}
    assert len(same) >= 72
    assert smaller.key != larger.key
    assert make_reference(vectors).key == larger.key


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_very_few_labelled_images_give_finite_scores(n: int, drawn: Drawn, make_reference: Make) -> None:
    reference = make_reference(drawn(n, 9).reshape(n, 24))
    assert len(reference.held) == n // 3
    assert np.isfinite(reference.scores(drawn(3, 10))).all()


def test_labelled_images_of_one_group_alone_give_finite_scores(drawn: Drawn, make_reference: Make) -> None:
    reference = make_reference(drawn(8, 9), ["one"] * 8)
    assert len(reference.held) == 0
    assert np.isfinite(reference.scores(drawn(3, 10))).all()


def test_equal_labelled_images_give_finite_scores(make_reference: Make) -> None:
    reference = make_reference(np.repeat(np.eye(1, 24, dtype=np.float32), 30, axis=0))
    assert np.isfinite(reference.scores(np.eye(2, 24, dtype=np.float32))).all()


def test_classes_keep_the_order_of_scores() -> None:
    scores = np.array([0.0, 0.5, 1.0, 1.1, 3.0, 1e9])
    classes = classes_of(scores)
    assert (np.diff(classes) > 0).all()
    assert classes[0] == 0
    assert classes[-1] == CLASSES - 1


def test_names_that_are_no_unicode_are_names() -> None:
    vectors = np.eye(4, dtype=np.float32)
    images = LabelledImages(("a", "b", "c", "\udcff"), ("x",) * 4, ("s",) * 4, vectors)
    assert len(ShiftReference.of(images, "e").held) == 1


def test_chances_are_uniform_and_the_same_for_the_same_name() -> None:
    drawn = chances(map(str, range(4000)))
    assert (drawn == chances(map(str, range(4000)))).all()
    assert abs(np.sort(drawn) - np.linspace(0, 1, 4000)).max() < 0.04
