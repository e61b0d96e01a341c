"""When a diagnosis is settled by a panel whose trust is estimated from agreement: nothing is promised of it.

An image is settled if at least two agents answered, and all that their words are worth speaks for one label; or, with
`policy.agreed_posterior`, from that posterior on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.decision.policy import Doubts, Policy
from consilience.orchestrator.decision.threshold import Threshold
from consilience.orchestrator.ensemble.agreement import Agreement

TOO_LOW = "The agents agree no more than chance may have it, so that nothing shows what they are worth"
ALONE = "Only one agent answered: nobody agrees with it"


@dataclass(frozen=True)
class AgreementPolicy(Policy):
    """Settles what agents agree on.

    Attributes:
        is_too_low: whether they agree too little for anything to be settled.
    """

    is_too_low: bool = False

    @classmethod
    def of(cls, settings: PolicySettings, agreement: Agreement) -> Self:
        """Return the policy that the settings ask for."""
        least = settings.agreed_posterior or 0.0
        return cls(settings, Threshold(least, np.nan, np.nan), is_too_low=agreement.is_too_low)

    def doubts(
        self,
        posterior: np.ndarray,
        calibrated: np.ndarray,
        weights: np.ndarray,
        looks: Sequence[str],
        novelty: np.ndarray,
    ) -> Doubts:
        """Return what speaks against each of n diagnoses, as `Policy.doubts`; without a bound, any other label does."""
        doubts = super().doubts(posterior, calibrated, weights, looks, novelty)
        return doubts if self.settings.agreed_posterior else replace(doubts, is_split=doubts.against > 0)

    def reasons(
        self,
        posterior: np.ndarray,
        calibrated: np.ndarray,
        weights: np.ndarray,
        names: Sequence[str],
        looks: Sequence[str],
        novelty: Sequence[float],
    ) -> list[list[str]]:
        """Return why each of n images is not settled, as `Policy.reasons`."""
        by_image = super().reasons(posterior, calibrated, weights, names, looks, novelty)
        answers = np.isfinite(calibrated[:, :, 0]).sum(axis=0)
        more = [[*([TOO_LOW] if self.is_too_low else []), *([ALONE] if n < 2 else [])] for n in answers.tolist()]
        return [[*here, *reasons] for here, reasons in zip(more, by_image, strict=True)]
