"""Images that a panel has learned from, or from another one of their group, are counted, and can be left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from consilience import Evaluation, evaluate, fit, load_settings
from tests.support.shapes import LABELS, draw

SETTINGS = load_settings(agents="neighbours,gaussian")
SEEN, NEW = range(12), range(100, 104)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes of three things a label, four images each: 'circle-t0-0.png'."""
    folder = tmp_path_factory.mktemp("known")
    for label in LABELS:
        (folder / label).mkdir()
        for number in SEEN:
            draw(label, number).save(folder / label / f"{label}-t{number // 4}-{number}.png")
    return folder


def leaks(evaluation: Evaluation) -> list[str]:
    return sorted(Path(name).name for name in evaluation.leaks())


def write(folder: Path, pictures: dict[str, PIL.Image.Image]) -> Path:
    for name, picture in pictures.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=92)
    return folder


@pytest.mark.slow
def test_copies_of_the_panels_images_are_leaks_and_new_images_are_not(known: Path, tmp_path: Path) -> None:
    fit(known, tmp_path / "panel", settings=SETTINGS, group="none")
    new = {f"{label}/new-{number}.png": draw(label, number) for label in LABELS for number in NEW}
    copies = {"circle/again.jpg": draw("circle", 3), "square/small.png": draw("square", 5).resize((80, 80))}
    test = write(tmp_path / "test", {**new, **copies})
    counted = evaluate(test, tmp_path / "panel", tmp_path / "out", settings=SETTINGS)
    assert leaks(counted) == ["again.jpg", "small.png"]
    assert (counted.metrics.leaks, counted.metrics.left_out, counted.metrics.n) == (2, 0, 14)
    dropped = evaluate(test, tmp_path / "panel", tmp_path / "fresh", settings=SETTINGS, drop_leaks=True)
    assert leaks(dropped) == ["again.jpg", "small.png"]
    assert (dropped.metrics.leaks, dropped.metrics.left_out, dropped.metrics.n) == (2, 2, 12)


@pytest.mark.slow
def test_images_of_a_given_group_are_leaks(known: Path, tmp_path: Path) -> None:
    fit(known, tmp_path / "panel", settings=SETTINGS, group="*-{group}-*.png")
    names = {f"{label}/{label}-t{thing}-x.png": draw(label, 200 + thing) for label in LABELS for thing in (2, 9)}
    test = write(tmp_path / "test", names)
    counted = evaluate(test, tmp_path / "panel", tmp_path / "out", settings=SETTINGS)
    assert leaks(counted) == [f"{label}-t2-x.png" for label in LABELS]
    dropped = evaluate(test, tmp_path / "panel", tmp_path / "fresh", settings=SETTINGS, drop_leaks=True)
    assert (dropped.metrics.left_out, dropped.metrics.n) == (3, 3)


@pytest.mark.slow
def test_the_group_that_a_manifest_names_counts(known: Path, tmp_path: Path) -> None:
    rows = [
        f"{path.relative_to(known)},{path.parent.name},{path.parent.name} {path.stem.split('-')[1]}"
        for path in sorted(known.rglob("*.png"))
    ]
    (known / "manifest.csv").write_text("path,label,group\n" + "\n".join(rows) + "\n")
    report = fit(known / "manifest.csv", tmp_path / "panel", settings=SETTINGS)
    assert report.panel.grouping.how == "given"
    assert sorted(set(report.panel.labelled_images.groups)) == [f"{label} t{t}" for label in LABELS for t in range(3)]
    test = write(tmp_path / "test", {"a.png": draw("circle", 300), "b.png": draw("square", 300)})
    (test / "test.csv").write_text("path,label,group\na.png,circle,circle t1\nb.png,square,square t7\n")
    counted = evaluate(test / "test.csv", tmp_path / "panel", tmp_path / "out", settings=SETTINGS)
    assert leaks(counted) == ["a.png"]


def test_vectors_in_a_known_group_are_leaks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["x", "y"] * 20)
    vectors = rng.standard_normal((40, 8)).astype(np.float32) + 3 * (labels == "x")[:, None]
    arrays = {"embeddings": vectors, "labels": labels, "names": np.array([f"v{row}" for row in range(40)])}
    np.savez(tmp_path / "known.npz", **arrays, groups=np.array([f"g{row // 2 % 10}" for row in range(40)]))
    fit(tmp_path / "known.npz", tmp_path / "panel", settings=SETTINGS)
    new = {"embeddings": vectors[:4] + 1, "labels": labels[:4], "names": np.array(["a", "b", "c", "d"])}
    np.savez(tmp_path / "new.npz", **new, groups=np.array(["g3", "other", "g9", "none of them"]))
    counted = evaluate(tmp_path / "new.npz", tmp_path / "panel", tmp_path / "out", settings=SETTINGS)
    assert sorted(counted.leaks()) == ["a", "c"]
