"""The accuracy protocols: disjoint parts, fixed seeds, figures known by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from consilience.core.diagnosis import Diagnosis
from consilience.core.diagnosis_record import Verdict
from consilience.core.errors import DatasetError
from consilience.core.prediction import Prediction
from consilience.core.settings.settings import load_settings
from consilience.evals.benchmarks.accuracy import Outcome, main, remarks_on, table_of
from consilience.evals.benchmarks.protocols import Judged, cross_validation, few_shots, held_out
from tests.support.bare_diagnosis import bare_diagnosis

LABELS = ("dark", "light")

QUICK = load_settings(agents="neighbours,gaussian")
"""The feature agents that are fitted in no time."""


def diagnosis(agent: float, fusion: float, verdict: Verdict = "confident") -> Diagnosis:
    """One agent and the fusion, each with its probability of 'a' against 'b'."""
    posterior = {"a": agent, "b": 1 - agent}
    expert = Prediction("expert", probabilities=posterior, calibrated=posterior, weight=0.5)
    label = "a" if fusion >= 0.5 else "b"
    return bare_diagnosis(label, {"a": fusion, "b": 1 - fusion}, ("a",), verdict, (expert,))


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 vectors of 3 labels, far apart."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], 12)
    embeddings = np.repeat(4 * np.eye(3, 16), 12, axis=0) + rng.normal(size=(36, 16)) / 4
    file = tmp_path_factory.mktemp("vectors") / "vectors.npz"
    np.savez(file, embeddings=embeddings, labels=labels, names=[f"v{row}" for row in range(36)])
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 images a label to fit on, 3 to judge, of which one is known from train/."""
    root = tmp_path_factory.mktemp("folder")
    rng = np.random.default_rng(0)
    for label, brightness in zip(LABELS, (40, 160), strict=True):
        for part, count in (("train", 6), ("val", 2), ("test", 3)):
            (root / part / label).mkdir(parents=True)
            for number in range(count):
                pixels = (brightness + rng.integers(0, 60, (64, 64, 3))).astype(np.uint8)
                PIL.Image.fromarray(pixels).save(root / part / label / f"{number}.png")
    (root / "test" / "dark" / "0.png").write_bytes((root / "train" / "dark" / "0.png").read_bytes())
    return root


def test_every_vector_is_judged_once_by_a_panel_that_does_not_know_it(vectors: Path) -> None:
    (judged,) = cross_validation(vectors, 3, 1, QUICK)
    assert sorted(judged.truths) == ["a"] * 12 + ["b"] * 12 + ["c"] * 12
    assert len({diagnosis.identity for diagnosis in judged.diagnoses}) == 36
    for diagnosis in judged.diagnoses:
        assert diagnosis.identity not in {neighbour.id for neighbour in diagnosis.evidence.neighbours}
        assert max(neighbour.similarity for neighbour in diagnosis.evidence.neighbours) < 0.9999
    assert [diagnosis.label for diagnosis in judged.diagnoses] == list(judged.truths)


def test_too_few_vectors_for_the_folds(vectors: Path) -> None:
    with pytest.raises(DatasetError, match="12 vectors"):
        list(cross_validation(vectors, 13, 1, QUICK))


@pytest.mark.slow
def test_held_out_images_are_diagnosed_but_for_those_that_are_known(folder: Path) -> None:
    judged = held_out(folder, QUICK)
    assert (judged.known, judged.failed) == (1, ())
    assert judged.truths == ("dark", "dark", "light", "light", "light")
    assert {Path(diagnosis.source).parts[-3] for diagnosis in judged.diagnoses} == {"test"}
    assert [diagnosis.label for diagnosis in judged.diagnoses] == list(judged.truths)


@pytest.mark.slow
def test_draws_differ_and_can_be_repeated(folder: Path) -> None:
    def neighbours_of_draws() -> list[set[str]]:
        draws = few_shots(folder, 2, 2, QUICK)
        return [
            {near.id for diagnosis in judged.diagnoses for near in diagnosis.evidence.neighbours} for judged in draws
        ]

    first = neighbours_of_draws()
    assert [len(known) for known in first] == [4, 4]  # each panel knows 2 images a label
    assert first[0] != first[1]
    assert neighbours_of_draws() == first
    with pytest.raises(DatasetError, match="'dark' has 8 images"):
        next(few_shots(folder, 9, 1, QUICK))


@pytest.mark.slow
def test_images_given_without_their_labels_are_not_judged(vectors: Path, folder: Path) -> None:
    both = load_settings(agents="gaussian,self-trained")
    (judged,) = few_shots(vectors, 2, 1, both, with_unlabelled=True)
    assert len(judged.diagnoses) == 15  # of 36 vectors 6 are labelled, and half of the others are not judged
    assert {prediction.agent for prediction in judged.diagnoses[0].predictions} == {"gaussian", "self-trained"}
    assert [diagnosis.label for diagnosis in judged.diagnoses] == list(judged.truths)
    (judged,) = few_shots(folder, 2, 1, both, with_unlabelled=True)
    assert judged.truths == ("dark", "dark", "light", "light", "light")  # test/, but for the one known from train/
    run = CliRunner().invoke(main, [str(vectors), "--unlabelled"])
    assert run.exit_code == 2
    assert "--unlabelled goes with --shots" in run.output
    run = CliRunner().invoke(main, [str(vectors), "--unlabelled", "--shots", "2", "--draws", "1"])
    assert "fitted on 2 images a label, others without their labels, 1 draw, seed 0" in run.output
    assert "self-trained" in run.output


def test_an_outcome_counts_what_it_says() -> None:
    diagnoses = (diagnosis(0.9, 0.8), diagnosis(0.9, 0.4, "refer"), diagnosis(0.2, 0.3), diagnosis(0.4, 0.9))
    outcome = Outcome.of(Judged(diagnoses, ("a", "a", "b", "b"), known=2))
    expert, fusion = outcome.scores
    assert (expert.who, fusion.who) == ("expert", "fusion")
    assert (expert.accuracy, fusion.accuracy) == (1.0, 0.5)
    assert outcome.ahead == -2
    assert outcome.settled == 0.75
    assert outcome.accuracy_of_settled == pytest.approx(2 / 3)
    words = remarks_on([outcome])
    assert "75.0% of the images, 66.7% of those right" in words
    assert "in images right: -2" in words
    assert "left out, because the panel was fitted on them: 2" in words
    assert "0.500 (0.150 to 0.850)" in table_of([outcome])


def test_several_runs_are_shown_as_mean_and_spread() -> None:
    right = Outcome.of(Judged((diagnosis(0.9, 0.9),), ("a",)))
    wrong = Outcome.of(Judged((diagnosis(0.9, 0.1),), ("a",)))
    assert "0.500 ± 0.707" in table_of([right, wrong])
    assert "-0.5, at worst -1" in remarks_on([right, wrong])


def test_the_command_writes_its_figures(vectors: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(main, [str(vectors), "--folds", "2", "--json", str(tmp_path / "figures.json")])
    assert run.exit_code == 0, run.output
    assert "2-fold cross-validation, seed 0" in run.output
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    (only,) = figures["runs"]
    assert (only["images"], only["scores"][-1]["who"], only["scores"][-1]["accuracy"]) == (36, "fusion", 1.0)


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    run = CliRunner().invoke(main, [str(tmp_path)])
    assert run.exit_code == 1
    assert "is empty" in run.output
