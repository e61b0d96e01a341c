"""Panels on vectors of three well-known blobs and on painted pictures, and agents that do as a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from consilience import fit, load_settings
from consilience.agents import AgentInput
from consilience.core.errors import MissingExtraError
from consilience.core.prediction import Prediction
from tests.support.made_once import made_once

LABELS = ("apple", "beech", "cedar")
CENTRES = np.eye(3, 8, dtype=np.float32)


QUICK = load_settings(agents="neighbours,gaussian")
"""The feature agents that are fitted in no time."""


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


@dataclass
class Blobs:
    """Labelled vectors around three centres, `apple`, `beech`, `cedar`."""

    names: tuple[str, ...] = LABELS
    centres: np.ndarray = field(default_factory=lambda: CENTRES)

    def drawn(self, n: int, seed: int, spread: float = 0.35) -> tuple[np.ndarray, list[str]]:
        """Unit vectors (n, 8) and their labels, in turn."""
        labels = np.arange(n) % len(self.names)
        noise = np.random.default_rng(seed).standard_normal((n, 8))
        return unit(self.centres[labels] + spread * noise), [self.names[label] for label in labels]

    def between(self, first: int, other: int, share: float = 0.5) -> np.ndarray:
        """The unit vector (1, 8) that lies between two centres."""
        return unit((1 - share) * self.centres[first] + share * self.centres[other])[None]

    def save(self, path: Path, vectors: np.ndarray, labels: Sequence[str], **more: Any) -> Path:
        names = [f"{path.stem}-{number}" for number in range(len(labels))]
        np.savez(path, embeddings=vectors, labels=np.array(labels), names=np.array(names), **more)
        return path


@dataclass
class Scripted:
    """An agent that does as it is told, and notes what it was asked about."""

    name: str
    script: Callable[[AgentInput], Any]
    again: Callable[..., Any] | None = None
    asked: list[np.ndarray] = field(default_factory=list)
    asked_again: list[np.ndarray] = field(default_factory=list)

    @property
    def can_revise(self) -> bool:
        return self.again is not None

    def predict(self, inputs: AgentInput) -> Any:
        self.asked.append(inputs.features)
        return self.script(inputs)

    def revise(self, inputs: AgentInput, first: Any, evidence: Any) -> Any:
        self.asked_again.append(inputs.features)
        assert self.again is not None
        return self.again(inputs, first, evidence)


def predictions_of(inputs: AgentInput, probabilities: np.ndarray, **more: Any) -> list[Prediction]:
    rows = np.asarray(probabilities, dtype=np.float64)
    rows = rows / rows.sum(axis=1, keepdims=True)
    return [
        Prediction("", probabilities=dict(zip(inputs.task.names, row, strict=True)), **more) for row in rows.tolist()
    ]


def by_centre(inputs: AgentInput, sharpness: float = 4.0) -> list[Prediction]:
    """A good look: by the similarity to each centre."""
    return predictions_of(inputs, np.exp(sharpness * inputs.features @ CENTRES.T))


def short_sighted(inputs: AgentInput, sharpness: float = 4.0) -> list[Prediction]:
    """A poor look: cannot tell beech from cedar."""
    near = np.exp(sharpness * inputs.features @ CENTRES.T)
    near[:, 1:] = near[:, 1:].mean(axis=1, keepdims=True) * np.array([1.01, 0.99])
    return predictions_of(inputs, near)


def by_evidence(inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Any]) -> list[Prediction]:
    """A second look that follows the evidence."""
    return predictions_of(inputs, np.array([[*case.distribution.values()] for case in evidence]) + 0.02)


@pytest.fixture(scope="session")
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture(scope="session")
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture(scope="session")
def good() -> Callable[[AgentInput], list[Prediction]]:
    return by_centre


@pytest.fixture(scope="session")
def poor() -> Callable[[AgentInput], list[Prediction]]:
    return short_sighted


@pytest.fixture(scope="session")
def follow() -> Callable[..., list[Prediction]]:
    return by_evidence


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory, blobs: Blobs) -> Path:
    """An .npz of 90 labelled vectors."""
    return blobs.save(tmp_path_factory.mktemp("vectors") / "vectors.npz", *blobs.drawn(90, 0))


@pytest.fixture(scope="session")
def panel(tmp_path_factory: pytest.TempPathFactory, vectors: Path) -> Path:
    """A panel of feature agents only. Not to be changed."""
    return made_once(tmp_path_factory, "features", lambda path: fit(vectors, path, settings=QUICK, group="none"))


@pytest.fixture(scope="session")
def expert_panel(tmp_path_factory: pytest.TempPathFactory, vectors: Path) -> Path:
    """A panel with 'expert' as well, who is short-sighted at first and follows the evidence. Not to be changed."""
    expert = Scripted("expert", short_sighted, by_evidence)
    return made_once(
        tmp_path_factory, "expert", lambda path: fit(vectors, path, settings=QUICK, group="none", agents=[expert])
    )


COLOURS = {"blue": (40, 60, 200), "green": (50, 170, 60), "red": (200, 50, 40)}


def paint(path: Path, label: str, seed: int, size: int = 48) -> Path:
    """A picture of speckles in one colour."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(-40, 40, (size, size, 3)) + rng.integers(-15, 15, 3)
    PIL.Image.fromarray(np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def painted() -> Callable[[Path, str, int], Path]:
    return paint


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder: 8 pictures each of blue, green and red speckles. Not to be changed."""

    def draw(folder: Path) -> None:
        for number, label in enumerate(COLOURS):
            (folder / label).mkdir(parents=True)
            for seed in range(8):
                paint(folder / label / f"{seed}.png", label, 100 * number + seed)

    return made_once(tmp_path_factory, "pictures", draw)


@pytest.fixture(scope="session")
def picture_panel(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A panel on pictures, with EfficientNet-Lite0. Not to be changed."""
    try:
        return made_once(
            tmp_path_factory, "picture-panel", lambda path: fit(pictures, path, settings=QUICK, group="none")
        )
    except MissingExtraError as missing:
        pytest.skip(f"EfficientNet-Lite0 is not in the cache and cannot be made: {missing}")
