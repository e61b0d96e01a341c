"""Replaying recorded answers: small files with values by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience.agents.recorded import features_of_rows
from consilience.core.errors import DatasetError
from consilience.core.settings.settings import Settings, load_settings
from consilience.core.task import Task
from consilience.core.trust import Trust
from consilience.evals.paper.recordings import Recording, read_recording
from consilience.evals.paper.replay import (
    RECORDED,
    RecordedMemory,
    compare,
    figures,
    from_labelled,
    from_summary,
    neighbours_member,
    posteriors,
    replay,
)
from consilience.evals.scores import FUSION
from consilience.retrieval.memory.labelled_images import LabelledImages

TASK = Task.from_labels(["rust", "scab"])
SETTINGS = Settings()


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(number: int, truth: str, **looks: tuple[str, float]) -> dict[str, Any]:
    cells: dict[str, Any] = {"id": number, "Image": f"leaf-{number}.jpg", "Category": truth}
    for name, (label, confidence) in looks.items():
        cells |= {name: label, f"{name}_confidence": confidence, f"{name}_cost": 0.5, f"{name}_time": 2.0}
    return cells


def shares(**of: float) -> str:
    return json.dumps([{"category": label, "confidence": share} for label, share in of.items()])


def trust(**ece: float) -> dict[str, Trust]:
    return {agent: Trust(agent, "first", 100, value, 0.3, 0.2) for agent, value in ece.items()}


def two_clusters(n: int = 20) -> LabelledImages:
    """n images a label, of which each has its own kind for neighbours."""
    rng = np.random.default_rng(0)
    vectors = np.repeat(np.eye(2, 8, dtype=np.float32), n, axis=0) + 0.05 * rng.standard_normal((2 * n, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    names = tuple(f"image {i}" for i in range(2 * n))
    return LabelledImages(names, ("rust",) * n + ("scab",) * n, names, vectors)


def test_a_word_is_lowered_by_its_error_and_counts_in_full(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [row(1, "rust", Qwen=("rust", 0.9), GPT=("Rust ", 0.8))])
    recording, truths = read_recording(path, TASK)
    conclusions = replay(recording, from_summary(recording, trust(Qwen=0.2, GPT=0.1), None, SETTINGS))
    # both say 0.7 after lowering: 0.7 * 0.7 against 0.3 * 0.3
    np.testing.assert_allclose(posteriors(conclusions, TASK), [[0.49 / 0.58, 0.09 / 0.58]])
    assert truths == ("rust",)


def test_a_second_look_is_taken_where_the_posterior_is_weak_and_replaces_the_first(tmp_path: Path) -> None:
    looks = [
        row(1, "scab", Qwen_1=("rust", 0.9), Qwen=("scab", 0.9)),
        row(2, "scab", Qwen_1=("rust", 1.0), Qwen=("scab", 0.9)),
    ]
    recording, truths = read_recording(write(tmp_path / "a.csv", looks), TASK)
    settings = load_settings(policy__target=0.75)
    weigher = from_summary(recording, trust(Qwen=0.2), None, settings)
    conclusions = replay(recording, weigher)
    # 0.9 - 0.2 is below the target, so the second look speaks instead; 1.0 - 0.2 settles
    np.testing.assert_allclose(posteriors(conclusions, TASK), [[0.3, 0.7], [0.8, 0.2]])
    result = figures(conclusions, recording, weigher, compare(conclusions, recording, truths))
    assert result["second_looks"] == {"rows": 1, "share": 0.5}
    assert result["cost_usd"] == {"replayed": 1.5, "recorded": 2.0}
    assert result["seconds"] == {"replayed": 6.0, "recorded": 8.0}
    assert result["settled"] == 0.5
    json.dumps(result, allow_nan=False)


def test_settings_that_were_given_win_over_those_of_a_replay(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [row(1, "scab", Qwen_1=("rust", 0.9), Qwen=("scab", 0.9))])
    recording, _ = read_recording(path, TASK)
    weigher = from_summary(recording, trust(Qwen=0.2), None, load_settings(policy__second_look="never"))
    assert replay(recording, weigher)[0]["label"] == "rust"


def test_the_neighbours_speak_from_the_recorded_shares_with_the_trust_of_the_memory(tmp_path: Path) -> None:
    cells = row(1, "rust", Qwen=("scab", 0.6)) | {"RAG_response": shares(rust=0.9, scab=0.1)}
    recording, _ = read_recording(write(tmp_path / "a.csv", [cells]), TASK)
    member = neighbours_member(two_clusters(), TASK, SETTINGS)
    assert (member.trust.accuracy, member.trust.n) == (1.0, 40)
    weigher = from_summary(recording, trust(Qwen=0.5), member, SETTINGS)
    calibrated = member.calibrator(np.array([[0.9, 0.1]]))
    assert calibrated.argmax() == 0
    # Qwen's 0.6 is lowered to chance: the neighbours alone decide
    np.testing.assert_allclose(posteriors(replay(recording, weigher), TASK), calibrated)


def test_the_neighbours_calibrator_keeps_the_label_that_the_search_named() -> None:
    raw = np.random.default_rng(3).dirichlet([1.0, 1.0], 200)
    calibrated = neighbours_member(two_clusters(), TASK, SETTINGS).calibrator(raw)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), raw.argmax(axis=1))


def test_retrieval_without_a_memory_is_not_weighed(tmp_path: Path) -> None:
    cells = row(1, "rust", Qwen=("scab", 0.9)) | {"RAG_response": shares(rust=1.0)}
    recording, _ = read_recording(write(tmp_path / "a.csv", [cells]), TASK)
    (conclusion,) = replay(recording, from_summary(recording, trust(Qwen=0.0), None, SETTINGS))
    assert [prediction["agent"] for prediction in conclusion["predictions"]] == ["Qwen"]


def test_the_recorded_memory_gives_each_row_its_own_shares(tmp_path: Path) -> None:
    retrieved = [{"rust": 0.25, "scab": 0.75}, {"scab": 1.0}]
    cells = [
        row(i, "rust", Qwen=("scab", 0.9)) | {"RAG_response": shares(**distribution)}
        for i, distribution in enumerate(retrieved)
    ]
    recording, _ = read_recording(write(tmp_path / "a.csv", cells), TASK)
    memory = RecordedMemory(recording)
    evidence = memory.evidence(memory.query(features_of_rows(2)[::-1], 10).first(1))
    assert [item["distribution"] for item in evidence] == [{"rust": 0.0, "scab": 1.0}, {"rust": 0.25, "scab": 0.75}]


def test_a_recording_does_not_hold_the_true_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [row(1, "canker", Qwen=("scab", 0.9), Orchestrator=("rust", 0.8))])
    recording, truths = read_recording(path, TASK)
    assert truths == ("canker",)
    assert "canker" not in repr(recording)
    conclusions = replay(recording, from_summary(recording, trust(Qwen=0.1), None, SETTINGS))
    with pytest.raises(DatasetError, match="the true label 'canker' is no label of the task"):
        compare(conclusions, recording, truths)


def test_an_answer_that_names_no_label_is_a_failure_and_the_others_go_on(tmp_path: Path) -> None:
    cells = [
        row(1, "rust", Qwen=("canker", 0.9), GPT=("rust", 0.8)),
        row(2, "rust", Qwen=("", 0.9), GPT=("unsure", 0.8)),
    ]
    cells = [cell | {"RAG_response": shares(canker=0.2, rust=0.8)} for cell in cells]
    recording, truths = read_recording(write(tmp_path / "a.csv", cells), TASK)
    qwen, neighbours = recording.looks["Qwen", "first"], recording.looks["neighbours", "first"]
    assert all("none of the labels" in (prediction.error or "") for prediction in qwen)
    assert neighbours[0].error == "'canker' is no label of the task"
    assert recording.looks["GPT", "first"][1].abstained
    conclusions = replay(recording, from_summary(recording, trust(Qwen=0.1, GPT=0.1), None, SETTINGS))
    np.testing.assert_allclose(posteriors(conclusions, TASK), [[0.7, 0.3], [np.nan, np.nan]])
    *_, fusion = scores = compare(conclusions, recording, truths)
    assert (fusion.n, fusion.accuracy) == (1, 1.0)
    qwen_score = scores[0]
    assert qwen_score.n == 0
    assert np.isnan(qwen_score.accuracy)


def test_scores_by_hand(tmp_path: Path) -> None:
    cells = [
        row(i, truth, Qwen=(answer, 0.9), Orchestrator=("rust", 0.7))
        for i, (truth, answer) in enumerate([("rust", "rust"), ("scab", "scab"), ("scab", "rust"), ("rust", "rust")])
    ]
    recording, truths = read_recording(write(tmp_path / "a.csv", cells), TASK)
    conclusions = replay(recording, from_summary(recording, trust(Qwen=0.2), None, SETTINGS))
    by_name = {score.who: score for score in compare(conclusions, recording, truths)}
    assert list(by_name) == ["Qwen", RECORDED, FUSION]
    assert by_name["Qwen"].accuracy == by_name[FUSION].accuracy == 0.75
    assert by_name["Qwen"].ece == pytest.approx(0.15)  # 0.9 said, 0.75 right
    assert by_name["Qwen"].ocr == 0.25
    assert by_name[FUSION].ece == pytest.approx(0.05)  # 0.7 said, 0.75 right
    assert by_name[RECORDED].accuracy == 0.5
    assert by_name[RECORDED].ece == pytest.approx(0.2)
    assert (by_name[RECORDED].low, by_name[RECORDED].high) == pytest.approx((0.15, 0.85), abs=0.001)  # Wilson, 2 of 4


def test_an_agent_without_trust_is_named(tmp_path: Path) -> None:
    recording, _ = read_recording(write(tmp_path / "a.csv", [row(1, "rust", Qwen=("rust", 0.9))]), TASK)
    with pytest.raises(DatasetError, match=r"nothing is known of the agent 'Qwen'; there is trust in: GPT"):
        from_summary(recording, trust(GPT=0.1), None, SETTINGS)


def labelled(path: Path, start: int, n: int = 40) -> tuple[Recording, tuple[str, ...]]:
    """An agent that is right on 60 % at its first look and on 90 % at its second, and always 95 % sure."""
    rows = []
    for i in range(n):
        truth, other = ("rust", "scab") if i % 2 else ("scab", "rust")
        first, second = truth if i % 10 < 6 else other, truth if i % 10 < 9 else other
        rows.append(row(start + i, truth, Qwen_1=(first, 0.95), Qwen=(second, 0.95)))
    return read_recording(write(path, rows), TASK)


def test_labelled_recordings_teach_that_second_looks_help(tmp_path: Path) -> None:
    known, known_truths = labelled(tmp_path / "known.csv", 0)
    recording, truths = labelled(tmp_path / "new.csv", 100)
    weigher = from_labelled(recording, known, known_truths, None, load_settings(policy__value_usd=10.0))
    assert [member.trust.accuracy for member in weigher.members] == [0.6, 0.9]
    assert [member.cost_usd for member in weigher.members] == [0.5, 0.5]
    conclusions = replay(recording, weigher)
    *_, fusion = compare(conclusions, recording, truths)
    assert fusion.accuracy == 0.9
    assert fusion.ece < 0.06  # 20 images a label are all that is known, and a rate of 0.9 is drawn towards less


def test_second_looks_that_cost_more_than_they_are_worth_are_left_out(tmp_path: Path) -> None:
    known, known_truths = labelled(tmp_path / "known.csv", 0)
    recording, truths = labelled(tmp_path / "new.csv", 100)
    weigher = from_labelled(recording, known, known_truths, None, load_settings(policy__value_usd=0.5))
    assert compare(replay(recording, weigher), recording, truths)[-1].accuracy == 0.6


def test_no_image_is_both_learned_from_and_replayed(tmp_path: Path) -> None:
    known, truths = labelled(tmp_path / "known.csv", 0)
    recording, _ = labelled(tmp_path / "new.csv", 39)
    with pytest.raises(DatasetError, match=r"1 images are both replayed and calibrated on, such as 'leaf-39\.jpg'"):
        from_labelled(recording, known, truths, None, SETTINGS)


def test_labelled_recordings_must_hold_every_look(tmp_path: Path) -> None:
    known, truths = read_recording(write(tmp_path / "k.csv", [row(i, "rust", GPT=("rust", 1)) for i in (1, 2)]), TASK)
    recording, _ = labelled(tmp_path / "new.csv", 10)
    with pytest.raises(DatasetError, match="hold none of 'Qwen'"):
        from_labelled(recording, known, truths, None, SETTINGS)
