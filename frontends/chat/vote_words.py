"""What is said to somebody who said what an image shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from consilience.core.render.phrases import one_line

if TYPE_CHECKING:
    from consilience.orchestrator.feedback.feedback import Feedback

UNSURE = "That you can't tell is an answer, too. Nothing was saved: the image still waits for somebody who can."

_STATUS = {
    "waiting": "Waiting for review, or for others who say the same, before the panel learns from it.",
    "counts": "The panel can learn from it.",
    "refused": "A reviewer rejected it.",
    "undone": "What the panel learned from it was taken back.",
}


def saved_words(vote: Feedback, others: Sequence[Feedback]) -> str:
    """Return what becomes of a vote; `others`: what other people say of the same diagnosis."""
    disputed = [one_line(other.label) for other in others if other.label != vote.label]
    if disputed:
        labels = " and ".join(dict.fromkeys(disputed))
        return f"Saved: {one_line(vote.label)}. Somebody else says {labels}: a reviewer must decide."
    return f"Saved: {one_line(vote.label)}. {_STATUS[vote.status]}"
