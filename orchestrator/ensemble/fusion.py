"""Fusion: calibrated predictions and trust become one posterior over the labels.

    log posterior(y) = log prior(y) + sum over looks a of  w_a (log p_a(y) - log prior(y)) + const,   w_a >= 0

and what the silence of agents adds that looked and named no label (`silence`): a logarithmic opinion pool (Genest and
Zidek 1986). Calibration, done before, is the first half of trust; w_a is how much of a calibrated word still counts.

- From the summary numbers alone (`from_trust`): w_a = (1 - OCR) (1 + max(CCC, 0)) / 2. An agent that is often wrong
  with confidence, or whose confidence does not follow its correctness, says less than its probabilities claim.
  Whether agents err together is not known then; they count as independent.
- Each word lowered by its calibration error, nothing else known (`independent`): w_a = 1.
- With labelled predictions (`from_predictions`): what comes of one source, such as heads on the same features, is
  pooled by minimum variance, so that heads that err together count as one (`error_covariance`); the sources are
  independent evidence as far as the labelled images do not tell otherwise, and their weights need not sum to 1
  (`pool_weights`). A second look has seen the evidence: it takes the first look's place, with a weight of its own.
  The posterior is capped at (n + 1/2) / (n + 1): n labelled images, or groups of them, cannot justify more confidence
  (`kt_ceiling`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from consilience.agents.base import softmax
from consilience.agents.heads.model_selection import sample
from consilience.core.trust import Trust
from consilience.orchestrator.ensemble.dirichlet import label_shares
from consilience.orchestrator.ensemble.error_covariance import ErrorPrior, apart
from consilience.orchestrator.ensemble.pool_weights import (
    EQUAL_SHARE,
    error_correlation,
    evidence,
    expected_weights,
    information,
    most_probable_weights,
)
from consilience.orchestrator.ensemble.scaling import log_probabilities
from consilience.orchestrator.ensemble.silence import silence_evidence, silent
from consilience.orchestrator.ensemble.sources import Sources, covariance_within_sources

TOTAL_WIDTH = 0.3
"""Standard deviation of the prior on the log of the sum of the weights of a source's looks, around 0, if they were
independent. Its variance is less by the share of their errors that their prior has in common, see `apart`."""


def starting_weight(trust: Trust) -> float:
    """Return w_a in [0, 1] from OCR and CCC alone.

    >>> starting_weight(Trust("expert", "first", n=100, ece=0.02, ocr=0.0, ccc=1.0))
    1.0
    """
    return (1.0 - trust.ocr) * (1.0 + max(trust.ccc, 0.0)) / 2.0


MOST_SETS = 10_000
"""Sets of members that answered together whose weights are kept, about."""


@dataclass(frozen=True)
class Fusion:
    """Weights for a set of looks.

    Attributes:
        base: (a,), the weight of each look, or of its source while it speaks, where all others speak, too.
        sources: where the looks come from; None where no labelled predictions were seen.
        log_prior: (c,), log share of each label among the labelled images, see `label_shares`; None: all the same.
        ceiling: no label gets more than this; 1 where it is not known how many labelled images there were.
        silence: (a, c), what each member's silence adds to the log posterior, see `silence_evidence`; None: nothing.
        ratio: by label, its share where the panel is used over its share among the labelled images, (c,); None: 1. It
            is of the settings, and not written.
    """

    base: np.ndarray
    sources: Sources | None = None
    log_prior: np.ndarray | None = None
    ceiling: float = 1.0
    silence: np.ndarray | None = None
    ratio: np.ndarray | None = None
    _weights_of: dict[bytes, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def from_trust(cls, trusts: Sequence[Trust]) -> Self:
        """Return the weights that the three summary numbers of each member support."""
        return cls(np.array([starting_weight(trust) for trust in trusts]))

    @classmethod
    def independent(cls, members: int) -> Self:
        """Return the weights of Bayes' rule: calibrated members that err independently count in full.

        It suits predictions that were lowered by their calibration error (`scaling.ConfidenceDiscount`): the
        overconfidence that OCR counts is gone from them, so that the weight of `from_trust` would take it off twice.
        """
        return cls(np.ones(members))

    @classmethod
    def from_predictions(
        cls,
        probabilities: np.ndarray,
        labels: np.ndarray,
        spoken: np.ndarray | None = None,
        prior: ErrorPrior | None = None,
        groups: np.ndarray | None = None,
    ) -> Self:
        """Return the weights that labelled predictions support.

        Args:
            probabilities: calibrated and out of fold (a, n, c); rows of NaN where a member did not answer, of SILENT
                where it looked and named nothing.
            labels: int (n,).
            spoken: the same, with NaN for those who do not speak at once, such as second looks: what the weights of
                first looks are fitted on; default: all.
            prior: how they err before anything was seen; default: independently and equally.
            groups: number of the group of each image, int (n,): so many things support the ceiling; default: n.
        """
        prior = ErrorPrior.none(len(probabilities)) if prior is None else prior
        n = len(labels)
        things = n if groups is None else len(np.unique(groups))
        log_prior = np.log(label_shares(labels, probabilities.shape[2]))
        ceiling = kt_ceiling(things)
        of_look, count = prior.sources, int(prior.sources.max(initial=-1)) + 1
        covariance, ones = covariance_within_sources(probabilities, labels, prior), np.ones(count)
        fusion = cls(np.ones(len(of_look)), Sources(of_look, covariance, ones, ones, ones), log_prior, ceiling)
        spoken = probabilities if spoken is None else spoken
        silence = silence_evidence(spoken, labels)
        speaks = np.isfinite(spoken).any(axis=(1, 2))
        total = np.array([fusion._fitted_total(spoken, labels, prior, (of_look == s) & speaks) for s in range(count)])
        sources = Sources(of_look, covariance, total, ones, ones)
        fusion = replace(fusion, sources=sources)
        rows = sample(n)  # a few numbers are learned: enough images tell them
        pooled = fusion._evidence_of_sources(sources, spoken[:, rows])
        answered = np.stack([np.isfinite(spoken[of_look == s][:, rows]).all(axis=2).any(axis=0) for s in range(count)])
        first = cls._weigh_sources(sources, pooled, answered, labels[rows], log_prior, things / max(n, 1))
        fusion = replace(fusion, sources=first, base=first.weight[of_look], silence=silence)
        later = np.where(speaks[:, None, None], np.nan, probabilities[:, rows])
        return fusion._with_second_looks(first, later, labels[rows], pooled, things / max(n, 1))

    @staticmethod
    def _weigh_sources(
        sources: Sources,
        words: np.ndarray,
        answered: np.ndarray,
        labels: np.ndarray,
        log_prior: np.ndarray,
        image_weight: float,
    ) -> Sources:
        """Return the sources with their weights; words (s, n, c), answered bool (s, n)."""
        spread = np.sqrt(2 * information(words, answered, labels, log_prior))
        if len(words) < 2:  # one calibrated source is taken at its word
            return replace(sources, spread=spread)
        correlation = error_correlation(words, answered, labels, image_weight * len(labels))
        expected = expected_weights(spread, correlation)
        expected = (1 - EQUAL_SHARE) * expected + EQUAL_SHARE * expected.mean()
        weight = most_probable_weights(words, labels, log_prior, expected, image_weight)
        return replace(sources, weight=weight, spread=spread, correlation=correlation)

    def _fitted_total(self, spoken: np.ndarray, labels: np.ndarray, prior: ErrorPrior, looks: np.ndarray) -> float:
        """Return the sum of the weights of the looks of one source, bool (a,), where several of them speak."""
        from scipy.optimize import minimize_scalar

        if looks.sum() < 2:
            return 1.0
        words = self._words(np.where(looks[:, None, None], spoken, np.nan))
        weights = self.weights(np.isfinite(spoken).all(axis=2).T & looks)
        pooled = np.einsum("na,anc->nc", weights, words)
        width = TOTAL_WIDTH * np.sqrt(apart(prior.covariance[np.ix_(looks, looks)]))

        def loss(log_total: float) -> float:
            # The labels as they are: the prior guards against certainty, and the calibrators have softened them once.
            own = softmax(np.exp(log_total) * pooled + self._log_prior)[np.arange(len(labels)), labels]
            return float(-log_probabilities(own).sum() + (log_total / width) ** 2 / 2)

        return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x))

    def _evidence_of_sources(self, sources: Sources, probabilities: np.ndarray) -> np.ndarray:
        """Return what each source says as a whole, (s, n, c), of predictions (a, n, c); their weights are still 1."""
        words, of_look = self._words(probabilities), sources.of_look
        shares = self.weights(np.isfinite(probabilities).all(axis=2).T)
        pooled = np.zeros((len(sources.total), *words.shape[1:]))
        for look, source in enumerate(of_look):
            pooled[source] += shares[:, look, None] * words[look]
        return pooled

    def _with_second_looks(
        self, sources: Sources, later: np.ndarray, labels: np.ndarray, words: np.ndarray, image_weight: float
    ) -> Self:
        """Return the fusion with a weight for each look that does not speak at first.

        Each takes the place of what its source said: one alone, and all at once.

        Args:
            later: these looks (a, n, c); NaN for the others. words: evidence of the sources at first, (s, n, c).
        """
        looks = np.flatnonzero(np.isfinite(later).any(axis=(1, 2)))
        if not len(looks) or len(words) < 2:
            return self
        of_look, weight = sources.of_look[looks], sources.weight
        own = self._words(later[looks])
        answered = np.isfinite(later[looks]).all(axis=2)
        first = np.einsum("s,snc->nc", weight, words) + self._log_prior
        replaced = answered[:, :, None] * weight[of_look][:, None, None] * words[of_look]
        settings = [np.eye(len(looks))[number] for number in range(len(looks))]
        settings += [np.ones(len(looks))] if len(looks) > 1 else []
        stacked = np.concatenate([own * who[:, None, None] for who in settings], axis=1)
        offset = np.concatenate([first - np.einsum("k,knc->nc", who, replaced) for who in settings])
        fitted = most_probable_weights(
            stacked, np.tile(labels, len(settings)), offset, weight[of_look], image_weight / len(settings)
        )
        base = self.base.copy()
        base[looks] = fitted
        return replace(self, base=base)

    def posterior(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pool calibrated predictions (a, n, c), rows of NaN or SILENT where a member named nothing.

        Returns:
            The posterior (n, c), rows sum to 1 (the labels' shares where nobody answered), and the weights (n, a), 0
            for those who did not answer. If one of several that err together is missing, the rest count for more.
        """
        weights = self.weights(np.isfinite(probabilities).all(axis=2).T)
        return self.pooled(probabilities, weights), weights

    def pooled(self, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the posterior (n, c) of calibrated predictions (a, n, c) with weights (n, a)."""
        logits = np.einsum("na,anc->nc", weights, self._words(probabilities)) + self._log_prior
        if self.silence is not None:
            logits += silent(probabilities).T @ self.silence
        return with_prior(self.ratio, cap_confidence(self.ceiling, softmax(logits)))

    def weights(self, present: np.ndarray) -> np.ndarray:
        """Return how much each member counts, (n, a), given by `present`, bool (n, a), which have answered.

        They are worked out once for those who answered together: images share few such sets.
        """
        if self.sources is None:
            return np.where(present, self.base, 0.0)
        who = [row.tobytes() for row in present]
        known = self._weights_of if len(self._weights_of) < MOST_SETS else {}
        if new := {those: row for row, those in enumerate(who) if those not in known}:
            known.update(zip(new, self.sources.weights(self.base, present[[*new.values()]]), strict=True))
        return np.array([known[those] for those in who]).reshape(present.shape)

    def _words(self, probabilities: np.ndarray) -> np.ndarray:
        return evidence(probabilities, np.broadcast_to(self._log_prior, probabilities.shape[2:]))

    @property
    def _log_prior(self) -> np.ndarray:
        return np.zeros(1) if self.log_prior is None else self.log_prior

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for `from_dict`."""
        sources = None if self.sources is None else self.sources.to_dict()
        log_prior = None if self.log_prior is None else self.log_prior.tolist()
        silence = None if self.silence is None else self.silence.tolist()
        return {
            "base": self.base.tolist(),
            "sources": sources,
            "log_prior": log_prior,
            "ceiling": self.ceiling,
            "silence": silence,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` returned."""
        sources = None if data["sources"] is None else Sources.from_dict(data["sources"])
        log_prior = None if data["log_prior"] is None else np.array(data["log_prior"])
        silence = None if data["silence"] is None else np.array(data["silence"])
        return cls(np.array(data["base"]), sources, log_prior, float(data["ceiling"]), silence)


def kt_ceiling(n: int) -> float:
    """Return the chance of being right once more after n times of n: (n + 1/2) / (n + 1).

    Krichevsky and Trofimov (1981); Laplace's rule of succession, (n + 1) / (n + 2), was too low for images that more
    than one agent is sure of: the ECE rose by 0.001 to 0.006 with it, by at most 0.002 with this.

    >>> kt_ceiling(24)
    0.98
    """
    return (n + 0.5) / (n + 1.0)


def cap_confidence(ceiling: float, posterior: np.ndarray) -> np.ndarray:
    """Return rows of (n, c), those surer than the ceiling mixed with the uniform distribution down to it.

    >>> cap_confidence(0.9, np.array([[1.0, 0.0], [0.8, 0.2]])).round(3)
    array([[0.9, 0.1],
           [0.8, 0.2]])
    """
    top, chance = posterior.max(axis=1, keepdims=True), 1.0 / posterior.shape[1]
    doubt = np.maximum(top - ceiling, 0.0) / np.maximum(top - chance, 1e-12)
    return np.asarray((1.0 - doubt) * posterior + doubt * chance)


def with_prior(ratio: np.ndarray | None, posterior: np.ndarray) -> np.ndarray:
    """Return a posterior (n, c) where labels occur `ratio` times as often, (c,), as where it was learned.

    None: as often.

    Bayes' rule, where labels look the same and only their shares differ (label shift): Saerens et al. 2002.

    >>> with_prior(np.array([1.9, 0.1]), np.array([[0.5, 0.5]])).round(2)
    array([[0.95, 0.05]])
    """
    if ratio is None:
        return posterior
    scaled = posterior * ratio
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))
