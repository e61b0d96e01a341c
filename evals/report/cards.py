"""One image of a gallery, as the page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction, look_name
from consilience.core.render.phrases import novelty_words, percent
from consilience.evals.report.galleries import Row, novelty_of, of_truth, sureness, top_label


@dataclass(frozen=True)
class Card:
    """A row of the evaluation, with what its card shows beyond it.

    Attributes:
        picture: data address of the image; None if it is gone.
        truth_place, label_place: where its labels stand in the page's list of labels.
    """

    row: Row
    picture: str | None
    truth_place: int
    label_place: int

    @property
    def right(self) -> bool:
        return bool(self.row["label"] == self.row["truth"])

    @property
    def sure(self) -> float:
        return sureness(self.row)

    @property
    def truth_sure(self) -> float:
        return of_truth(self.row)

    @property
    def was(self) -> str | None:
        """The label of the first look with its probability; None if there was no second look."""
        first = self.row["first_posterior"]
        return None if first is None else f"{top_label(first)} {percent(max(first.values()))}"

    @property
    def evidence(self) -> Evidence:
        return Evidence.from_dict(self.row["evidence"] or {"neighbours": (), "distribution": {}, "novelty": 0.0})

    @property
    def novelty(self) -> float:
        return novelty_of(self.row) or 0.0

    @property
    def novelty_words(self) -> str:
        return novelty_words(self.evidence, self.novelty, self.row.get("novelty_signs"))

    @property
    def predictions(self) -> list[tuple[str, str, str]]:
        """By look: its name, its label with probability and weight, and its rationale."""
        looks = [Prediction.from_dict(prediction) for prediction in self.row["predictions"]]
        return [(look_name(look.agent, look.stage), _answer(look), look.rationale) for look in looks]


def _answer(prediction: Prediction) -> str:
    if prediction.error is not None:
        return f"failed: {prediction.error}"
    if prediction.calibrated is None:
        return "gave no answer"
    label = top_label(prediction.calibrated)
    weight = "" if prediction.weight is None else f", weight {prediction.weight:.2f}"
    return f"{label} {percent(prediction.calibrated[label])}{weight}"
