"""Why images are put into one group, and which group an image joins that comes later."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import pytest

from consilience.core.exif import UNKNOWN_SHOT, Shot
from consilience.orchestrator.grouping.average_linkage import average_linkage
from consilience.orchestrator.grouping.found_groups import (
    LITE0_LIMIT,
    alike_distance,
    alike_limit,
    find_groups,
)
from consilience.orchestrator.grouping.grouping import NO_GROUPING, Grouping
from consilience.orchestrator.grouping.images_to_group import ImagesToGroup
from consilience.orchestrator.grouping.joining import copied_row, joined_groups
from consilience.orchestrator.grouping.links import Link
from consilience.retrieval.encoders.encoder import Vectors
from consilience.retrieval.memory.labelled_images import LabelledImages

LIMIT = 0.1


def unit(rows: Sequence[Sequence[float]] | np.ndarray) -> Vectors:
    vectors = np.asarray(rows, dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def photo(seed: int, side: int = 96) -> bytes:
    """Return a JPEG of smooth shapes, the same for the same seed, in any size."""
    blobs = PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    file = io.BytesIO()
    blobs.resize((side, side), PIL.Image.Resampling.BICUBIC).save(file, "JPEG", quality=60)
    return file.getvalue()


def images(
    vectors: Vectors,
    names: Sequence[str] | None = None,
    shots: Sequence[Shot] | None = None,
    pictures: dict[str, bytes] | None = None,
) -> ImagesToGroup:
    ids = [f"i{row}" for row in range(len(vectors))]
    names = names or [f"x/{row}.jpg" for row in range(len(vectors))]
    return ImagesToGroup(ids, names, shots or [UNKNOWN_SHOT] * len(vectors), vectors, (pictures or {}).get)


APART = unit(np.eye(6))
LABELS = ["x", "x", "x", "y", "y", "y"]


def test_a_copy_is_found_by_its_picture_where_the_vectors_are_near() -> None:
    vectors = unit([[1, 0, 0], [0.85, 0.527, 0], [0, 0, 1], [0, 1, 0]])  # the first two are 0.15 apart
    pictures = {"i0": photo(0, 96), "i1": photo(0, 40), "i2": photo(0, 96), "i3": photo(3)}
    found = find_groups(images(vectors, pictures=pictures), LIMIT, ["x", "x", "y", "y"])
    assert found.groups == ("i0", "i0", "i2", "i3")  # the third has the same picture, and a vector from elsewhere
    assert found.links == (Link("i0", "i1", "copy"),)


def test_names_and_bursts_connect_images_whatever_they_look_like() -> None:
    names = ["x/a.jpg", "x/a_rot90.jpg", "x/b.jpg", "y/c.jpg", "y/d.jpg", "y/e.jpg"]
    shots = [UNKNOWN_SHOT, Shot("EOS", 1.0), Shot("EOS", 2.0), Shot("EOS", 90.0), Shot("X", 2.0), UNKNOWN_SHOT]
    found = find_groups(images(APART, names, shots), LIMIT, LABELS)
    assert found.groups == ("i0", "i0", "i0", "i3", "i4", "i5")
    assert found.links == (Link("i0", "i1", "name"), Link("i1", "i2", "burst"))
    assert found.grouping.how == "found"


def things(number: int, views: int, spread: float, seed: int = 0) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = np.repeat(unit(rng.standard_normal((number, 64))), views, axis=0)
    return unit(centres + spread * rng.standard_normal(centres.shape) / 8)


def test_nearly_equal_vectors_are_one_thing() -> None:
    vectors, labels = things(10, 4, 0.2), [f"label {thing % 2}" for thing in range(10) for _ in range(4)]
    found = find_groups(images(vectors), LIMIT, labels)
    assert found.groups == tuple(f"i{row - row % 4}" for row in range(40))
    assert {link.reason for link in found.links} == {"alike"}
    assert found.grouping.distance == pytest.approx(LIMIT)


def test_where_near_images_have_any_label_nearness_says_nothing() -> None:
    vectors = things(10, 12, 0.2)
    labels = np.random.default_rng(0).permutation(["a", "b", "c"] * 40).tolist()
    assert len(set(average_linkage(vectors, LIMIT).clusters(LIMIT))) == 10
    distance = alike_distance(vectors, average_linkage(vectors, LIMIT), labels, LIMIT)
    assert distance < LIMIT / 2
    assert len(set(find_groups(images(vectors), LIMIT, labels).groups)) > 60


def test_a_label_whose_images_all_look_alike_is_not_one_thing() -> None:
    """Flawless parts under one camera: each label has at least four groups of about equal size left."""
    vectors, labels = things(2, 40, 0.25), ["good"] * 40 + ["bad"] * 40
    assert len(set(average_linkage(vectors, LIMIT).clusters(LIMIT))) == 2
    groups = np.array(find_groups(images(vectors), LIMIT, labels).groups)
    for rows in (slice(0, 40), slice(40, 80)):
        _, sizes = np.unique(groups[rows], return_counts=True)
        assert 1 / ((sizes / 40) ** 2).sum() >= 4


def test_the_limit_of_another_encoder_follows_how_far_apart_its_images_are() -> None:
    assert alike_limit(things(30, 1, 0.0), "efficientnet-lite0") == LITE0_LIMIT
    close = unit(np.random.default_rng(0).standard_normal((200, 64)) / 8 + 2 * np.eye(64)[0])
    usual = np.median((1 - close @ close.T)[np.triu_indices(200, 1)])
    assert alike_limit(close, "open_clip:ViT-B-32:x") == pytest.approx(usual / 4)
    assert usual / 4 < LITE0_LIMIT


def panel_images(vectors: Vectors, groups: Sequence[str], pictures: dict[str, bytes] | None = None) -> LabelledImages:
    ids = tuple(f"p{row}" for row in range(len(vectors)))
    return LabelledImages(ids, ("x",) * len(ids), ids, vectors, (pictures or {},), tuple(groups))


def test_a_new_image_joins_the_group_that_it_is_nearly_equal_to() -> None:
    known = panel_images(unit([[1, 0, 0], [1, 0.1, 0], [0, 1, 0]]), ["g", "g", "p2"])
    new = images(unit([[1, 0.2, 0], [0, 0, 1], [0, 0.1, 1], [0.7, 0.7, 0]]))
    grouping = Grouping("found", "", 0.1)
    assert joined_groups(new, [None] * 4, grouping, known, "efficientnet-lite0") == ["g", "i1", "i1", "i3"]
    assert joined_groups(new, [None] * 4, NO_GROUPING, known, "efficientnet-lite0") == ["i0", "i1", "i2", "i3"]


def test_a_new_image_joins_what_it_is_a_copy_of() -> None:
    known = panel_images(unit([[1, 0, 0], [0, 1, 0]]), ["g", "h"], {"p0": photo(1)})
    new = images(unit([[0.85, 0, 0.527], [0.85, 0, -0.527]]), pictures={"i0": photo(1, 48), "i1": photo(2)})
    assert joined_groups(new, [None, None], Grouping("found", "", 0.01), known, "efficientnet-lite0") == ["g", "i1"]
    similarities = new.vectors[1] @ known.vectors.T
    assert copied_row(lambda: photo(1, 48), similarities, 0.1, known) == 0
    assert copied_row(lambda: photo(2), similarities, 0.1, known) is None
    assert copied_row(lambda: None, similarities, 0.1, known) is None


def test_where_a_pattern_gives_groups_it_tells_a_new_images_group() -> None:
    known = panel_images(unit([[1, 0, 0]]), ["tree1"])
    new = images(unit([[0, 1, 0], [0, 0, 1], [1, 0, 0]]), ["/b/tree1-2.jpg", "/b/other.jpg", "/b/tree9-1.jpg"])
    grouping = Grouping("given", "{group}-?.jpg")
    assert joined_groups(new, [None] * 3, grouping, known, "efficientnet-lite0") == ["tree1", "i1", "tree9"]
    assert joined_groups(new, ["mine", None, None], grouping, known, "efficientnet-lite0")[0] == "mine"
    assert joined_groups(new, [None] * 3, Grouping("given", "manifest"), known, "efficientnet-lite0") == [
        "i0",
        "i1",
        "i2",
    ]


def test_no_images_have_no_groups() -> None:
    nothing = images(np.empty((0, 3), np.float32))
    assert find_groups(nothing, LIMIT, []).groups == ()
    known = panel_images(unit([[1, 0, 0]]), ["g"])
    assert joined_groups(nothing, [], Grouping("found", "", 0.1), known, "efficientnet-lite0") == []
