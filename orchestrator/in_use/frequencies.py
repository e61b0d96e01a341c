"""How often each label occurs where a panel is used: as it was set, or estimated from images without labels.

Where labels occur in other shares, and each still looks the same (label shift), Bayes' rule says what changes:

    posterior'(y) is proportional to posterior(y) share'(y) / share(y)

The shares that explain unlabelled images best are found by expectation maximisation (Saerens, Latinne and Decaestecker
2002). They follow the posterior's errors, too, so what the same estimate makes of the labelled images themselves is
taken off before the two mixes are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from consilience.core.errors import SettingsError
from consilience.core.render.phrases import counted, percent
from consilience.core.settings.settings_problem import nearest

SETTING = "decision.frequencies"

RARER_THAN_SEEN = 0.5
"""Images that a label counts for at least: one that no labelled image shows is rare, but not impossible."""

CERTAINTY = 0.99
"""Of the interval of all shares together: the labels' own mix is given up where it lies outside."""

DRAWS = 200
"""Samples that the interval is drawn from."""

STEPS, CONVERGED = 1000, 1e-6
"""Of expectation maximisation, at most, and when it ends."""


def shares_in_use(frequencies: Mapping[str, float], names: Sequence[str], counts: Sequence[int]) -> np.ndarray:
    """Return the share of each label, float (c,), as it was set.

    Args:
        names: the c labels. counts: labelled images of each.

    Raises:
        SettingsError: a label is missing or unknown, or has a share of 0 though labelled images show it.
    """
    if unknown := [name for name in frequencies if name not in names]:
        raise SettingsError(f"{SETTING} names '{unknown[0]}', which is no label{nearest(unknown[0], names)}")
    if missing := [name for name in names if name not in frequencies]:
        raise SettingsError(
            f"{SETTING} has no share for {', '.join(map(repr, missing))}: give each label one, so that they sum to 1"
        )
    for name, count in zip(names, counts, strict=True):
        if count and frequencies[name] <= 0.0:
            raise SettingsError(
                f"{SETTING} says 0 for '{name}', which {count} labelled images show: it could never be diagnosed. "
                "Give it a small share, such as 0.001, or fit a panel without it"
            )
    return np.array([frequencies[name] for name in names])


def shares_of(labels: np.ndarray, n_labels: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the share of each label among images, float (c,), sum 1; none is 0.

    Args:
        labels: int (n,). weights: how much each image counts, float (n,); None: 1.
    """
    counts = np.maximum(np.bincount(labels, weights, n_labels), RARER_THAN_SEEN)
    return np.asarray(counts / counts.sum())


def estimated_shares(posterior: np.ndarray, own: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the shares that explain images best, float (s, c), for s samples of them at once.

    Args:
        posterior: (m, c), for labels in shares `own`, float (c,).
        weights: how often each image is in a sample, float (s, m).
    """
    likelihood, total = posterior / own, weights.sum(axis=1, keepdims=True)
    shares = np.tile(own, (len(weights), 1))
    for _ in range(STEPS):
        before = shares
        shares = shares * ((weights / (shares @ likelihood.T)) @ likelihood) / total
        if np.abs(shares - before).max() < CONVERGED:
            break
    return np.asarray((shares * total + RARER_THAN_SEEN) / (total + RARER_THAN_SEEN * len(own)))


@dataclass(frozen=True)
class FrequencyEstimate:
    """How often labels seem to occur among images without labels.

    Attributes:
        names: the c labels.
        shares: float (c,), sum 1: the mean of what samples of the images say.
        low, high: their interval, of CERTAINTY for all together.
        own: the shares among the labelled images, float (c,).
        images: how many images it rests on.
    """

    names: tuple[str, ...]
    shares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    own: np.ndarray
    images: int

    @property
    def is_used(self) -> bool:
        """Whether the labels' own mix is unlikely: the share of a label lies outside its interval."""
        return bool(((self.own < self.low) | (self.own > self.high)).any())

    @property
    def frequencies(self) -> dict[str, float] | None:
        """Return the setting that follows; None: the labels' own mix."""
        return dict(zip(self.names, self.shares.tolist(), strict=True)) if self.is_used else None

    def words(self) -> str:
        """Return in a sentence how often labels seem to occur, and whether that is used."""
        listed = ", ".join(
            f"{name} {percent(share)} ({percent(low)} to {percent(high)}; {percent(own)} of the labelled images)"
            for name, share, low, high, own in zip(
                self.names, *(column.tolist() for column in (self.shares, self.low, self.high, self.own)), strict=True
            )
        )
        used = "is used" if self.is_used else "is not used: the labelled images' own mix may well hold"
        return f"Labels seem to occur so among {counted(self.images)}: {listed}. This {used}."

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: by label its shares; how many images, and whether the estimate is used."""
        columns = (self.shares, self.low, self.high, self.own)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        labels = {
            name: dict(zip(("share", "low", "high", "own"), row, strict=True))
            for name, row in zip(self.names, rows, strict=True)
        }
        return {"images": self.images, "used": self.is_used, "labels": labels}


def estimate(
    names: Sequence[str],
    posterior: np.ndarray,
    known: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    seed: int = 0,
) -> FrequencyEstimate:
    """Estimate the shares of labels among images without labels.

    The interval counts that both the images and the labelled ones (by group) are samples.

    Args:
        names: the c labels.
        posterior: of the images, (m, c).
        known: of the labelled images, out of fold, (n, c). labels, groups: of these, int (n,).
        seed: of the samples.
    """
    rng, own = np.random.default_rng(seed), shares_of(labels, len(names))
    place = np.unique(groups, return_inverse=True)[1]
    n_groups, m = int(place.max(initial=-1)) + 1, len(posterior)
    if not m or not n_groups:
        return FrequencyEstimate(tuple(names), own, np.zeros(len(own)), np.ones(len(own)), own, 0)
    drawn = rng.multinomial(m, np.full(m, 1 / m), DRAWS).astype(float)
    drawn_known = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), DRAWS)[:, place].astype(float)
    truth = np.eye(len(names))[labels]
    # What the estimate misses of the labelled images' own mix, it misses here.
    missed = estimated_shares(known, own, drawn_known) - drawn_known @ truth / drawn_known.sum(axis=1, keepdims=True)
    of_samples = estimated_shares(posterior, own, drawn)
    shares, spread = of_samples.mean(axis=0), (of_samples - missed).std(axis=0)  # few images may say 0; their mean not
    middle = shares - missed.mean(axis=0)
    z = NormalDist().inv_cdf(1 - (1 - CERTAINTY) / (2 * len(names)))
    low, high = np.clip(middle - z * spread, 0.0, 1.0), np.clip(middle + z * spread, 0.0, 1.0)
    return FrequencyEstimate(tuple(names), shares, low, high, own, m)
