"""Words and figures of a diagnosis for people, each on one line, the same on every surface.

Labels, agent names, rationales, sources and errors are data that anybody may have written: `one_line` makes them safe
to show as text; Markdown and HTML escape them as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # they bring numpy and pydantic, which the help of a command does without
    from consilience.core.diagnosis_record import DiagnosisRecord
    from consilience.core.evidence import Evidence

PERHAPS_NONE = "Perhaps none of these"
"""The headline of a novel image: it may show none of the task's labels."""

_OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, but for ends of lines; and changes of the direction of what follows."""


def without_controls(text: str) -> str:
    """Return `text` without what a terminal would obey instead of showing it; ends of lines stay."""
    return text if text.isprintable() and text.isascii() else _OBEYED.sub("", text)


_SURROGATE = re.compile("[\ud800-\udfff]")


def one_line(text: str, limit: int = 500) -> str:
    """Return `text` on one line of at most `limit` characters, without control characters and changes of direction."""
    if len(text) <= limit and text.isascii() and text.isprintable() and "  " not in text and text == text.strip():
        return text  # as most are: it is asked of every word that a page shows
    clean = _SURROGATE.sub("\ufffd", without_controls(" ".join(text[: 4 * limit].split())))
    return clean if len(clean) <= limit else clean[: limit - 1].rstrip() + "…"


def percent(share: float) -> str:
    """Return a share, [0, 1], to a tenth of a percent; what is not quite 0 or 1 never looks as if it were.

    >>> percent(0.987), percent(0.99999), percent(1.0)
    ('98.7 %', 'over 99.9 %', '100 %')
    """
    if share <= 0.0 or share >= 1.0:
        return "0 %" if share <= 0.0 else "100 %"
    if share < 0.0005:
        return "under 0.1 %"
    return "over 99.9 %" if share >= 0.9995 else f"{100 * share:.1f} %"


def counted(n: int, what: str = "image") -> str:
    """Return a number with its noun.

    >>> counted(1), counted(2000), counted(2, "diagnosis")
    ('1 image', '2,000 images', '2 diagnoses')
    """
    nouns = f"{what.removesuffix('sis')}ses" if what.endswith("sis") else f"{what}s"
    return f"{n:,} {what if n == 1 else nouns}"


def alternatives(diagnosis: DiagnosisRecord) -> str:
    """Return the other labels of the prediction set, 'rust or canker'; empty if there are none, or none is claimed."""
    if claims_no_label(diagnosis):
        return ""
    others = [one_line(label) for label in diagnosis.prediction_set if label != diagnosis.label]
    if len(others) > 4:
        others[3:] = [f"{len(others) - 3} more"]
    return " or ".join(filter(None, [", ".join(others[:-1]), *others[-1:]]))


def claims_no_label(diagnosis: DiagnosisRecord) -> bool:
    """Return whether the headline names no label: the image cannot be judged, or is novel. The details name it."""
    return bool(diagnosis.unjudgeable) or diagnosis.is_novel


def claim(diagnosis: DiagnosisRecord) -> tuple[str, str]:
    """Return what a diagnosis says in a few words, and its probability; none where no label is claimed.

    ('rust', '98.7 %'), ('Perhaps none of these', '') or ('Too dark to judge', '').
    """
    if diagnosis.unjudgeable:
        return one_line(diagnosis.unjudgeable).partition(":")[0], ""
    if diagnosis.is_novel:
        return PERHAPS_NONE, ""
    return one_line(diagnosis.label), percent(diagnosis.probability)


def title(diagnosis: DiagnosisRecord) -> str:
    """Return what a diagnosis says, where the verdict stands beside it.

    'rust, 98.7 %', 'Most likely scab, 61.0 %', 'Perhaps none of these' or 'Too dark to judge: take it again in
    daylight'.
    """
    if diagnosis.unjudgeable:
        return one_line(diagnosis.unjudgeable)
    claimed = ", ".join(filter(None, claim(diagnosis)))
    return claimed if diagnosis.settled or diagnosis.is_novel else f"{likely(diagnosis)} {claimed}"


def likely(diagnosis: DiagnosisRecord) -> str:
    """Return why a label is named that is not settled: 'Most likely', or 'Least costly' where costs chose another."""
    is_top = diagnosis.probability >= max(diagnosis.posterior.values())
    return "Most likely" if is_top or diagnosis.expected_cost is None else "Least costly"


def headline(diagnosis: DiagnosisRecord) -> str:
    """Return the verdict in a line: every front end shows it, or `title` beside the verdict.

    'rust, 98.7 %, confident', 'refer to a person: most likely scab, 61.0 %; could also be rust', 'Perhaps none of
    these: refer to a person' or 'Too dark to judge: take it again in daylight'.
    """
    says = title(diagnosis)
    if diagnosis.settled:
        return f"{says}, confident"
    if diagnosis.unjudgeable:
        return says
    if diagnosis.is_novel:
        return f"{says}: refer to a person"
    others = alternatives(diagnosis)
    return f"refer to a person: {says[0].lower()}{says[1:]}" + (f"; could also be {others}" if others else "")


def ranked(distribution: Mapping[str, float], top: int) -> tuple[list[tuple[str, float]], list[float]]:
    """Return the labels of the highest probability, highest first, and the probabilities of the others.

    All if there are at most `top`, else `top` - 1, so that a line for the others fits as well.
    """
    pairs = sorted(distribution.items(), key=lambda pair: -pair[1])
    shown = len(pairs) if len(pairs) <= top else top - 1
    return pairs[:shown], [share for _, share in pairs[shown:]]


def reading_words(diagnosis: DiagnosisRecord) -> str:
    """Return how the image was read, where its file leaves that open, as a sentence; empty where it does not."""
    return f"How the image was read: {one_line(diagnosis.image_note, 500)}." if diagnosis.image_note else ""


def source_name(source: str) -> str:
    """Return the last part of a path or an address."""
    return one_line(source.replace("\\", "/").rstrip("/").rpartition("/")[2]) or "unnamed"


def novelty_words(evidence: Evidence, novelty: float | None, signs: Mapping[str, float | None] | None = None) -> str:
    """Return how unlike the images that the panel knows an image is; says so where no case was retrieved.

    Args:
        evidence: the retrieved cases.
        novelty: share of the known images that are less unusual, [0, 1]; None where only agents' answers are known.
        signs: the same by each sign of novelty, in `DiagnosisRecord.novelty_signs`.

    >>> from consilience.core.evidence import Evidence, Neighbour
    >>> novelty_words(Evidence((Neighbour("id", "rust", 0.9),), {"rust": 1.0}), 0.967)
    'Unlike the images it knows: more unusual than 96.7 % of them.'
    """
    if novelty is None:
        return "Only agents' answers are known of it: whether it is like the labelled images cannot be told."
    if not evidence.neighbours:
        return "No similar cases were found."
    degree = "Like" if novelty < 0.9 else "Unlike" if novelty < 0.99 else "Very unlike"
    by_sign = ", ".join(
        f"{one_line(name).replace('_', ' ')} {percent(share)}"
        for name, share in (signs or {}).items()
        if share is not None  # a table of rows has a place for every sign
    )
    return f"{degree} the images it knows: more unusual than {percent(novelty)} of them" + (
        f" (by {by_sign})." if by_sign else "."
    )


def origin(diagnosis: DiagnosisRecord) -> str:
    """Return which image it is, and what the diagnosis took: rounds, seconds and US dollars."""
    rounds = f"{diagnosis.rounds} round" + ("" if diagnosis.rounds == 1 else "s")
    cost = f", {diagnosis.cost_usd:.4f} USD" if diagnosis.cost_usd > 0 else ""
    return f"{source_name(diagnosis.source)}: {rounds}, {diagnosis.seconds:.3f} s{cost}"


def reasons_of(diagnosis: DiagnosisRecord) -> str:
    """Return why a person should look, without a full stop; empty if the diagnosis is settled."""
    return ". ".join(one_line(reason).rstrip(".") for reason in diagnosis.reasons)
