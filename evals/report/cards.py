"""One image of a gallery, as the page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction
from consilience.core.render.phrases import novelty_words, percent
from consilience.core.render.tables import AgentRow, agent_rows
from consilience.evals.report.galleries import Row, novelty_of, of_truth, sureness, top_label
from consilience.evals.report.where_looked import Looked


@dataclass(frozen=True)
class Card:
    """A row of the evaluation, with what its card shows beyond it.

    Attributes:
        picture: data address of the image; None if it is gone.
        truth_place, label_place: where its labels stand in the page's list of labels.
        looked: where in the image the agents looked; None if that is not known.
    """

    row: Row
    picture: str | None
    truth_place: int
    label_place: int
    looked: Looked | None = None

    @property
    def right(self) -> bool:
        """Return whether the panel named the folder's label."""
        return bool(self.row["label"] == self.row["truth"])

    @property
    def sure(self) -> float:
        """Return the probability of the label that the panel named, [0, 1]."""
        return sureness(self.row)

    @property
    def truth_sure(self) -> float:
        """Return the probability of the folder's label, [0, 1]."""
        return of_truth(self.row)

    @property
    def was(self) -> str | None:
        """Return the label of the first look with its probability; None if there was no second look."""
        first = self.row["first_posterior"]
        return None if first is None else f"{top_label(first)} {percent(max(first.values()))}"

    @property
    def evidence(self) -> Evidence:
        """Return the evidence; an empty one where the row has none."""
        return Evidence.from_dict(self.row["evidence"] or {"neighbours": (), "distribution": {}})

    @property
    def novelty(self) -> float:
        """Return how novel the image is, [0, 1]."""
        return novelty_of(self.row) or 0.0

    @property
    def novelty_words(self) -> str:
        """Return how novel the image is, in words."""
        return novelty_words(self.evidence, self.novelty, self.row.get("novelty_signs"))

    @property
    def predictions(self) -> list[tuple[str, str, str]]:
        """Return by look its name, its label with probability and share of the weight, and its note."""
        rows = agent_rows([Prediction.from_dict(prediction) for prediction in self.row["predictions"]])
        return [(row.name, _answer(row), row.note) for row in rows]


def _answer(row: AgentRow) -> str:
    if row.label is None or row.probabilities is None:
        return "" if row.note else row.outcome  # the note begins with it
    share = "" if row.share is None else f", {percent(row.share)} of the weight"
    return f"{row.label} {percent(row.probabilities[row.label])}{share}"
