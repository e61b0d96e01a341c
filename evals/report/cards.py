"""One image of a gallery, as the page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction, look_name
from consilience.core.render.rendering import novelty_words, percent
from consilience.evals.report.galleries import Row, novelty_of, of_truth, sureness, top_label


@dataclass(frozen=True)
class Card:
    """A row, with what its card says beyond it.

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
        """What the first look came to; None if there was no second."""
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
    def said(self) -> list[tuple[str, str, str]]:
        """By look: its name, its label and weight, and its own words."""
        looks = [Prediction.from_dict(one) for one in self.row["predictions"]]
        return [(look_name(one.agent, one.stage), _answer(one), one.rationale) for one in looks]


def _answer(said: Prediction) -> str:
    if said.error is not None:
        return f"failed: {said.error}"
    if said.calibrated is None:
        return "abstained"
    label = top_label(said.calibrated)
    weight = "" if said.weight is None else f", weight {said.weight:.2f}"
    return f"{label} {percent(said.calibrated[label])}{weight}"
