"""A conformal test martingale: notices in a stream of images that they stop being like the labelled ones.

Each new score is ranked among the held-out labelled images' and all earlier ones of the stream. As long as all of these
are exchangeable, the p-values are independent and uniform, however few images were held out (Vovk, Gammerman and Shafer
2005, "Algorithmic learning in a random world", theorem 8.1; ties are drawn at random). Who bets against that starts
with a wealth of 1 and, whatever the bets, has a chance of at most 1 / 100 of ever reaching 100 (Ville 1939): that is
the alarm (Vovk et al. 2021, "Retrain or not retrain: conformal test martingales for change-point detection").

The bets are on small p-values. When to begin is not known, so the wealth is spread over all beginnings: half of it on
the first image, the rest later, ever more thinly. What begins late was not lost before: a change after 5,000 images is
noticed nearly as soon as one at the start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

ALARM_WEALTH = 100.0
"""Wealth at which an alarm is raised: the chance of ever reaching it by chance is 1 / 100."""

STEEPNESS = (1.5, 2.0, 3.0)
"""The bets are s (1 - p)^(s - 1), densities on [0, 1]. None is above 3: two or three images alone raise no alarm."""

FIRST_SHARE, USUAL_LENGTH = 0.5, 1000.0
"""Wealth whose bets begin with the first image; images by which a good part of the rest has begun."""


@dataclass
class ShiftMartingale:
    """The wealth of somebody who bets that a stream has changed.

    Attributes:
        images: p-values that were bet on.
        log_wealth: of each bet that has begun, in the order of STEEPNESS; logarithms.
        log_peak: the greatest wealth so far, logarithm.
    """

    images: int = 0
    log_wealth: list[float] = field(default_factory=lambda: [-math.inf] * len(STEEPNESS))
    log_peak: float = 0.0

    @property
    def wealth(self) -> float:
        """Return the wealth, at least 0; 1 at the start."""
        begun = sum(math.exp(min(log, 700.0)) for log in self.log_wealth) / len(self.log_wealth)
        return begun + _not_begun(self.images)

    @property
    def alarm(self) -> bool:
        """Return whether the wealth has ever reached ALARM_WEALTH."""
        return self.log_peak >= math.log(ALARM_WEALTH)

    def bet(self, p_value: float) -> None:
        """Bet once more, and be told the p-value: in [0, 1], uniform and independent while nothing has changed."""
        begins = _not_begun(self.images) - _not_begun(self.images + 1)
        for place, steepness in enumerate(STEEPNESS):
            log_bet = math.log(steepness) + (steepness - 1.0) * math.log(max(1.0 - p_value, 1e-300))
            self.log_wealth[place] = float(np.logaddexp(self.log_wealth[place], math.log(begins))) + log_bet
        self.images += 1
        self.log_peak = max(self.log_peak, math.log(self.wealth))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `from_dict` restores."""
        logs = [None if math.isinf(log) else log for log in self.log_wealth]
        return {"images": self.images, "log_wealth": logs, "log_peak": self.log_peak}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` returned."""
        logs = [-math.inf if log is None else float(log) for log in data["log_wealth"]]
        return cls(int(data["images"]), logs, float(data["log_peak"]))


def _not_begun(images: int) -> float:
    """Return the wealth whose bets have not begun after so many images; 1 at first, ever less."""
    return 1.0 if images == 0 else (1.0 - FIRST_SHARE) / math.sqrt(1.0 + (images - 1) / USUAL_LENGTH)


@dataclass
class OnlineRanks:
    """Ranks each score of a stream among the held-out ones and those before it; exact, in bounded memory.

    Scores come as classes that were fixed beforehand, and equal ones are told apart by chance: so a count for each
    class is all that must be kept, however long the stream.

    Attributes:
        held: how many held-out images are in each class, int (c,).
        seen: the same of the stream, int (c,).
    """

    held: np.ndarray
    seen: np.ndarray

    @classmethod
    def beside(cls, held: np.ndarray) -> Self:
        """Return the ranks of a stream that begins, beside held-out images, int (c,)."""
        return cls(held, np.zeros_like(held))

    def p_value(self, score_class: int, chance: float) -> float:
        """Return the share of scores that are at least as great, this one with them; from now on it is counted.

        Args:
            score_class: class of the score; higher = stranger.
            chance: uniform in [0, 1): places the score among equal ones.
        """
        self.seen[score_class] += 1
        both = self.held + self.seen
        greater, equal = int(both[score_class + 1 :].sum()), int(both[score_class])
        return (greater + (1.0 - chance) * equal) / int(both.sum())

    def to_dict(self) -> dict[str, int]:
        """Return the stream's counts as plain data, by class."""
        return {str(name): int(self.seen[name]) for name in np.flatnonzero(self.seen)}

    @classmethod
    def restored(cls, held: np.ndarray, data: Mapping[str, int]) -> Self:
        """Restore what `to_dict` returned, beside the same held-out images.

        Raises:
            ValueError, IndexError: it is not such a record.
        """
        ranks = cls.beside(held)
        for name, n in data.items():
            ranks.seen[int(name)] = int(n)
        return ranks
