"""The colours and signs of verdicts and labels."""

from __future__ import annotations

from consilience.core.diagnosis_record import DiagnosisRecord

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Colours that colour-blind people can tell apart (Okabe and Ito 2008), in the order in which labels take them."""

OTHER = "#9A9A9A"
"""The colour of labels for which no other is left."""

VERDICT_COLOURS = {"confident": "#00568A", "refer": "#B84A00"}
"""Blue and orange: told apart by everybody; the verdict is always written beside them."""

VERDICT_SIGNS = {"confident": "✔", "refer": "⚑"}


def label_colours(diagnosis: DiagnosisRecord) -> dict[str, str]:
    """Return a colour for each label: by the task's order if the palette suffices, else for the most probable ones."""
    labels = list(diagnosis.posterior)
    if len(labels) > len(PALETTE):
        labels.sort(key=lambda label: -diagnosis.posterior[label])
    colours = dict.fromkeys(diagnosis.posterior, OTHER)
    return colours | dict(zip(labels, PALETTE, strict=False))
