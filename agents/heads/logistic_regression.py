"""Multinomial logistic regression with an L2 penalty, by a truncated Newton method in the features' principal axes.

    minimise over W (r, c), b (c,):  - sum_i log softmax(x_i W + b)[y_i] + |W|^2 / (2 C)

and with |W|^2 / C for two labels, so that C means what it does in scikit-learn. A Newton step is solved by conjugate
gradients as far as it is worth (Dembo and Steihaug 1983), so that all work is products of the rows with matrices of c
columns, in float32. In the principal axes of the rows the Hessian is nearly diagonal: p (1 - p), averaged over the
images, times the second moment of the axis, plus 1 / C. With this diagonal as the preconditioner a third to a fifth of
the products are enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from consilience.agents.base import softmax
from consilience.agents.heads.model_selection import row_space

TOLERANCE = 1e-7
"""Where to stop, see `LogisticProblem.minimum`. It is far below what the images tell: on n images, sqrt(n * 1e-7)
standard deviations of the weights' posterior distribution."""

FORCING = 0.2
"""By how much the residual of a Newton step is brought down at least, in the norm of the preconditioner."""

UNPENALISED = 1e-6
"""The penalty of b, as a share of that of W: as good as none, but it leaves no direction without curvature."""

MAX_STEPS, MAX_PRODUCTS, MAX_SHORTENED = 100, 500, 20
"""The most Newton steps; conjugate gradient steps in each; and attempts to find how far to go."""


def principal_axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (n, d) rotated onto their principal axes, float32 (n, r), and these, (r, d); r = min(n, d)."""
    reduced, axes = row_space(rows)
    _, rotation = np.linalg.eigh(reduced.T @ reduced)
    return np.asarray(reduced @ rotation, dtype=np.float32), rotation.T @ axes


@dataclass(frozen=True)
class LogisticProblem:
    """Rows whose labels are to be told apart.

    Attributes:
        rows: float32 (n, r + 1), the last column of ones. They should be rotated onto their principal axes.
        labels: int (n,), in [0, n_labels).
        n_labels: c.
    """

    rows: np.ndarray
    labels: np.ndarray
    n_labels: int

    @classmethod
    def of(cls, rows: np.ndarray, labels: np.ndarray, n_labels: int) -> Self:
        """Return the problem of rows (n, r), to which a column of ones is added."""
        return cls(np.concatenate([rows, np.ones((len(rows), 1))], axis=1, dtype=np.float32), labels, n_labels)

    def take(self, chosen: np.ndarray) -> LogisticProblem:
        """Return the problem of some of the rows; the number of labels stays."""
        return LogisticProblem(self.rows[chosen], self.labels[chosen], self.n_labels)

    def probabilities(self, weights: np.ndarray) -> np.ndarray:
        """Return the probabilities (n, c) that weights (r + 1, c) give, float64."""
        return softmax(self.rows @ weights.astype(np.float32))

    def minimum(self, strength: float, start: np.ndarray | None = None, tolerance: float = TOLERANCE) -> np.ndarray:
        """Return the weights of the least loss, float64 (r + 1, c); the last row is b.

        Args:
            strength: C.
            start: weights to start from, such as the minimum for another C; default: zeros.
            tolerance: the squared Newton decrement an image to stop at: about twice how far the mean loss is above its
                least, in nats.
        """
        weights = np.zeros((self.rows.shape[1], self.n_labels)) if start is None else start
        # Of two labels scikit-learn penalises the difference of the weights, which is half as much.
        penalty = np.full((len(weights), 1), (2.0 if self.n_labels == 2 else 1.0) / strength)
        penalty[-1] *= UNPENALISED
        p, slope = self._slope(weights, penalty)
        for _ in range(MAX_STEPS):
            spread = (p * (1 - p)).mean(axis=0, dtype=np.float64)
            diagonal = self._moments[:, None] * spread + penalty
            if (slope**2 / diagonal).sum() < tolerance * len(p):
                break
            step = self._newton_step(p, slope, diagonal, penalty)
            weights, p, slope = self._along(weights, step, slope, penalty)
        return np.asarray(weights)

    @cached_property
    def _moments(self) -> np.ndarray:
        """Sums of squares of the columns, (r + 1,)."""
        return np.asarray(np.einsum("nr,nr->r", self.rows, self.rows, dtype=np.float64))

    def _slope(self, weights: np.ndarray, penalty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the probabilities, float32 (n, c), and the gradient of the loss, float64 (r + 1, c)."""
        p = self.rows @ weights.astype(np.float32)
        p -= p.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        every = np.arange(len(p))
        p[every, self.labels] -= 1
        slope = self.rows.T @ p + penalty * weights
        p[every, self.labels] += 1
        return p, slope

    def _newton_step(self, p: np.ndarray, slope: np.ndarray, diagonal: np.ndarray, penalty: np.ndarray) -> np.ndarray:
        """Return about - H^-1 slope, by preconditioned conjugate gradients."""
        step, residual = np.zeros_like(slope), -slope
        direction = residual / diagonal
        size = first = float((residual * direction).sum())
        target = first * FORCING**2
        for _ in range(MAX_PRODUCTS):
            change = self.rows @ direction.astype(np.float32)
            change *= p
            change -= p * change.sum(axis=1, keepdims=True)
            curved = self.rows.T @ change + penalty * direction
            length = size / float((direction * curved).sum())
            step += length * direction
            residual = residual - length * curved
            scaled = residual / diagonal
            before, size = size, float((residual * scaled).sum())
            if size <= target:
                break
            direction = scaled + size / before * direction
        return step

    def _along(
        self, weights: np.ndarray, step: np.ndarray, slope: np.ndarray, penalty: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the weights some way along a step, with their probabilities and gradient.

        The loss is convex, so that its slope along the step tells how far to go, and in float32 more surely than the
        loss does: the whole way, or until the slope has not turned to more than half as steep upwards.
        """
        down, share = -float((slope * step).sum()), 1.0
        for _ in range(MAX_SHORTENED):
            p, there = self._slope(weights + share * step, penalty)
            up = float((there * step).sum())
            if up <= 0.5 * down:
                break
            share *= down / (down + up)
        return weights + share * step, p, there
