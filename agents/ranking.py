"""Answers that name several labels: a ranking, most likely first, or labels that are equally likely.

    rust | scab            rust, or else scab
    rust or scab           either, equally
    rust or scab | canker  either, or else canker

As probabilities a place gets half of what the place before it gets, and who was not named nothing. That is a form in
which the order can be written, and read again, not what the answer is worth: calibration finds that (`confusion`).
"""

from __future__ import annotations

import re

import numpy as np

from consilience.agents.vlm.label_answer import parse_label
from consilience.core.errors import AnswerError
from consilience.core.task import Task
from consilience.prompts import quoted

NEXT_PLACE = "|"
"""Stands between the places of a ranking."""

_EITHER = re.compile(r"\sor\s", re.IGNORECASE)

SAME = 1e-9
"""Shares that differ by less are the same: they were rounded."""

Places = tuple[tuple[str, ...], ...]
"""The labels that an answer names, most likely first; those of one place are equally likely. Empty: it names none."""


def read_places(text: str, task: Task) -> Places:
    """Return the labels that an answer names.

    Whatever is a label as a whole is that label. Empty places are passed over. Where all labels are named, the last
    place is left out: that it comes last was known.

    Raises:
        AnswerError: it names something else, a label twice, or a label beside 'unsure'.

    >>> read_places("rust or scab | canker", Task.from_labels(["canker", "healthy", "rust", "scab"]))
    (('rust', 'scab'), ('canker',))
    >>> read_places("rust | scab", Task.from_labels(["rust", "scab"]))
    (('rust',),)
    """
    try:
        label = parse_label(text, task)
        return () if label is None else ((label,),)
    except AnswerError:
        places = [_EITHER.split(place) for place in text.split(NEXT_PLACE) if place.strip()]
        words = sum(map(len, places))
        if NEXT_PLACE not in text and words < 2:
            raise
        if words > len(task.names):
            raise AnswerError(f"{quoted(text, 60)} names more labels than there are") from None
    read = [[parse_label(word.strip(), task) for word in place] for place in places]
    known = tuple(tuple(label for label in place if label is not None) for place in read)
    named = {label for place in known for label in place}
    if len(named) < words:
        raise AnswerError(f"{quoted(text, 60)} names a label twice, or is unsure and names one")
    return known[:-1] if len(named) == len(task.names) else known


def shares_of(places: Places) -> dict[str, float]:
    """Return what each named label gets: half of what those of the place before get; they sum to 1.

    >>> shares_of((("rust",), ("scab",)))
    {'rust': 0.6666666666666666, 'scab': 0.3333333333333333}
    """
    halved = {label: 0.5**place for place, labels in enumerate(places) for label in labels}
    total = sum(halved.values())
    return {label: share / total for label, share in halved.items()}


def ranked(probabilities: np.ndarray) -> np.ndarray:
    """Return which rows of (n, c) are answers that name several labels, as `shares_of` writes them, bool (n,).

    >>> ranked(np.array([[2 / 3, 1 / 3, 0], [0.5, 0, 0.5], [1, 0, 0], [0.7, 0.3, 0], [0.4, 0.4, 0.2]])).tolist()
    [True, True, False, False, False]
    """
    named = probabilities > 0
    several = named.any(axis=1) & ~named.all(axis=1) & (named.sum(axis=1) > 1)
    if several.any():
        falling = -np.sort(-probabilities[several], axis=1)
        before, after = falling[:, :-1], falling[:, 1:]
        follows = (np.abs(after - before) < SAME) | (np.abs(2 * after - before) < SAME) | (after == 0)
        several[several] = follows.all(axis=1)
    return np.asarray(several)
