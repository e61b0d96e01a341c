"""A panel that is used where labels occur otherwise and mistakes have a price, from the settings to the verdict."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, Settings, fit, load_settings
from consilience.core.errors import SettingsError
from consilience.orchestrator.frequency_pass import with_estimated_frequencies

RARE = {"apple": 0.9, "beech": 0.08, "cedar": 0.02}


def diagnosed(panel: Path, vectors: np.ndarray, **settings: Any) -> list[Diagnosis]:
    with Diagnoser.open(panel, **settings) as diagnoser:
        results = list(diagnoser.diagnose_vectors(vectors, [str(row) for row in range(len(vectors))]))
    diagnoses = [result for result in results if isinstance(result, Diagnosis)]
    assert len(diagnoses) == len(vectors)
    return diagnoses


def test_given_frequencies_scale_the_posterior_of_every_image(panel: Path, blobs: Any) -> None:
    vectors, _ = blobs.drawn(9, 5)
    before, after = diagnosed(panel, vectors), diagnosed(panel, vectors, decision__frequencies=RARE)
    for here, there in zip(before, after, strict=True):
        scaled = {label: here.posterior[label] * 3 * RARE[label] for label in RARE}  # 30 labelled images of each
        total = sum(scaled.values())
        assert there.posterior == pytest.approx({label: value / total for label, value in scaled.items()}, rel=1e-6)
        assert there.label == max(there.posterior, key=there.posterior.__getitem__)
        assert there.expected_cost is None


def test_costs_name_the_cheapest_label_and_the_posterior_stays(panel: Path, blobs: Any) -> None:
    vectors = np.concatenate([blobs.between(0, 1, 0.49), blobs.between(0, 1, 0.0)])
    costs = {"apple": 1, "beech": 200, "cedar": 1}
    before = diagnosed(panel, vectors)
    after = diagnosed(panel, vectors, decision__costs__mistakes=costs, decision__costs__person=0.3)
    for here, there in zip(before, after, strict=True):
        assert there.posterior == pytest.approx(here.posterior)
        expected = {
            said: sum(costs[true] * share for true, share in there.posterior.items() if true != said) for said in costs
        }
        assert there.label == min(expected, key=expected.__getitem__)
        assert there.expected_cost == pytest.approx(expected[there.label])
        assert there.label in there.prediction_set
    unsure, _ = after
    assert (before[0].label, unsure.label) == ("apple", "beech")
    assert unsure.rationale.startswith("Most likely apple, ")
    assert "but to say beech, " in unsure.rationale
    assert any(reason.startswith("A mistake is dearer than a question: beech") for reason in unsure.reasons)


def test_frequencies_are_estimated_from_a_batch_and_used_where_the_own_mix_is_unlikely(panel: Path, blobs: Any) -> None:
    vectors, labels = blobs.drawn(600, 7)
    settings = load_settings(agents="neighbours,gaussian", decision__frequencies="estimate")
    same, own = with_estimated_frequencies(panel, settings, vectors[:300])
    assert own is not None
    assert not own.is_used
    assert same.decision.frequencies is None
    apples = np.flatnonzero(np.array(labels) == "apple")
    others = np.flatnonzero(np.array(labels) != "apple")[:20]
    there, rare = with_estimated_frequencies(panel, settings, vectors[np.r_[apples, others]])
    assert rare is not None
    assert rare.is_used
    assert isinstance(there.decision.frequencies, dict)
    assert there.decision.frequencies["apple"] == pytest.approx(200 / 220, abs=0.05)
    assert "This is used." in rare.words()
    assert with_estimated_frequencies(panel, load_settings(), vectors) == (load_settings(), None)


def test_before_a_batch_is_seen_the_own_mix_holds(panel: Path, blobs: Any) -> None:
    vectors, _ = blobs.drawn(3, 9)
    here, there = diagnosed(panel, vectors), diagnosed(panel, vectors, decision__frequencies="estimate")
    assert [result.posterior for result in here] == [result.posterior for result in there]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decision__frequencies": {"apple": 0.5, "beech": 0.5}}, "no share for 'cedar'"),
        ({"decision__costs__mistakes": {"oak": 1}, "decision__costs__person": 1}, "'oak', which is no label"),
    ],
)
@pytest.mark.parametrize("act", ["open", "fit"])
def test_what_does_not_fit_the_labels_is_refused_before_anything_is_done(
    panel: Path, vectors: Path, tmp_path: Path, settings: dict[str, Any], message: str, act: str
) -> None:
    calls: dict[str, Callable[[Settings], Any]] = {
        "open": lambda chosen: Diagnoser.open(panel, settings=chosen),
        "fit": lambda chosen: fit(vectors, tmp_path / "panel", settings=chosen),
    }
    with pytest.raises(SettingsError, match=message):
        calls[act](load_settings(agents="neighbours", **settings))
    assert not (tmp_path / "panel").exists()


def test_a_label_that_the_frequencies_lack_is_not_added(panel: Path, tmp_path: Path) -> None:
    from consilience.orchestrator.fitting.new_label import add_label

    copied = shutil.copytree(panel, tmp_path / "panel")
    with pytest.raises(SettingsError, match="no share for 'oak': give each label one"):
        add_label(copied, "oak", [], settings=load_settings(decision__frequencies=RARE))
