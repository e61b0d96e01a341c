"""Which rows the galleries keep, and the drawings' axes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consilience.evals.report.axis import Axis, from_lowest, to_highest
from consilience.evals.report.galleries import Best

values = st.floats(-1e6, 1e6)


@given(st.lists(st.integers(-5, 5)), st.integers(1, 6))
def test_the_best_are_the_first_of_the_sorted_ones(ranks: list[int], size: int) -> None:
    best = Best(size)
    for place, rank in enumerate(ranks):
        best.offer(rank, {"row": place})
    wanted = sorted(range(len(ranks)), key=lambda place: (-ranks[place], place))[:size]
    assert [row["row"] for row in best.rows()] == wanted
    assert best.seen == len(ranks)


@given(values, st.floats(0.01, 1e6), values)
def test_an_axis_keeps_every_value_on_the_page(low: float, span: float, value: float) -> None:
    axis = Axis(low, low + span, 200.0, 10.0)
    assert 10.0 <= axis(value) <= 200.0
    assert all(low - 1e-6 <= tick <= low + span + 1e-6 for tick in axis.ticks())


def test_axes_show_where_the_figures_lie() -> None:
    axis = from_lowest([0.83, 0.91], 0, 200)
    assert (axis.low, axis(0.8), axis(0.9), axis(1.0)) == (0.8, 0.0, 100.0, 200.0)
    assert axis.ticks() == [0.8, 0.85, 0.9, 0.95, 1.0]
    assert from_lowest([1.0], 0, 200).low == 0.9
    assert from_lowest([], 0, 200).low == 0.0
    assert to_highest([0.1, 0.5], 100, 0).high == 0.54
    assert to_highest([0.0], 100, 0).high == 0.01
