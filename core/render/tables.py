"""The tables of a diagnosis as rows of text: agents, posterior, similar cases. Each surface formats them itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from consilience.core.diagnosis_record import DiagnosisRecord
from consilience.core.evidence import Neighbour
from consilience.core.prediction import Prediction, look_name
from consilience.core.render.colours import OTHER, label_colours
from consilience.core.render.phrases import one_line, percent, ranked, source_name
from consilience.core.trust import Trust

NOTHING = "–"
"""Stands in a cell for a value that does not exist."""


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent's answer at one look, and how far it is trusted.

    Attributes:
        prediction: the answer itself.
        share: its share of the weight of all answers, [0, 1]; None if it was not weighed.
        trust: the trust that counted for it; None if it was not weighed.
    """

    prediction: Prediction
    share: float | None
    trust: Trust | None

    @property
    def name(self) -> str:
        """The agent and its look, on one line."""
        return one_line(look_name(self.prediction.agent, self.prediction.stage))

    @property
    def outcome(self) -> str:
        """The label that the agent names, on one line; else "abstained" or "failed"."""
        if self.prediction.label is not None:
            return one_line(self.prediction.label)
        return "abstained" if self.prediction.error is None else "failed"

    @property
    def probabilities(self) -> Mapping[str, float] | None:
        """The probabilities that count: the calibrated ones, the raw ones where there are no others."""
        return self.prediction.calibrated or self.prediction.probabilities

    @property
    def label(self) -> str | None:
        """The most probable label after calibration; None if the agent did not answer."""
        return self.prediction.counted_label

    @property
    def note(self) -> str:
        """What the agent says in words, on one line: its error, or why it answers or abstains; may be empty."""
        words = one_line(self.prediction.error or self.prediction.rationale)
        return f"{self.outcome}: {words}" if words and self.prediction.probabilities is None else words


def agent_rows(predictions: Sequence[Prediction], trust: Sequence[Trust] = ()) -> list[AgentRow]:
    """Return a row for each prediction, in their order; `trust` is of the looks that were weighed."""
    total = sum(prediction.weight or 0.0 for prediction in predictions)
    by_look = {(earned.agent, earned.stage): earned for earned in trust}
    return [
        AgentRow(
            prediction,
            prediction.weight / total if prediction.weight is not None and total > 0.0 else None,
            by_look.get((prediction.agent, prediction.stage)),
        )
        for prediction in predictions
    ]


def _raw(row: AgentRow) -> str:
    label, raw = row.prediction.label, row.prediction.probabilities
    return NOTHING if label is None or raw is None else percent(raw[label])


def _calibrated(row: AgentRow) -> str:
    """Return the calibrated probability of the label that the agent names, and the top label where it is another."""
    label, calibrated = row.prediction.label, row.prediction.calibrated
    if label is None or calibrated is None:
        return NOTHING
    top = max(calibrated, key=calibrated.__getitem__)
    return percent(calibrated[label]) + ("" if top == label else f"; {one_line(top)} {percent(calibrated[top])}")


def _accuracy(row: AgentRow) -> str:
    return NOTHING if row.trust is None else accuracy_words(row.trust.accuracy, row.trust.estimated_on)


def accuracy_words(accuracy: float | None, estimated_on: int) -> str:
    """Return an agent's accuracy for a table; where it was estimated and not measured, that is said."""
    return NOTHING if accuracy is None else percent(accuracy) + (" (estimated)" if estimated_on else "")


def _measured(row: AgentRow, figure: str, digits: int) -> str:
    """Return a figure of the agent's trust that only labelled images tell."""
    return NOTHING if row.trust is None or row.trust.estimated_on else f"{getattr(row.trust, figure):.{digits}f}"


_AGENT_CELLS: Mapping[str, Callable[[AgentRow], str]] = MappingProxyType(
    {
        "Agent": lambda row: row.name,
        "Says": lambda row: row.outcome,
        "Raw": _raw,
        "Calibrated": _calibrated,
        "Weight": lambda row: NOTHING if row.prediction.weight is None else f"{row.prediction.weight:.2f}",
        "Share": lambda row: NOTHING if row.share is None else percent(row.share),
        "n": lambda row: NOTHING if row.trust is None else f"{row.trust.n}",
        "Accuracy": _accuracy,
        "ECE": lambda row: _measured(row, "ece", 3),
        "OCR": lambda row: _measured(row, "ocr", 3),
        "CCC": lambda row: _measured(row, "ccc", 2),
    }
)

AGENT_COLUMNS = ("Agent", "Says", "Raw", "Calibrated", "Weight", "n", "Accuracy", "ECE", "OCR", "CCC")
"""The columns of agents on a page: all figures."""

NARROW_AGENT_COLUMNS = ("Agent", "Says", "Calibrated", "Share", "Accuracy", "ECE")
"""The columns of agents in a terminal or a conversation. Share: of the weight of all answers."""


def agent_cells(rows: Sequence[AgentRow], columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the cells of each row under `columns`: AGENT_COLUMNS or NARROW_AGENT_COLUMNS."""
    return [tuple(_AGENT_CELLS[name](row) for name in columns) for row in rows]


@dataclass(frozen=True, slots=True)
class PosteriorRow:
    """A label and its posterior probability, or the sum of the labels for which there is no room.

    Attributes:
        name: the label on one line; "51 others" for a sum.
        label: the label itself; None for a sum.
        share: posterior probability, [0, 1].
        colour: of the label, "#0072B2".
    """

    name: str
    label: str | None
    share: float
    colour: str


def posterior_rows(diagnosis: DiagnosisRecord, most: int) -> list[PosteriorRow]:
    """Return the most probable labels, highest first, in at most `most` rows; the last sums up what has no room."""
    colours = label_colours(diagnosis)
    shown, rest = ranked(diagnosis.posterior, most)
    rows = [PosteriorRow(one_line(label), label, share, colours[label]) for label, share in shown]
    return [*rows, PosteriorRow(f"{len(rest)} others", None, min(1.0, sum(rest)), OTHER)] if rest else rows


CASE_COLUMNS = ("Similar case", "Similarity", "Source")


def case_cells(neighbour: Neighbour) -> tuple[str, str, str]:
    """Return the cells under CASE_COLUMNS: label, cosine similarity, [-1, 1], and the name of the file."""
    return one_line(neighbour.label), f"{neighbour.similarity:.3f}", source_name(neighbour.source)
