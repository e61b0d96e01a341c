"""Which images are asked for: worked out by hand on few vectors, and on drawn images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

import consilience
from consilience.core.dataset import LabelledImage
from consilience.core.errors import DatasetError
from consilience.orchestrator.fitting.active_learning import CROWD, most_helpful, one_minus_margin, suggest, typicality


def at(*degrees: float) -> np.ndarray:
    """Unit vectors at these angles."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_of_equally_worthy_ones_the_farthest_comes_first_and_its_double_last() -> None:
    labelled, pool = at(0), at(90, 91, 60, 5)
    chosen = most_helpful(np.ones(4), pool, labelled, 4)
    assert [row for row, _ in chosen] == [1, 2, 3, 0]
    distances = [1 - np.cos(np.radians(apart)) for apart in (91, 31, 5, 1)]  # to the nearest labelled or earlier one
    np.testing.assert_allclose([distance for _, distance in chosen], distances, atol=1e-9)


def test_one_of_little_worth_is_passed_over_though_it_is_far() -> None:
    chosen = most_helpful(np.array([0.01, 1.0, 0.9]), at(90, 40, 38), at(0), 2)
    assert [row for row, _ in chosen] == [1, 2] or [row for row, _ in chosen] == [1, 0]
    # after row 1 at 40 degrees: row 0 is worth 0.01 (1 - cos 50), row 2 is worth 0.9 (1 - cos 2)
    worth = {0: 0.01 * (1 - np.cos(np.radians(50))), 2: 0.9 * (1 - np.cos(np.radians(2)))}
    assert chosen[1][0] == max(worth, key=worth.__getitem__)


def test_in_a_crowd_is_typical_and_alone_is_not() -> None:
    values = typicality(at(0, 10, 90), at(5))
    apart = {degrees: 1 - np.cos(np.radians(degrees)) for degrees in (5, 10, 80, 85, 90)}
    means = [apart[5] + apart[10] + apart[90], apart[5] + apart[10] + apart[80], apart[80] + apart[85] + apart[90]]
    np.testing.assert_allclose(values, [3 / mean for mean in means])


def test_only_the_nearest_others_tell_what_is_typical() -> None:
    crowd, far = at(*np.linspace(0, 10, CROWD + 1)), at(*np.linspace(100, 260, 40))
    np.testing.assert_allclose(typicality(crowd, far), typicality(crowd, far[:1]))


def test_images_that_are_all_the_same_are_typical_and_the_number_is_finite() -> None:
    values = typicality(at(*[30] * (CROWD + 5)), at(0))
    assert np.isfinite(values).all()
    assert np.ptp(values) == 0


def test_of_very_many_a_part_tells_what_all_would() -> None:
    rng = np.random.default_rng(0)
    degrees = np.concatenate([rng.normal(0, 2, 4000), rng.uniform(90, 270, 1000)])
    values = typicality(at(*degrees), at(45))
    assert np.median(values[:4000]) > 10 * np.median(values[4000:])


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_each_is_asked_for_once_and_all_if_there_are_no_more(n: int, number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n + 3, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = most_helpful(rng.choice([0.0, 0.5, 1.0], n), vectors[:n], vectors[n:], number)
    rows = [row for row, _ in chosen]
    assert len(rows) == len(set(rows)) == min(n, number)
    assert all(0 <= distance <= 2 for _, distance in chosen)


def test_the_margin_counts_and_not_the_other_labels() -> None:
    np.testing.assert_allclose(one_minus_margin(np.array([[0.5, 0.4, 0.1], [0.5, 0.25, 0.25]])), [0.9, 0.75])


def painted(path: Path, colour: tuple[int, int, int], seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.array(colour) + np.random.default_rng(seed).integers(-10, 11, (40, 40, 3))
    PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


RED, BLUE, BETWEEN = (220, 30, 30), (30, 30, 220), (125, 30, 125)


@pytest.fixture
def panel(tmp_path: Path) -> Path:
    for number in range(8):
        painted(tmp_path / "known" / "red" / f"{number}.png", RED, number)
        painted(tmp_path / "known" / "blue" / f"{number}.png", BLUE, 100 + number)
    consilience.fit(tmp_path / "known", tmp_path / "panel")
    return tmp_path / "panel"


def test_what_the_agents_cannot_tell_is_asked_for_first(panel: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    for number in range(6):
        painted(pool / f"red-{number}.png", RED, 200 + number)
        painted(pool / f"blue-{number}.png", BLUE, 300 + number)
    painted(pool / "between.png", BETWEEN, 1)
    (pool / "known.png").write_bytes((tmp_path / "known" / "red" / "0.png").read_bytes())
    (pool / "double.png").write_bytes((pool / "between.png").read_bytes())
    (pool / "broken.png").write_bytes(b"no image")
    suggestions = suggest(panel, pool, 3)
    assert len(suggestions.chosen) == 3
    assert suggestions.chosen[0].path.name in ("between.png", "double.png")
    assert set(suggestions.chosen[0].likely) == {"red", "blue"}
    assert suggestions.known == 2
    assert [Path(image.source).name for image in suggestions.failed] == ["broken.png"]

    consilience.add(panel, [LabelledImage(suggestions.chosen[0].path, "red")])
    again = suggest(panel, pool, 100)
    assert suggestions.chosen[0].path not in {suggestion.path for suggestion in again.chosen}
    assert len(again.chosen) == 12


def test_a_folder_without_anything_new_is_refused(panel: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match="holds no unlabelled image: 16 are labelled already or given twice, 0 cannot be read"
    ):
        suggest(panel, tmp_path / "known")
