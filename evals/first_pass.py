"""Frequencies of labels that are estimated from the images of an evaluation, before it decides any of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from consilience.agents import Agent
from consilience.core.errors import EvaluationError
from consilience.core.images import ImageSource
from consilience.core.settings.decision_settings import SUM_TOLERANCE
from consilience.core.settings.settings import Settings
from consilience.core.sources.stored import openable
from consilience.core.storage.json_text import parsed_json
from consilience.evals.run_log import write_json, written_to
from consilience.evals.source import Source
from consilience.orchestrator.frequency_pass import with_estimated_frequencies
from consilience.retrieval.encoders.encoder import Encoder

FREQUENCIES = "frequencies.json"


def with_frequencies(
    out: Path,
    panel: Path,
    source: Source,
    rows: np.ndarray,
    settings: Settings,
    agents: Sequence[Agent],
    encoder: Encoder | None,
) -> Settings:
    """Return the settings of the run: frequencies that are to be estimated are, once, from the images of these rows.

    Raises:
        EvaluationError: what an earlier run estimated cannot be read.
        and whatever `with_estimated_frequencies` raises.
    """
    if settings.decision.frequencies != "estimate":
        return settings
    path, chosen = out / FREQUENCIES, np.zeros(len(source), bool)
    if path.exists():
        decision = settings.decision.model_copy(update={"frequencies": _read(path)})
        return settings.model_copy(update={"decision": decision})
    chosen[rows] = True
    names, vectors = list[ImageSource](), list[np.ndarray]()
    for (name, _, known), is_chosen in zip(source.rows(), chosen.tolist(), strict=True):
        vector = known if isinstance(known, np.ndarray) else None
        if is_chosen and (vector is None or np.isfinite(vector[0])):
            names.append(openable(name))
            vectors += [] if vector is None else [vector]
    images = np.stack(vectors) if vectors else names
    settings, estimate = with_estimated_frequencies(panel, settings, images, agents=agents, encoder=encoder)
    if estimate is not None:
        with written_to(out):
            write_json(path, {"frequencies": settings.decision.frequencies, **estimate.to_dict()})
    return settings


def _read(path: Path) -> dict[str, float] | None:
    """Return what an earlier run estimated, to the last digit; None: labels are as frequent as the labelled images."""
    try:
        frequencies = parsed_json(path.read_bytes())["frequencies"]
        shares = None if frequencies is None else {label: float(share) for label, share in frequencies.items()}
        if shares is not None and not (abs(sum(shares.values()) - 1.0) <= SUM_TOLERANCE and min(shares.values()) >= 0):
            raise ValueError("the shares do not sum to 1")
        return shares
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as cause:
        raise EvaluationError(f"'{path}' was damaged ({cause!r}): evaluate again into another folder") from cause
