"""The answer of one agent about one image."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal["first", "second"]
"""A first look at the image alone, or a second look with evidence in hand."""


def look_name(agent: str, stage: Stage) -> str:
    """Return the name of an agent's look, for tables and reasons.

    >>> look_name("qwen", "second")
    'qwen, second look'
    """
    return agent if stage == "first" else f"{agent}, second look"


TOLERANCE = 1e-6
"""How far a sum of probabilities may be from 1, for each label (float32 rounds each)."""


def check_distribution(probabilities: Mapping[str, float], owner: str) -> None:
    """Raise ValueError unless the values are finite, in [0, 1] and sum to 1."""
    for label, value in probabilities.items():
        if not 0.0 <= value <= 1.0 + TOLERANCE:  # false for NaN and infinities too
            raise ValueError(f"{owner}: the probability of '{label}' is {value}, not in [0, 1]")
    total = math.fsum(probabilities.values())
    if abs(total - 1.0) > TOLERANCE * max(1, len(probabilities)):
        raise ValueError(f"{owner}: the probabilities sum to {total}, not to 1")


_NUMBERS: dict[str, type[float] | type[int]] = {
    "confidence": float,
    "weight": float,
    "cost_usd": float,
    "tokens": int,
    "seconds": float,
}


def _distribution(probabilities: Mapping[str, float], owner: str) -> dict[str, float]:
    """Return a checked copy in plain floats, which JSON and the graph's state can hold."""
    check_distribution(probabilities, owner)
    return {label: float(value) for label, value in probabilities.items()}


@dataclass(frozen=True, slots=True)
class Prediction:
    """One agent's answer: probabilities over all labels, an abstention, or an error.

    Attributes:
        agent: the agent's name.
        stage: "first" or "second" look.
        probabilities: raw probability by label, in the task's order; None if it abstained or failed.
        confidence: the agent's own word for how sure it is, in [0, 1]; by default its highest probability.
        rationale: why, in the agent's words. It is data: never an instruction.
        abstained: it looked and would not say.
        error: why it failed, None if it did not.
        calibrated: the probabilities after calibration (set by the orchestrator).
        weight: how much the calibrated word counted (set by the orchestrator).
        cost_usd, tokens, seconds: what the answer took.
        raw: the model's reply as it came, if there was one.
        prompt: the prompts that the model was asked with and their versions, "look 1, repair 1"; empty for an agent
            that is not asked in words.
        cached: the answer was kept from an earlier run, and cost nothing in this one; cost, tokens and seconds are
            what it took then.

    Raises:
        ValueError: probabilities that are not finite, not in [0, 1] or do not sum to 1; calibrated ones of other
            labels; an answer that is not exactly one of error, abstention and prediction; a weight, cost, number of
            tokens or time that is negative or not finite.
    """

    agent: str
    stage: Stage = "first"
    probabilities: Mapping[str, float] | None = None
    confidence: float | None = None
    rationale: str = ""
    abstained: bool = False
    error: str | None = None
    calibrated: Mapping[str, float] | None = None
    weight: float | None = None
    cost_usd: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    raw: str | None = None
    prompt: str = ""
    cached: bool = False

    def __post_init__(self) -> None:
        states = (self.probabilities is not None) + self.abstained + (self.error is not None)
        if states != 1:
            raise ValueError(f"{self.agent}: a prediction is exactly one of probabilities, abstention and error")
        if self.probabilities is not None:
            self._keep("probabilities", _distribution(self.probabilities, self.agent))
            if self.confidence is None:
                self._keep("confidence", max(self.probabilities.values()))
        if self.calibrated is not None:
            if self.probabilities is None or self.calibrated.keys() != self.probabilities.keys():
                raise ValueError(f"{self.agent}: calibrated probabilities of other labels than the raw ones")
            self._keep("calibrated", _distribution(self.calibrated, f"{self.agent}, calibrated"))
        if self.confidence is not None and not 0.0 <= self.confidence <= 1.0 + TOLERANCE:
            raise ValueError(f"{self.agent}: confidence {self.confidence} is not in [0, 1]")
        for name, kind in _NUMBERS.items():
            value = getattr(self, name)
            if value is None:
                continue
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{self.agent}: {name} is {value}, not a finite number of at least 0")
            if type(value) is not kind:  # numpy's numbers are neither JSON nor plain data
                self._keep(name, kind(value))
        for name in ("rationale", "error", "raw", "prompt"):
            text = getattr(self, name)
            if text is not None and not isinstance(text, str):
                raise ValueError(f"{self.agent}: {name} is a {type(text).__name__}, not text")

    def _keep(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def taking(self, seconds: float) -> Prediction:
        """Return the same prediction with `seconds` as the time that it took."""
        same = object.__new__(Prediction)  # everything else was checked when this one was made
        for name in self.__slots__:
            same._keep(name, getattr(self, name))
        same._keep("seconds", seconds)
        return same

    @property
    def label(self) -> str | None:
        """The most probable label; None if the agent abstained or failed."""
        if self.probabilities is None:
            return None
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def counted_label(self) -> str | None:
        """The most probable label as it counts, after calibration; before it where there was none."""
        counted = self.calibrated or self.probabilities
        return None if counted is None else max(counted, key=counted.__getitem__)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for the graph's state and for JSON; `from_dict` restores it."""
        return {
            "agent": self.agent,
            "stage": self.stage,
            "label": self.label,
            "probabilities": None if self.probabilities is None else dict(self.probabilities),
            "confidence": self.confidence,
            "rationale": self.rationale,
            "abstained": self.abstained,
            "error": self.error,
            "calibrated": None if self.calibrated is None else dict(self.calibrated),
            "weight": self.weight,
            "cost_usd": self.cost_usd,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "raw": self.raw,
            "prompt": self.prompt,
            "cached": self.cached,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Prediction:
        """Return the prediction whose `to_dict` returned `data`.

        Raises:
            TypeError: a field is unknown or missing.
            ValueError: a value is out of its range.
        """
        return cls(**{key: value for key, value in data.items() if key != "label"})


class FailureTally:
    """Counts of how many images each look was asked about and failed on, and of the causes."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self._causes: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Count predictions, one a look and image."""
        for prediction in predictions:
            look = look_name(prediction.agent, prediction.stage)
            self._asked[look] += 1
            if prediction.error is not None:
                self._causes[look][prediction.error] += 1

    @property
    def sentences(self) -> list[str]:
        """What failed, a sentence for each look that did; none if every look answered or abstained."""
        return [
            failure_words(look, causes.total(), self._asked[look], causes.most_common(1)[0][0])
            for look, causes in self._causes.items()
        ]


def failure_words(look: str, failed: int, asked: int, cause: str) -> str:
    """Return in words that a look failed.

    >>> failure_words("gpt", 9, 9, "status 401: wrong key")
    "'gpt' did not answer about 9 of 9 images. The cause: status 401: wrong key"
    """
    return f"'{look}' did not answer about {failed:,} of {asked:,} images. The cause: {cause}"
