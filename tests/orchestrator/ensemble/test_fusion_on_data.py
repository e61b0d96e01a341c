"""What weighing promises, on drawn data, on real embeddings, and on the recorded answers of two vision models."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from consilience.agents import LabelledFeatures
from consilience.agents.base import softmax
from consilience.core.task import Task
from consilience.core.trust import Trust
from consilience.orchestrator.ensemble.calibration import fit_calibrator
from consilience.orchestrator.ensemble.cross_fitting import exact_inputs
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.orchestrator.ensemble.scaling import ConfidenceDiscount
from consilience.orchestrator.ensemble.trust_metrics import expected_calibration_error, measure
from consilience.orchestrator.fitting.fit_context import FitContext
from consilience.orchestrator.fitting.fit_ensemble import fit_agents
from consilience.orchestrator.runtime.blas_threads import one_blas_thread
from consilience.retrieval.memory.labelled_images import LabelledImages
from tests.support.real_data import real_data


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def ece(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return expected_calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)


def recorded(name: str) -> Path:
    return real_data(f"recorded-runs/{name}")


def drawn(skills: tuple[float, ...], seed: int, known: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posterior (600, 4), calibrated (a, 600, 4) and labels of new images, after so many known ones."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, known + 600)
    fitted, calibrated = [], []
    for skill, sharpness in zip(skills, (2.0, 0.7, 1.5), strict=True):  # over- and underconfident ones
        noise = rng.standard_normal((len(labels), 4))
        raw = softmax(sharpness * skill * (skill * np.eye(4)[labels] + noise))
        calibrator, rows = fit_calibrator(raw[:known], labels[:known], np.arange(known) % 3)
        fitted.append(rows)
        calibrated.append(calibrator(raw[known:]))
    new = np.stack(calibrated)
    return Fusion.from_predictions(np.stack(fitted), labels[:known]).posterior(new)[0], new, labels[known:]


@pytest.mark.parametrize("skills", [(2.0, 1.5, 0.7), (2.5, 0.3, 0.3), (1.2, 1.2, 1.2)], ids=str)
def test_fusion_is_no_worse_than_its_best_agent(skills: tuple[float, ...]) -> None:
    with one_blas_thread():
        draws = [drawn(skills, seed) for seed in range(20)]
    fused = np.mean([accuracy(posterior, labels) for posterior, _, labels in draws])
    best = np.mean([max(accuracy(p, labels) for p in calibrated) for _, calibrated, labels in draws])
    claimed = np.mean([ece(posterior, labels) for posterior, _, labels in draws])
    best_claimed = np.mean([min(ece(p, labels) for p in calibrated) for _, calibrated, labels in draws])
    assert fused >= best - 0.005
    assert claimed <= best_claimed + 0.03
    if skills == (1.2, 1.2, 1.2):  # independent members that converge
        assert fused > best + 0.1


@pytest.mark.parametrize("per_label", [None, 16])
def test_fusion_of_heads_on_real_embeddings(per_label: int | None) -> None:
    with np.load(recorded("clip_vit_b32_train.npz"), allow_pickle=False) as file:
        features, texts = file["embeddings"], file["labels"].tolist()
    task = Task.from_labels(sorted(set(texts)))
    labels = np.array([task.names.index(text) for text in texts])
    kinds = ("neighbours", "gaussian", "tip-adapter")
    posterior, calibrated = np.empty((len(labels), 4)), np.empty((len(kinds), len(labels), 4))
    for train, test in StratifiedKFold(4, shuffle=True, random_state=0).split(features, labels):
        if per_label is not None:
            train = np.concatenate([train[labels[train] == label][:per_label] for label in range(4)])
        data = LabelledFeatures(features[train], labels[train], 4)
        nothing = LabelledImages((), (), (), np.empty((0, features.shape[1]), np.float32))
        fitted = fit_agents(FitContext(task, nothing, data, neighbours=10, seed=0), kinds)
        inputs = exact_inputs(task, data, features[test])
        for number, (head, member) in enumerate(zip(fitted.heads, fitted.members, strict=True)):
            calibrated[number, test] = member.calibrator(head.predict_proba(inputs))
        posterior[test] = fitted.fusion.posterior(calibrated[:, test])[0]
    best, best_ece = max(accuracy(p, labels) for p in calibrated), min(ece(p, labels) for p in calibrated)
    assert accuracy(posterior, labels) >= best - 2 / len(labels)
    assert ece(posterior, labels) <= best_ece + 0.01
    assert accuracy(posterior, labels) >= (0.99 if per_label is None else 0.94)
    assert ece(posterior, labels) <= (0.01 if per_label is None else 0.04)


def test_summary_numbers_alone_can_weigh_recorded_answers() -> None:
    """First looks of two models, of which only ECE, OCR and CCC are known, and the neighbours' recorded answer."""
    with recorded("case3_trust_rag.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    summary = json.loads(recorded("train_trust.json").read_text(encoding="utf-8"))["agents"]
    names = tuple(sorted({row["Category"] for row in rows}))
    labels = np.array([names.index(row["Category"]) for row in rows])

    def answer_of(row: dict[str, str], agent: str) -> list[float]:
        confidence = float(row[f"{agent}_confidence"])
        return [confidence if name == row[agent] else (1 - confidence) / (len(names) - 1) for name in names]

    def neighbours_of(row: dict[str, str]) -> list[float]:
        shares = {case["category"]: case["confidence"] for case in json.loads(row["RAG_response"])}
        return [shares.get(name, 0.0) for name in names]

    raw = {agent: np.array([answer_of(row, f"{agent}_1") for row in rows]) for agent in ("Qwen", "GPT")}
    neighbours = np.array([neighbours_of(row) for row in rows])
    trusts = [Trust(agent, "first", 512, **summary[agent]) for agent in raw]
    fusion = Fusion.from_trust([*trusts, _trust_in_neighbours(names)])
    lowered = [ConfidenceDiscount(trust.ece)(raw[trust.agent]) for trust in trusts]
    posterior, _ = fusion.posterior(np.stack([*lowered, neighbours]))
    as_they_are, _ = fusion.posterior(np.stack([*raw.values(), neighbours]))
    assert accuracy(neighbours, labels) == pytest.approx(0.975)
    assert accuracy(posterior, labels) >= accuracy(neighbours, labels) > accuracy(as_they_are, labels)
    for agent, trust in zip(raw, trusts, strict=True):  # published for 512 other images
        assert ece(ConfidenceDiscount(trust.ece)(raw[agent]), labels) < ece(raw[agent], labels) / 2


def _trust_in_neighbours(names: tuple[str, ...]) -> Trust:
    """Leave-one-out on the images that the recorded memory held."""
    with np.load(recorded("clip_vit_b32_train.npz"), allow_pickle=False) as file:
        features, labels = file["embeddings"], np.array([names.index(label) for label in file["labels"].tolist()])
    similarities = features @ features.T
    np.fill_diagonal(similarities, -np.inf)
    nearest = np.argsort(-similarities, axis=1)[:, :10]
    shares = np.eye(len(names))[labels[nearest]].mean(axis=1)
    return measure("neighbours", "first", shares, labels, names)
