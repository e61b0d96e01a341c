"""How agents are expected to err before any of their answers are seen: which of them are one source, and how good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consilience.agents import kind_of_head
from consilience.agents.heads.on_eye import AT
from consilience.orchestrator.ensemble.error_covariance import PRIOR_IMAGES, ErrorPrior

SAME_FEATURES = 0.8
"""Correlation of the errors of two heads on the same features, expected a priori (0.7 to 0.9 is usual)."""

HEAD_IMAGES = 64
"""How many labelled images the prior of how a head errs counts for, at least. It counts for as many as there are, if
those are more: of heads that err together it can hardly be seen which is the better one, and weights that follow the
estimate alone go from one end to the other (Ledoit and Wolf 2004 shrink covariances for the same reason)."""


def error_prior_of(agents: Sequence[str], images: int) -> ErrorPrior:
    """Return how these agents are expected to err before any of their answers are seen.

    Heads that read one eye are one source: they err together, and how well each kind of head does is known from
    elsewhere. The looks of another agent are a source of their own, as good as the best head.

    Args:
        agents: name of each look's agent.
        images: how many labelled images the estimate will come from.
    """
    kinds = [kind_of_head(agent) for agent in agents]
    names = [
        f"agent {agent}" if kind is None else f"eye {agent.partition(AT)[2]}"
        for agent, kind in zip(agents, kinds, strict=True)
    ]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    sources = np.array([numbers[name] for name in names])
    spread = np.sqrt([1.0 if kind is None else kind.usual_error for kind in kinds])
    are_heads = np.array([kind is not None for kind in kinds])
    together = SAME_FEATURES * (are_heads & (sources == sources[:, None]))
    np.fill_diagonal(together, 1.0)
    pseudo_counts = np.array([PRIOR_IMAGES if kind is None else max(HEAD_IMAGES, images) for kind in kinds])
    return ErrorPrior(together * np.outer(spread, spread), pseudo_counts, sources)
