"""What people are told of a shift, in plain words."""

from __future__ import annotations

from consilience.orchestrator.shift.two_sample import FEWEST_IMAGES, BatchShift

REASON = (
    "These images differ from the labelled ones, so the panel's figures do not hold for them: label about 20 of them "
    "('consilience suggest')"
)
"""Why nothing of a batch or a source is settled."""


def batch_sentence(shift: BatchShift) -> str:
    """Return whether a batch of images differs from the labelled ones, and what to do; empty if it was not compared."""
    if not shift.images:
        return ""
    if shift.p is None or shift.mean_rank is None:
        where = "to tell whether the images come from where the labelled ones come from"
        if shift.images < FEWEST_IMAGES or shift.counted < shift.held:
            return f"Too few images {where}: {shift.counted:,} of different things, and {FEWEST_IMAGES} are needed."
        return f"Too few labelled images {where}: {shift.held:,} of different things could be held out."
    figures = f"mean rank {shift.mean_rank:.2f}, where 0.50 is usual; {p_words(shift.p)}"
    if not shift.alarm:
        return f"Nothing shows that these images differ from the labelled ones ({figures})."
    return (
        f"These images differ from the labelled ones ({figures}): do not rely on the figures; label about 20 of them: "
        "consilience suggest FOLDER."
    )


def source_sentence(source: str) -> str:
    """Return that the images of a source differ from the labelled ones, and what to do."""
    return (
        f"The images from '{source}' differ from the labelled ones: do not rely on the figures; label about 20 of "
        "them: consilience suggest FOLDER."
    )


def p_words(p: float) -> str:
    """Return a p-value in words.

    >>> p_words(0.0423), p_words(1e-34)
    ('p = 0.042', 'p < 0.0001')
    """
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"
