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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

ALARM_WEALTH = 100.0
"""Wealth at which an alarm is raised: the chance of ever reaching it by chance is 1 / 100."""

POWERS = (0.1, 0.3, 0.6)
"""Exponents k of the bets k p^(k - 1), which are densities on [0, 1]: the smaller, the more goes on the smallest p."""

SEPARATED = 0.9
"""Share of the last bet that goes on p-values which say: like the stream before, unlike every held-out image."""

FIRST_SHARE, USUAL_LENGTH = 0.5, 1000.0
"""Wealth whose bets begin with the first image; images by which a good part of the rest has begun."""

LEAST_P = 1e-12
"""Smaller p-values count as this, so that no bet is infinite: that lowers the wealth, if anything."""


@dataclass
class ShiftMartingale:
    """The wealth of somebody who bets that a stream has changed.

    Attributes:
        images: p-values that were bet on.
        log_wealth: of each bet that has begun, one for each of POWERS and the last; logarithms.
        log_peak: the greatest wealth so far, logarithm.
    """

    images: int = 0
    log_wealth: list[float] = field(default_factory=lambda: [-math.inf] * (len(POWERS) + 1))
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

    def bet(self, p_value: float, share: float) -> None:
        """Bet once more, and be told the p-value.

        Args:
            p_value: in [0, 1], uniform and independent of the earlier ones while nothing has changed.
            share: the stream's images, this one with them, among all that it was ranked among, in (0, 1].
        """
        p_value = min(max(p_value, LEAST_P), 1.0)
        begins = _not_begun(self.images) - _not_begun(self.images + 1)
        log_bets = [math.log(power) + (power - 1.0) * math.log(p_value) for power in POWERS]
        separated = (1.0 - SEPARATED) + (SEPARATED / share if p_value <= share else 0.0)
        for place, log_bet in enumerate([*log_bets, math.log(separated)]):
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
        held: how many held-out images are in each class, by cell, int (classes,).
        seen: the same of the stream, by cell and class.
    """

    held: Mapping[int, np.ndarray]
    seen: dict[int, dict[int, int]] = field(default_factory=dict)

    def p_value(self, score_class: int, cell: int, chance: float) -> tuple[float, float]:
        """Return the share of scores that are at least as great, and `share` for `ShiftMartingale.bet`; count it.

        Args:
            score_class: class of the score; higher = stranger.
            cell: scores are compared within their cell only (Mondrian: Vovk, Gammerman and Shafer 2005, section 4.5).
            chance: uniform in [0, 1): places the score among equal ones.
        """
        held, seen = self.held[cell], self.seen.setdefault(cell, {})
        greater = int(held[score_class + 1 :].sum()) + sum(n for other, n in seen.items() if other > score_class)
        equal = int(held[score_class]) + seen.get(score_class, 0) + 1
        stream = sum(seen.values()) + 1
        total = int(held.sum()) + stream
        seen[score_class] = seen.get(score_class, 0) + 1
        return (greater + (1.0 - chance) * equal) / total, stream / total

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Return the stream's counts as plain data, which `restore` takes."""
        return {str(cell): {str(name): n for name, n in counts.items()} for cell, counts in self.seen.items()}

    @classmethod
    def restore(cls, held: Mapping[int, np.ndarray], data: Mapping[str, Mapping[str, int]]) -> Self:
        """Restore what `to_dict` returned, beside the same held-out images."""
        seen = {int(cell): {int(name): int(n) for name, n in counts.items()} for cell, counts in data.items()}
        return cls(held, seen)


def chances_of(names: Sequence[str]) -> list[float]:
    """Return a number in [0, 1) for each name, the same for the same name: what draws ties, so that runs repeat."""
    import hashlib

    return [int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big") / 2**56 for name in names]
