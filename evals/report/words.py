"""What `metrics.json` says, in words and in the form in which the page draws it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from consilience.evals.scores import FUSION
from consilience.prediction import look_name
from consilience.rendering import percent, source_name

Metrics = Mapping[str, Any]

NOTHING = "–"
"""Stands for a figure that is not defined."""


def share(value: float | None) -> str:
    """A share as a percentage.

    >>> share(0.5), share(None)
    ('50.0 %', '–')
    """
    return NOTHING if value is None else percent(value)


def decimals(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def between(interval: Metrics) -> str:
    """A 95 % interval of a share: '91.2 to 94.8 %'."""
    return f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f} %"


def title(run: Mapping[str, Any]) -> str:
    return f"{source_name(str(run.get('panel', 'panel')))} on {source_name(str(run.get('source', 'images')))}"


def described(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the run says of itself: its plain values."""
    return [(name, str(value)) for name, value in run.items() if isinstance(value, str | int | float)]


def looks(metrics: Metrics) -> Iterator[dict[str, Any]]:
    """The fusion, then each agent's look."""
    yield {**metrics["fusion"], "who": FUSION, "fusion": True, "raw": None}
    for one in metrics["agents"]:
        yield {**one, "who": look_name(one["agent"], one["stage"]), "fusion": False}


def answer(metrics: Metrics) -> Iterator[str]:
    """Can it be trusted, and where not: a few sentences."""
    settled, right = metrics["settled"], metrics["settled_accuracy"]
    if not settled["value"]:
        yield "It settled no image: every one is referred to a person."
    else:
        yield (
            f"It settled {percent(settled['value'])} of the images without a person, and {percent(right['value'])} "
            f"of those agree with the folder (95 % interval {between(right)})."
        )
    if weakest := [one for one in metrics["fusion"]["per_label"] if one["recall"] is not None and one["n"]]:
        worst = min(weakest, key=lambda one: one["recall"])
        yield f"It is weakest on {worst['label']}: it finds {percent(worst['recall'])} of the {worst['n']:,} images."
    if metrics["errors"]:
        yield f"{metrics['errors']:,} of {metrics['n']:,} images could not be decided; no figure counts them."


def tiles(metrics: Metrics) -> Iterator[dict[str, str]]:
    fusion, seconds, n = metrics["fusion"], metrics["seconds"], metrics["n"]

    def tile(name: str, value: str, words: str) -> dict[str, str]:
        return {"name": name, "value": value, "words": words}

    yield tile("Accuracy", share(fusion["accuracy"]["value"]), between(fusion["accuracy"]))
    yield tile("Settled without a person", share(metrics["settled"]["value"]), between(metrics["settled"]))
    right = metrics["settled_accuracy"]
    yield tile("Accuracy among settled", share(right["value"]), between(right) if right["value"] is not None else "")
    yield tile("Calibration error (ECE)", decimals(fusion["ece"], 3), "0 is perfect")
    yield tile("Images", f"{n:,}", f"{metrics['errors']:,} could not be decided")
    rate = f"{n / seconds:,.0f} images a second" if seconds else ""
    yield tile("Cost", f"{metrics['cost_usd']:.2f} USD", rate)


def comparison(metrics: Metrics) -> str:
    """How much better the fusion is than the best agent."""
    best = metrics.get("best")
    if not best:
        return ""
    low, high = 100 * best["low"], 100 * best["high"]
    return (
        f"Fusion less {best['who']}, the best agent: {100 * best['difference']:+.1f} points "
        f"({low:+.1f} to {high:+.1f}; McNemar's exact test p = {best['p_value']:.2g})."
    )


def risk(metrics: Metrics) -> str:
    """The fusion's risk-coverage curve at three places."""
    curve = metrics["fusion"]["risk_coverage"]
    if not curve:
        return "No image was decided."
    places = [min(curve, key=lambda point: abs(point[0] - wanted)) for wanted in (0.5, 0.8, 1.0)]
    return "Fusion: " + "; ".join(f"of the surest {percent(c)}, {percent(r)} are wrong" for c, r in places) + "."


def mistakes(metrics: Metrics, most: int = 6) -> list[dict[str, Any]]:
    """The most frequent mistakes, by places of labels; `share` is of the images of the true label."""
    counts = metrics["fusion"]["confusion"]
    found = [
        {"truth": i, "label": j, "n": n, "share": n / sum(row)}
        for i, row in enumerate(counts)
        for j, n in enumerate(row)
        if n and i != j
    ]
    return sorted(found, key=lambda one: -one["n"])[:most]


def shaded(metrics: Metrics) -> list[list[dict[str, int]]]:
    """The confusion matrix; `strength` 0 to 5 is the cell's share of its row, for the colour behind it."""

    def strength(n: int, row: list[int]) -> int:
        return max(1, round(5 * n / sum(row))) if n else 0

    return [[{"n": n, "strength": strength(n, row)} for n in row] for row in metrics["fusion"]["confusion"]]
