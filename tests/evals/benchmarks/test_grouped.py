"""The benchmark of claims on grouped images: what its figures are where the groups are known to matter, or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from consilience.core.diagnosis import Diagnosis
from consilience.core.diagnosis_record import Verdict
from consilience.core.errors import DatasetError
from consilience.core.settings.settings import load_settings
from consilience.evals.benchmarks.grouped import Draw, Rates, draws_of, halves_of_groups, main, mean_of, rates_of
from consilience.evals.benchmarks.grouped_images import grouped_images, with_found_groups
from consilience.retrieval.memory.labelled_images import LabelledImages
from tests.support.bare_diagnosis import bare_diagnosis

QUICK = load_settings(agents="neighbours,gaussian")
"""The feature agents that are fitted in no time."""


def diagnosis(label: str, prediction_set: tuple[str, ...], verdict: Verdict = "confident") -> Diagnosis:
    return bare_diagnosis(label, {"a": 0.5, "b": 0.5}, prediction_set, verdict)


def things(each: int, copies: int, seed: int = 0) -> LabelledImages:
    """Vectors of two labels: `each` things a label that differ a lot, of each thing copies that hardly differ."""
    rng = np.random.default_rng(seed)
    label, thing = np.repeat([0, 1], each * copies), np.repeat(np.arange(2 * each), copies)
    centres = rng.normal(size=(2 * each, 16))
    vectors = centres[thing] + 1.8 * np.eye(2, 16)[label] + 0.02 * rng.normal(size=(len(thing), 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = tuple(f"v{row}" for row in range(len(thing)))
    labels, groups = tuple(np.array(["a", "b"])[label].tolist()), tuple(map(str, thing.tolist()))
    return LabelledImages(names, labels, names, vectors.astype(np.float32), groups=groups)


def save(images: LabelledImages, file: Path) -> Path:
    np.savez(file, embeddings=images.vectors, labels=images.labels, names=images.sources, groups=images.groups)
    return file


def test_half_of_the_groups_of_each_label_are_new_and_no_group_is_split() -> None:
    images = things(7, 3)
    groups = np.array(images.groups)
    is_new = halves_of_groups(images.labels, images.groups, np.random.default_rng(0))
    new, known = set(groups[is_new]), set(groups[~is_new])
    assert (len(new), len(known), new & known) == (6, 8, set())
    for label in "ab":
        assert len({group for group, own in zip(images.groups, images.labels, strict=True) if own == label} & new) == 3
    again = halves_of_groups(images.labels, images.groups, np.random.default_rng(1))
    assert not np.array_equal(is_new, again)
    with pytest.raises(DatasetError, match="'a' has 3 groups"):
        halves_of_groups(("a",) * 3 + ("b",) * 4, "1234567", np.random.default_rng(0))


def test_each_group_weighs_one_however_many_images_it_has() -> None:
    large = [diagnosis("a", ("a",))] * 3 + [diagnosis("b", ("a", "b"), "refer")]
    small = [diagnosis("a", ("a",))]
    rates = rates_of([*large, *small], ["a"] * 4 + ["b"], ["large"] * 4 + ["small"])
    assert rates == Rates(accuracy=0.75 / 2, settled=1.75 / 2, settled_accuracy=0.75 / 1.75, coverage=0.5)
    nothing = rates_of(large[3:], ["b"], ["large"])
    assert (nothing.settled, nothing.settled_accuracy) == (0.0, None)


def test_an_interval_holds_its_ends() -> None:
    rates = [Rates(accuracy, 0.5, None, 0.9) for accuracy in (0.7, 0.8, 0.69)]
    assert [Draw(4, 2, rates[0], (0.7, 0.8), real, alarm=False).holds for real in rates] == [True, True, False]


def test_means_are_of_what_there_is() -> None:
    assert mean_of([None, None]) == "–"
    assert mean_of([0.5, None]) == "0.500"
    # Student's t with 2 degrees of freedom: 4.303 standard errors of 0.1 / sqrt(3)
    assert mean_of([0.4, 0.5, 0.6]) == "0.500 (0.252 to 0.748)"


@pytest.mark.slow
def test_copies_beside_their_photos_make_a_claim_too_good_unless_groups_are_given_or_found() -> None:
    """Image by image the new things are also called different from the labelled ones, which they are."""
    images = things(24, 4)
    plain, given, found = (
        next(draws_of(images, "efficientnet-lite0", mode, 1, QUICK)) for mode in ("none", "given", "found")
    )
    assert (plain.images, plain.groups, given.groups, found.groups) == (96, 96, 24, 24)
    assert plain.claimed.accuracy > plain.real.accuracy + 0.15
    assert (plain.holds, given.holds, found.holds) == (False, True, True)
    assert (plain.alarm, given.alarm, found.alarm) == (True, False, False)


def test_groups_are_found_as_fit_finds_them() -> None:
    images = replace(things(6, 3), groups=())
    found = with_found_groups(images, "efficientnet-lite0")
    assert len(set(found.groups)) == 12
    assert len(set(zip(found.groups, things(6, 3).groups, strict=True))) == 12


def save_photos(folder: Path, each: int) -> None:
    rng = np.random.default_rng(0)
    for label, brightness in (("dark", 40), ("light", 160)):
        (folder / label).mkdir(parents=True)
        for number in range(each):
            pixels = (brightness + rng.integers(0, 60, (48, 48, 3))).astype(np.uint8)
            PIL.Image.fromarray(pixels).save(folder / label / f"thing{number // 2}-{number % 2}.png")


def test_groups_are_told_by_the_name_or_made_of_copies(tmp_path: Path) -> None:
    save_photos(tmp_path / "photos", 6)
    named, encoder = grouped_images(tmp_path / "photos", QUICK, rule="{group}-*.png")
    assert (encoder, len(named), set(named.groups)) == ("efficientnet-lite0", 12, {"thing0", "thing1", "thing2"})
    made, _ = grouped_images(tmp_path / "photos", QUICK, made="exposures", copies=3, photos=2)
    assert (len(made), len(set(made.groups)), len(set(made.sources))) == (12, 4, 12)
    for group in set(made.groups):
        rows = [row for row, own in enumerate(made.groups) if own == group]
        assert len({made.labels[row] for row in rows}) == 1
        assert len({made.ids[row] for row in rows}) == 3
        assert [made.sources[row] == group for row in rows].count(True) == 1  # a copy does not tell whose it is
    read, _ = grouped_images(save(made, tmp_path / "made.npz"), QUICK)
    assert (read.groups, read.labels) == (made.groups, made.labels)


@pytest.mark.slow
def test_the_command_says_what_was_claimed_and_what_was_real(tmp_path: Path) -> None:
    save(things(16, 3), tmp_path / "things.npz")
    file = tmp_path / "figures.json"
    run = CliRunner().invoke(
        main, [str(tmp_path / "things.npz"), "--draws", "2", "--mode", "given", "--mode", "none", "--json", str(file)]
    )
    assert run.exit_code == 0, run.output
    assert "things: 96 images of 32 groups, 2 draws of half of them, seed 0" in run.output
    assert "interval holds the real" in run.output
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert {mode: len(draws) for mode, draws in figures.items()} == {"given": 2, "none": 2}


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    run = CliRunner().invoke(main, [str(save(things(3, 2), tmp_path / "few.npz")), "--mode", "given"])
    assert run.exit_code == 1
    assert "'a' has 3 groups" in run.output
