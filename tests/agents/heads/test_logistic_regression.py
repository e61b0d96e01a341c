"""The solver against scikit-learn's, and against what a minimum is."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from consilience.agents.heads.logistic_regression import LogisticProblem, principal_axes


def made(n: int, d: int, c: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows around one centre a label, of very different scales in different directions, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % c
    noise = rng.standard_normal((n, d)) @ (rng.standard_normal((d, d)) * np.geomspace(0.05, 1.0, d))
    rows = rng.standard_normal((c, d))[labels] + spread * noise / np.sqrt(d)
    return rows - rows.mean(axis=0), labels


@pytest.mark.parametrize("strength", [0.1, 10.0, 100.0])
@pytest.mark.parametrize(
    ("n", "d", "c", "spread"), [(200, 8, 3, 4.0), (90, 30, 6, 2.0), (40, 60, 4, 1.0), (60, 5, 2, 2.0)]
)
def test_the_minimum_is_scikit_learns(n: int, d: int, c: int, spread: float, strength: float) -> None:
    rows, labels = made(n, d, c, spread)
    exact = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(rows, labels)
    rotated, axes = principal_axes(rows)
    fitted = LogisticProblem.of(rotated, labels, c).minimum(strength, tolerance=1e-12)
    others, _ = made(500, d, c, 2 * spread, seed=1)
    found = LogisticProblem.of(others @ axes.T, np.zeros(len(others), np.intp), c).probabilities(fitted)
    assert np.abs(found - exact.predict_proba(others)).max() < 1e-3
    weights = fitted[:-1].T @ axes
    coefficients = exact.coef_ if c > 2 else np.vstack([-exact.coef_, exact.coef_]) / 2
    assert np.abs(weights - coefficients).max() < 1e-3 * np.abs(coefficients).max()


def test_where_it_starts_makes_no_difference() -> None:
    rows, labels = made(300, 10, 5, 3.0)
    problem = LogisticProblem.of(principal_axes(rows)[0], labels, 5)
    from_nothing = problem.minimum(100.0)
    again = problem.minimum(100.0, problem.minimum(1.0))
    assert np.abs(problem.probabilities(again) - problem.probabilities(from_nothing)).max() < 1e-3


def test_rows_in_other_units_and_at_one_point_have_a_minimum() -> None:
    labels = np.array([0, 1, 1, 1])
    nothing = LogisticProblem.of(np.zeros((4, 2)), labels, 2)
    assert nothing.probabilities(nothing.minimum(10_000.0))[0].tolist() == pytest.approx([0.25, 0.75], abs=1e-4)
    far = LogisticProblem.of(np.array([[-1e4], [1e4], [1e4], [1e4]]), labels, 2)
    assert far.probabilities(far.minimum(10_000.0)).argmax(axis=1).tolist() == labels.tolist()


def test_principal_axes_keep_lengths_and_angles() -> None:
    for shape in [(30, 6), (6, 30)]:
        rows = np.random.default_rng(0).standard_normal(shape)
        rotated, axes = principal_axes(rows)
        assert rotated.shape[1] == 6
        np.testing.assert_allclose(rotated @ rotated.T, rows @ rows.T, atol=1e-4)
        np.testing.assert_allclose(rotated @ axes, rows, atol=1e-5)
        moments = rotated.T.astype(np.float64) @ rotated
        assert np.abs(moments - np.diag(np.diag(moments))).max() < 1e-4
