"""The fields of a diagnosis: a label with its posterior, or a referral to a person, and all that led to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self

from consilience.core.evidence import Evidence
from consilience.core.images import Image
from consilience.core.prediction import Prediction, check_distribution
from consilience.core.trust import Trust

if TYPE_CHECKING:
    import numpy as np

Verdict = Literal["confident", "refer"]
"""Whether the panel settled the image ("confident") or a person should look at it ("refer")."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The vector that an encoder made of an image.

    Attributes:
        vector: float32 (d,), of unit length.
        encoder: the encoder's fingerprint.
        maps: of each eye of the encoder where it saw what, float32 (d_eye, height, width), for heat maps; None of one
            that does not tell. Empty where many images were diagnosed at once: they would fill the memory.
    """

    vector: np.ndarray
    encoder: str
    maps: tuple[np.ndarray | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """The part of a diagnosis that the orchestrator draws from the predictions of the agents.

    Where no agent answered, the label and the posterior are empty.

    Attributes:
        label: the most probable label; where costs are set (`decision.costs`), the one that is expected to cost least;
            or the one that a reasoner decided for.
        posterior: probability by label, in the task's order; sums to 1.
        first_posterior: the posterior before any second look; None if there was none.
        prediction_set: the labels that cannot be excluded at the policy's coverage, most probable first; the most
            probable label always stays in it. All labels, where the panel has too few labelled images to exclude any.
        verdict: "confident", or "refer": a person must look.
        reasons: why it was not settled; empty if it was.
        expected_cost: what the label is expected to cost, in the unit of `decision.costs`; None where none are set.
        predictions: every prediction that was weighed or failed, first looks before second looks.
        novelty: share of the panel's own images that are less novel, in [0, 1]; higher = more novel. The one novelty of
            an image. Where the panel could judge too few of its own images, the distance to the neighbours alone tells.
            None where only agents' answers are known of it.
        novelty_signs: by sign, the same for each; empty where that distance tells.
        is_novel: whether the novelty is above `policy.max_novelty`: perhaps the image shows none of the labels.
        unjudgeable: why the image cannot be judged, and what to do ("Too dark to judge: take it again in daylight");
            empty if it can.
        rationale: how the conclusion came about, in plain words.
        rounds: how many times the predictions were weighed.
        cost_usd: what the answers of agents and reasoner cost; those that were kept from an earlier run cost nothing.
    """

    label: str
    posterior: Mapping[str, float]
    first_posterior: Mapping[str, float] | None = None
    prediction_set: tuple[str, ...]
    verdict: Verdict
    reasons: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    expected_cost: float | None = None
    novelty: float | None
    novelty_signs: Mapping[str, float] = field(default_factory=dict)
    is_novel: bool = False
    unjudgeable: str = ""
    rationale: str
    rounds: int
    cost_usd: float

    @property
    def probability(self) -> float:
        """Posterior probability of the label; 0 where no agent answered."""
        return self.posterior.get(self.label, 0.0)

    @property
    def settled(self) -> bool:
        """Whether no person needs to look."""
        return self.verdict == "confident"

    def parts(self) -> dict[str, Any]:
        """Return the fields of the conclusion by name, for what is built on it."""
        return {part.name: getattr(self, part.name) for part in fields(Conclusion)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for the graph's state and for JSON; `conclusion_from_dict` restores it."""
        return {
            "label": self.label,
            "probability": self.probability,
            "posterior": dict(self.posterior),
            "first_posterior": None if self.first_posterior is None else dict(self.first_posterior),
            "prediction_set": list(self.prediction_set),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "predictions": [prediction.to_dict() for prediction in self.predictions],
            "expected_cost": self.expected_cost,
            "novelty": self.novelty,
            "novelty_signs": dict(self.novelty_signs),
            "is_novel": self.is_novel,
            "unjudgeable": self.unjudgeable,
            "rationale": self.rationale,
            "rounds": self.rounds,
            "cost_usd": self.cost_usd,
        }


def conclusion_from_dict(data: Mapping[str, Any]) -> Conclusion:
    """Return the conclusion whose `Conclusion.to_dict` returned `data`. Raises KeyError where a field is missing."""
    sequences = {"prediction_set": tuple(data["prediction_set"]), "reasons": tuple(data["reasons"])}
    predictions = tuple(Prediction.from_dict(prediction) for prediction in data["predictions"])
    plain = {part.name: data[part.name] for part in fields(Conclusion)}
    return Conclusion(**plain | sequences | {"predictions": predictions})


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisRecord(Conclusion):
    """A panel's conclusion about one image, and what it was drawn from.

    Attributes:
        evidence: the most similar labelled cases.
        seconds: wall time of the run that this image was part of, divided by its number of images.
        identity: hash of the image's decoded pixels.
        source: where the image came from.
        image_note: how the image's values were read where its file leaves that open ("5 bands: 1, 2 and 3 are shown as
            red, green and blue (images.bands)"); empty where it does not.
        trust: the trust of each agent's look that was weighed.
        image: the image itself; dropped by `diagnose_many` where it can be loaded again from its source.
        embedding: what the agents on features saw; not in `to_dict`.
    """

    evidence: Evidence
    seconds: float
    identity: str
    source: str
    image_note: str = ""
    trust: tuple[Trust, ...] = ()
    image: Image | None = field(default=None, repr=False, compare=False)
    embedding: Embedding | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_distribution(self.posterior, "the posterior")
        if self.novelty is not None and not 0.0 <= self.novelty <= 1.0:
            raise ValueError(f"the novelty is {self.novelty}, not in [0, 1]")
        if self.label not in self.posterior:
            raise ValueError(f"the label '{self.label}' is not in the posterior")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: what `to_json` writes."""
        return {
            "source": self.source,
            **Conclusion.to_dict(self),
            "evidence": self.evidence.to_dict(),
            "seconds": self.seconds,
            "identity": self.identity,
            "image_note": self.image_note,
            "trust": [trust.to_dict() for trust in self.trust],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], thumbnail: Callable[[str], bytes | None] | None = None) -> Self:
        """Return the diagnosis whose `to_dict` returned `data`, without its image and embedding.

        Args:
            data: plain data.
            thumbnail: returns the JPEG of a retrieved case by its id, None if there is none; None: no case has one.

        Raises:
            KeyError: a field is missing.
            ValueError: a value is out of its range.
        """
        return cls(
            **conclusion_from_dict(data).parts(),
            evidence=Evidence.from_dict(data["evidence"], thumbnail),
            seconds=data["seconds"],
            identity=data["identity"],
            source=data["source"],
            image_note=data.get("image_note", ""),  # not of older histories
            trust=tuple(Trust(**trust) for trust in data["trust"]),
        )

    def to_json(self, indent: int | None = None) -> str:
        """Return what `to_dict` returns as JSON: on one line, or indented by `indent` spaces."""
        return json_of(self.to_dict(), indent)


def json_of(data: dict[str, Any], indent: int | None = None) -> str:
    """Return JSON that can be written as UTF-8: a file name that is not Unicode survives as escapes.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, indent=indent)
    return text.encode("utf-8", "backslashreplace").decode()
