"""The table of all rows: columns of small numbers and short texts, which the page's script sorts and filters."""

from __future__ import annotations

from typing import Any

from consilience.core.render.phrases import one_line
from consilience.evals.report.galleries import Row, novelty_of, top_label

MOST_ROWS = 50_000
"""More would make the page slow: the first ones are shown, and the page says so."""

VERDICTS = ("confident", "refer")


class RowTable:
    """Columns, filled by `add` in the order of the rows; labels and verdicts are written as places in a list."""

    def __init__(self, labels: list[str]) -> None:
        self.total = 0
        self._labels = {label: place for place, label in enumerate(labels)}
        self._columns: dict[str, list[Any]] = {
            name: []
            for name in (
                "row", "source", "truth", "label", "sure", "verdict", "agree", "looks", "novelty", "rounds", "cost",
                "seconds", "note",
            )
        }  # fmt: skip

    def add(self, row: Row) -> None:
        """Append a row; beyond `MOST_ROWS` it is only counted."""
        self.total += 1
        if self.total > MOST_ROWS:
            return
        predictions = (prediction["calibrated"] for prediction in row["predictions"])
        answered = [calibrated for calibrated in predictions if calibrated is not None]
        label, verdict = row["label"], row["verdict"]
        note = row["error"] if row["error"] is not None else ". ".join(row["reasons"])
        cells = {
            "row": row["row"],
            "source": one_line(row["source"]),
            "truth": self.place(row["truth"]),
            "label": -1 if label is None else self.place(label),
            "sure": None if label is None else round(row["posterior"][label], 4),
            "verdict": -1 if verdict is None else VERDICTS.index(verdict),
            "agree": sum(top_label(calibrated) == label for calibrated in answered),
            "looks": len(answered),
            "novelty": None if (novelty := novelty_of(row)) is None else round(novelty, 3),
            "rounds": row["rounds"],
            "cost": round(row["cost_usd"], 6),
            "seconds": round(row["seconds"], 4),
            "note": one_line(note, 200),
        }
        for name, cell in cells.items():
            self._columns[name].append(cell)

    def place(self, label: str) -> int:
        """Return the place of the label in the list of labels; one that the panel does not know is put at its end."""
        return self._labels.setdefault(label, len(self._labels))

    @property
    def shown(self) -> int:
        """Return how many rows the table holds."""
        return min(self.total, MOST_ROWS)

    def data(self) -> dict[str, Any]:
        """Return what the page embeds as JSON; the folder that all images' names begin with is written once."""
        images = self._columns["source"]
        folder = _common_folder(min(images, default=""), max(images, default=""))
        return {
            "labels": [one_line(label) for label in self._labels],
            "folder": folder,
            "columns": self._columns | {"source": [name.removeprefix(folder) for name in images]},
        }


def _common_folder(first: str, last: str) -> str:
    """Return the folder that both names, and so all that lie between them in order, begin with."""
    same = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[: max(first.rfind("/", 0, same), first.rfind("\\", 0, same)) + 1]
