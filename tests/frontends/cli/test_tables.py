from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from consilience.core.diagnosis import Diagnosis
from consilience.core.evidence import Evidence, Neighbour
from consilience.core.prediction import Prediction, Stage
from consilience.core.task import Task
from consilience.core.trust import Trust
from consilience.frontends.cli.diagnosis_text import detail_of, line_of
from consilience.frontends.cli.panel_text import claim_words, contribution_words, shares_of_weight, threshold_words
from consilience.frontends.cli.panels.demo_command import most_disputed
from consilience.frontends.cli.panels.solar_cells import SolarCell
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.ensemble.contributions import Confusion, Contribution
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.orchestrator.ensemble.members import Member
from consilience.orchestrator.ensemble.out_of_fold import LabelledPredictions
from consilience.orchestrator.ensemble.scaling import TemperatureScaling
from consilience.orchestrator.panel.encoder_spec import EncoderRecord
from consilience.orchestrator.panel.panel import Panel
from consilience.retrieval.memory.labelled_images import LabelledImages


def shown(what: RenderableType) -> str:
    stream = io.StringIO()
    Console(file=stream, width=2000, markup=False, highlight=False, emoji=False).print(what)
    return stream.getvalue()


def panel_of(*looks: tuple[str, Stage, float]) -> Panel:
    """A panel with members of given weights."""
    members = tuple(
        Member(agent, stage, TemperatureScaling(1.0), Trust(agent, stage, 10, 0.0, 0.0, 0.0))
        for agent, stage, _ in looks
    )
    return Panel(
        task=Task.from_labels(["rust", "scab"]),
        encoder=EncoderRecord("efficientnet-lite0", "0", 2),
        labelled_images=LabelledImages((), (), (), np.empty((0, 2), np.float32)),
        heads=(),
        agents=tuple(dict.fromkeys(agent for agent, _, _ in looks)),
        members=members,
        fusion=Fusion(np.array([weight for _, _, weight in looks])),
        calibration_set=CalibrationSet.none(),
        predictions=LabelledPredictions.of_fit([], np.empty(0, np.intp), [np.empty((0, 2))] * len(looks)),
    )


def test_shares_of_first_looks() -> None:
    assert shares_of_weight(panel_of(("a", "first", 1.0), ("b", "first", 3.0))) == pytest.approx([0.25, 0.75])


def test_a_second_look_stands_in_the_place_of_the_first() -> None:
    looks: list[tuple[str, Stage, float]] = [("a", "first", 1.0), ("b", "first", 3.0), ("a", "second", 2.0)]
    assert shares_of_weight(panel_of(*looks)) == pytest.approx([0.25, 0.75, 0.4])


def test_shares_where_nobody_counts() -> None:
    assert shares_of_weight(panel_of(("a", "first", 0.0))) == [0.0]


def test_the_threshold_in_words() -> None:
    policy: dict[str, Any] = {"target": 0.95, "delta": 0.1, "coverage": 0.9, "threshold": 0.85}
    policy |= {"settle": "risk_control", "images_needed": 45, "unit": "images"}
    assert threshold_words(policy) == (
        "An image is settled without a person if its label has a probability of at least 85.0 %: then, with a "
        "certainty of 90.0 %, at least 95.0 % of the settled images are right."
    )
    assert threshold_words({**policy, "settle": "conformal", "threshold": 0.8}) == (
        "An image is settled without a person if only one label is possible (90.0 % coverage) and its probability is "
        "at least 80.0 %."
    )
    assert threshold_words({**policy, "threshold": None}) == (
        "Every image will be referred to a person: 95.0 % accuracy takes at least 45 labelled images. Add images, or "
        "lower the setting policy.target."
    )
    assert threshold_words({**policy, "threshold": None, "images_needed": None}) == (
        "Every image will be referred to a person: no number of labelled images is enough for 95.0 % accuracy. Lower "
        "the setting policy.target."
    )


def test_what_agents_add_in_words() -> None:
    confusion = Confusion("scab", "rust", 0.4)
    adds = Contribution("qwen", 50, 0.71, 0.018, 0.004, 0.032, 0.935, None, confusion, 0.0021, 1.2)
    repeats = replace(adds, agent="probe", adds=0.0, low=-0.01, repeats="qwen", confusion=None, cost_usd=0, seconds=0)
    noise = replace(repeats, agent="weak", repeats=None)
    worse = replace(noise, agent="harm", adds=-0.03, low=-0.05, high=-0.01)
    only = replace(noise, agent="only", adds=None, without=None)
    agents = [
        {"agent": name, "stage": "first", "share_of_weight": share}
        for name, share in (("qwen", 0.9), ("probe", 0.0), ("weak", 0.1))
    ]
    empty, *lines = contribution_words(agents, [each.to_dict() for each in (adds, repeats, noise, worse, only)])
    assert empty == ""
    assert lines == [
        "qwen: 0.71 alone; adds 1.8 points (0.4 to 3.2); says rust for 40.0 % of scab; without it 93.5 % are right, "
        "2.1 USD less for 1,000 images, 1.2 s sooner.",
        "probe: 0.71 alone; no weight: repeats qwen; without it 93.5 % are right.",
        "weak: 0.71 alone; adds nothing beyond noise (0.0 points, -1.0 to 3.2); without it 93.5 % are right.",
        "harm: 0.71 alone; costs 3.0 points (-5.0 to -1.0); without it 93.5 % are right.",
        "only: 0.71 alone; the only agent.",
    ]
    assert contribution_words(agents, []) == []


def test_the_claim_in_words() -> None:
    claim = {"accuracy": 0.8, "interval": (0.72, 0.86), "settled": 0.4, "settled_accuracy": 0.97, "coverage": 0.955}
    claim |= {"images": 412, "groups": 96, "grouping": "found", "ungrouped_accuracy": 0.98}
    assert claim_words(claim) == [
        "The 412 images show 96 things.",
        "On new things like the labelled ones expect 80.0 % right labels (among another 96: 72.0 % to 86.0 %).",
        "Split image by image it looks like 98.0 %: there the agents have seen other images of the same thing.",
        "40.0 % are settled without a person, of which 97.0 % are right; the true label is among the possible ones of "
        "95.5 %.",
    ]
    alone = claim | {"grouping": "none", "ungrouped_accuracy": None, "settled": 0.0, "settled_accuracy": None}
    assert claim_words(alone) == [
        "On new images like the labelled ones expect 80.0 % right labels (among another 96: 72.0 % to 86.0 %).",
        "0 % are settled without a person; the true label is among the possible ones of 95.5 %.",
    ]
    assert claim_words(None) == []
    assert not [words for words in claim_words(claim | {"ungrouped_accuracy": 0.805}) if "looks like" in words]


def diagnosis(verdict: str = "refer", source: str = "leaf.jpg", against: float = 1.0) -> Diagnosis:
    rust, scab = {"rust": 0.7, "scab": 0.3}, {"rust": 0.2, "scab": 0.8}
    return Diagnosis(
        label="rust",
        posterior={"rust": 0.6, "scab": 0.4},
        prediction_set=("rust", "scab"),
        verdict="confident" if verdict == "confident" else "refer",
        reasons=() if verdict == "confident" else ("weak posterior",),
        predictions=(
            Prediction("a", probabilities=rust, calibrated=rust, weight=3.0),
            Prediction("b", probabilities=scab, calibrated=scab, weight=against, rationale="[bold]spots\x1b[0m"),
            Prediction("c", error="TimeoutError: too slow"),
            Prediction("d", stage="second", abstained=True, rationale="out of focus"),
        ),
        evidence=Evidence(tuple(Neighbour(str(i), "rust", 0.9, f"/x/{i}.jpg") for i in range(7)), {"rust": 1.0}),
        novelty=0.25,
        rationale="Because.",
        rounds=2,
        seconds=0.01,
        cost_usd=0.0,
        identity="0" * 64,
        source=source,
        trust=(Trust("a", "first", 40, 0.1, 0.0, 0.5, accuracy=0.9), Trust("b", "first", 40, 0.2, 0.0, 0.5)),
    )


def test_a_diagnosis_in_detail() -> None:
    page = shown(detail_of(diagnosis()))
    rows = {words[0]: words[1:] for line in page.splitlines() if (words := line.split())}
    assert "⚑ refer to a person: most likely rust, 60.0 %; could also be scab" in page
    assert "Why a person should look: weak posterior." in page
    assert ["a", "rust", "70.0", "%", "75.0", "%", "90.0", "%", "0.100"] in [line.split() for line in page.splitlines()]
    assert ["b", "scab", "80.0", "%", "25.0", "%", "–", "0.200"] in [line.split() for line in page.splitlines()]
    assert ["c", "failed", "–", "–", "–", "–"] in [line.split() for line in page.splitlines()]
    assert "c: failed: TimeoutError: too slow" in page
    assert "d, second look: abstained: out of focus" in page
    assert "b: [bold]spots[0m" in page
    assert rows["and"] == ["2", "more"]
    assert page.splitlines()[-1].rstrip() == "leaf.jpg: 2 rounds, 0.010 s"


def test_a_diagnosis_on_a_line() -> None:
    assert shown(line_of(diagnosis())).split() == ["⚑", "refer", "rust", "60.0", "%", "leaf.jpg"]
    assert shown(line_of(diagnosis("confident", source="a\nb\x1b[2J.jpg"))).endswith("a b[2J.jpg\n")


def test_the_most_disputed_is_a_referred_one_if_there_is_one() -> None:
    cells = [SolarCell(Path("cell.png"), 1 / 3)] * 3
    diagnoses = [diagnosis("confident", against=9.0), diagnosis(against=1.0), diagnosis(against=2.0)]
    assert most_disputed(cells, diagnoses)[1] is diagnoses[2]
    assert most_disputed(cells[:1], diagnoses[:1])[1] is diagnoses[0]
