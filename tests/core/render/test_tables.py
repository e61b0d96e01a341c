"""The rows of a diagnosis's tables, which every surface formats."""

from __future__ import annotations

import pytest

from consilience.core.evidence import Neighbour
from consilience.core.prediction import Prediction
from consilience.core.render.colours import OTHER, PALETTE
from consilience.core.render.tables import (
    AGENT_COLUMNS,
    NARROW_AGENT_COLUMNS,
    PosteriorRow,
    agent_cells,
    agent_rows,
    case_cells,
    posterior_rows,
)
from consilience.core.trust import Trust
from tests.core.render.test_rendering import diagnosis

RAW, CALIBRATED = {"rust": 0.6, "scab": 0.4}, {"rust": 0.45, "scab": 0.55}
PREDICTIONS = (
    Prediction("probe", probabilities=RAW, calibrated=CALIBRATED, weight=1.5),
    Prediction("qwen", probabilities=RAW, calibrated=RAW, weight=0.5, rationale="orange\npowder"),
    Prediction("glm", error="TimeoutError: too slow"),
    Prediction("qwen", stage="second", abstained=True, rationale="out of focus"),
    Prediction("new", probabilities=RAW),
)
TRUST = (Trust("probe", "first", 200, 0.0213, 0.015, 0.456, accuracy=0.9724), Trust("qwen", "second", 9, 0.1, 0.0, 0.0))


def test_every_prediction_has_a_row() -> None:
    rows = agent_rows(PREDICTIONS, TRUST)
    assert [row.name for row in rows] == ["probe", "qwen", "glm", "qwen, second look", "new"]
    assert [row.outcome for row in rows] == ["rust", "rust", "failed", "abstained", "rust"]
    assert [row.label for row in rows] == ["scab", "rust", None, None, "rust"]
    assert [row.share for row in rows] == [0.75, 0.25, None, None, None]
    assert [row.trust for row in rows] == [TRUST[0], None, None, TRUST[1], None]
    assert [row.note for row in rows] == [
        "", "orange powder", "failed: TimeoutError: too slow", "abstained: out of focus", "",
    ]  # fmt: skip


def test_where_nothing_counts_there_are_no_shares() -> None:
    assert agent_rows(()) == []
    assert [row.share for row in agent_rows([Prediction("a", probabilities=RAW, weight=0.0)])] == [None]


@pytest.mark.parametrize(
    ("columns", "first", "failed"),
    [
        (
            AGENT_COLUMNS,
            ("probe", "rust", "60.0 %", "45.0 %; scab 55.0 %", "1.50", "200", "97.2 %", "0.021", "0.015", "0.46"),
            ("glm", "failed", *"––––––––"),
        ),
        (
            NARROW_AGENT_COLUMNS,
            ("probe", "rust", "45.0 %; scab 55.0 %", "75.0 %", "97.2 %", "0.021"),
            ("glm", "failed", *"––––"),
        ),
    ],
)
def test_cells(columns: tuple[str, ...], first: tuple[str, ...], failed: tuple[str, ...]) -> None:
    cells = agent_cells(agent_rows(PREDICTIONS, TRUST), columns)
    assert (cells[0], cells[2]) == (first, failed)


def test_the_posterior_fits_and_sums_to_one() -> None:
    posterior = {"a": 0.1, "b": 0.6, "c": 0.1, "d": 0.2}
    case = diagnosis(label="b", posterior=posterior, prediction_set=("b",))
    assert posterior_rows(case, 3) == [
        PosteriorRow("b", "b", 0.6, PALETTE[1]),
        PosteriorRow("d", "d", 0.2, PALETTE[3]),
        PosteriorRow("2 others", None, 0.2, OTHER),
    ]
    assert [row.label for row in posterior_rows(case, 4)] == ["b", "d", "a", "c"]


def test_a_case_is_named_by_its_file() -> None:
    assert case_cells(Neighbour("id", "leaf\nrust", 0.91264, "/x/leaf 1.jpg")) == ("leaf rust", "0.913", "leaf 1.jpg")
