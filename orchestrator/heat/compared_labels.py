"""What a heat map is about: an image, two labels, and how much each agent's word counts between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import AgentError, DatasetError
from consilience.core.prediction import Prediction
from consilience.orchestrator.ensemble.members import Member
from consilience.orchestrator.ensemble.scaling import log_probabilities

UNSATURATED = 1e-4
"""Probabilities are raised to it where the slope of a calibrator is measured: calibrators are flat near 0."""

STEP = 0.1
"""Change of the log-odds by which that slope is measured."""


@dataclass(frozen=True)
class ComparedLabels:
    """Two labels of a diagnosis.

    Attributes:
        diagnosis: whose agents speak.
        label, other: their names.
        places: their numbers in the task's order.
    """

    diagnosis: Diagnosis
    label: str
    other: str
    places: tuple[int, int]

    @classmethod
    def of(cls, diagnosis: Diagnosis, label: str | None, other: str | None) -> Self:
        """Return the labels to compare.

        Args:
            diagnosis: of one image.
            label: None: the diagnosis's own.
            other: None: the most probable one beside it.

        Raises:
            DatasetError: the panel has no such label, or both are the same.
        """
        posterior, names = diagnosis.posterior, [*diagnosis.posterior]
        label = diagnosis.label if label is None else label
        for name in (label, *([] if other is None else [other])):
            if name not in posterior:
                raise DatasetError(f"the panel's task has no label '{name}'; it has {', '.join(names)}")
        if other is None:
            other = max((name for name in names if name != label), key=posterior.__getitem__, default=label)
        if other == label:
            raise DatasetError(f"a heat map compares two labels, and '{label}' is both: name another")
        return cls(diagnosis, label, other, (names.index(label), names.index(other)))

    def log_odds(self, probabilities: np.ndarray) -> np.ndarray:
        """Return log p(label) - log p(other) of predictions (n, c): (n,)."""
        logs = log_probabilities(probabilities)
        return np.asarray(logs[:, self.places[0]] - logs[:, self.places[1]])

    def weight(self, agent: str) -> float:
        """Return how much the agent's first look counted in the diagnosis; 0 if it did not, or was replaced."""
        look = self._first_looks.get(agent)
        return 0.0 if look is None or look.calibrated is None else look.weight or 0.0

    def calibrated_log_odds(self, agent: str) -> float:
        """Return what the agent's first look said, calibrated."""
        return float(self.log_odds(np.array([[*(self._first_looks[agent].calibrated or {}).values()]]))[0])

    def slope(self, member: Member) -> float:
        """Return how steeply a first look's calibrated log-odds follow its raw ones at this image: 1 / temperature."""
        logs = np.log(np.maximum([*(self._first_looks[member.agent].probabilities or {}).values()], UNSATURATED))
        direction = np.zeros(len(logs))
        direction[[*self.places]] = STEP / 4, -STEP / 4
        around = np.exp(np.stack([logs + direction, logs - direction]))
        up, down = self.log_odds(member.calibrator(around / around.sum(axis=1, keepdims=True)))
        return float(up - down) / STEP

    @cached_property
    def _first_looks(self) -> dict[str, Prediction]:
        return {look.agent: look for look in self.diagnosis.predictions if look.stage == "first"}


def first_looks(members: Sequence[Member]) -> dict[str, Member]:
    """Return the members that are first looks, by agent."""
    return {member.agent: member for member in members if member.stage == "first"}


def check_known(agents: Sequence[str], known: Sequence[str]) -> None:
    """Raise AgentError where one of `agents` is not `known`."""
    if unknown := [name for name in agents if name not in known]:
        raise AgentError(f"the panel has no agent '{unknown[0]}'; it has {', '.join(known)}")
