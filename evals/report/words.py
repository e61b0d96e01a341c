"""What `metrics.json` says (its form: figures.py), in words and as the page draws it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consilience.core.render.rendering import percent, source_name
from consilience.evals.scores import accuracy_interval

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


def counted(n: int, what: str = "image") -> str:
    """
    >>> counted(1), counted(2000)
    ('1 image', '2,000 images')
    """
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def interval(figures: Metrics) -> str:
    """A 95 % interval: '91.2 to 94.8 %'."""
    return f"{100 * figures['low']:.1f} to {100 * figures['high']:.1f} %"


def points(columns: Mapping[str, Sequence[float]], *names: str) -> list[tuple[float, ...]]:
    """Columns of a curve, or of bins, as its points."""
    return list(zip(*(columns[name] for name in names), strict=True))


def title(run: Mapping[str, Any], panel: str) -> str:
    return f"{panel} on {source_name(str(run['source']['path']))}"


def described(run: Mapping[str, Any], metrics: Metrics) -> Iterator[tuple[str, str]]:
    """What the run was, in short."""
    yield "Images", str(run["source"]["path"])
    yield "Panel", str(run["panel"]["id"])
    for name, value in run["choice"].items():
        if value:
            yield name.replace("_", " "), str(value)
    yield "Written by", str(metrics["written_by"])


def looks(metrics: Metrics) -> list[Metrics]:
    """Figures of the fusion, unless it was not judged, and of each agent's look."""
    return [one for one in (metrics["fusion"], *metrics["agents"]) if one is not None]


def judged(metrics: Metrics) -> Metrics | None:
    """Figures of the fusion; where it was not judged, of the best agent; None if no image was decided."""
    candidates = (one for one in looks(metrics) if one["agent"] is None or one["who"] == metrics["best_agent"])
    return next((one for one in candidates if one["n"]), None)


def answer(metrics: Metrics) -> Iterator[str]:
    """Can it be trusted, and where not: a few sentences."""
    settled, figures = metrics["settled"], judged(metrics)
    if figures is None:
        yield "No image was decided."
    elif settled is None:
        yield f"Only the agents were judged. The best, {figures['who']}, has {percent(figures['accuracy'])} right."
    elif not settled["n"]:
        yield "It settled no image: every one is referred to a person."
    else:
        yield (
            f"It settled {percent(settled['share'])} of the images without a person, and of those "
            f"{percent(settled['accuracy'])} agree with the folder (95 % interval {interval(settled)})."
        )
    if figures is not None and (found := {k: v for k, v in figures["labels"].items() if v["n"]}):
        # by the upper end of its recall's interval: one image of a label says little of it
        worst = min(
            found, key=lambda label: accuracy_interval(figures["confusion"][label][label], found[label]["n"])[1]
        )
        recall, taken = found[worst]["recall"], figures["confusion"][worst]
        usual = max((label for label in taken if label != worst), key=taken.__getitem__)
        for_what = f"; what it misses it mostly takes for {usual}" if taken[usual] else ""
        yield f"It is weakest on {worst}: it finds {percent(recall)} of {counted(found[worst]['n'])}{for_what}."
    if metrics["errors"]:
        yield f"{metrics['errors']:,} of {counted(metrics['images'])} could not be decided; no figure counts them."
    if leaks := metrics["leaks"] - metrics["left_out"]:
        yield f"{counted(leaks)} of them the panel has learned from: the figures flatter it."


def known_and_novel(metrics: Metrics) -> Iterator[str]:
    """How well novelty tells images of no known label; nothing without such."""
    if (found := metrics.get("novelty")) is not None:
        score, by_sign = found["score"], ", ".join(f"{name} {one['auroc']:.3f}" for name, one in found["signs"].items())
        yield (
            f"Of {counted(found['novel'])} of no known label it calls {percent(found['novel_called'])} novel, of the "
            f"known ones {percent(found['known_called'])}. Novelty has an AUROC of {score['auroc']:.3f} (by sign: "
            f"{by_sign}), and a false positive rate of {percent(score['fpr_at_95'])} where 95 % of them are found."
        )


def tiles(metrics: Metrics) -> Iterator[tuple[str, str, str]]:
    """Headline figures: name, value, and what else there is to say of it."""
    figures, settled = judged(metrics), metrics["settled"]
    if figures is not None:
        yield "Accuracy", share(figures["accuracy"]), interval(figures)
    if settled is not None:
        yield "Settled without a person", share(settled["share"]), counted(settled["n"])
        yield "Accuracy among settled", share(settled["accuracy"]), interval(settled)
    if (sets := metrics.get("prediction_sets")) is not None and sets["n"]:
        yield "Sets that hold the label", share(sets["coverage"]), f"{decimals(sets['mean_size'], 2)} labels on average"
    if figures is not None:
        yield "Calibration error (ECE)", decimals(figures["ece"], 3), "0 is perfect"
    rate, per_image = metrics["images_per_second"], metrics["cost_usd_per_image"]
    yield "Images", f"{metrics['images']:,}", f"{metrics['errors']:,} could not be decided"
    yield "Cost", f"{metrics['cost_usd']:,.2f} USD", f"{per_image:.4f} USD an image" if per_image else ""
    if rate is not None:
        yield "Images a second", f"{rate:,.1f}", f"{metrics['seconds']:,.0f} s in all"


def comparison(metrics: Metrics) -> Iterator[str]:
    """How much better the fusion is than the best agent, and what second looks changed."""
    if (found := metrics["difference"]) is not None:
        yield (
            f"Fusion less {metrics['best_agent']}, the best agent: {100 * found['difference']:+.1f} points "
            f"({100 * found['low']:+.1f} to {100 * found['high']:+.1f}; McNemar's exact test: p = "
            f"{found['p_value']:.2g})."
        )
    again = metrics["second_looks"]
    changes = [*again["agents"].items(), ("the fusion", again["fusion"] if metrics["fusion"] else None)]
    for who, change in changes:
        if change is not None:
            yield (
                f"Second looks at {counted(change['n'])} changed {change['changed']:,} answers of {who}: "
                f"{change['better']:,} for the better, {change['worse']:,} for the worse."
            )


def risk(figures: Metrics) -> str:
    """A risk-coverage curve at three places."""
    curve = points(figures["risk_coverage"], "coverage", "risk")
    places = dict.fromkeys(min(curve, key=lambda point: abs(point[0] - wanted)) for wanted in (0.5, 0.8, 1.0))
    return f"{figures['who']}: " + "; ".join(f"of the surest {percent(c)}, {percent(r)} are wrong" for c, r in places)


def mistakes(figures: Metrics, most: int = 6) -> list[tuple[str, str, int, int]]:
    """The most frequent mistakes: true label, named label, how often, and images of the true label."""
    found = [
        (truth, label, n, sum(row.values()))
        for truth, row in figures["confusion"].items()
        for label, n in row.items()
        if n and label != truth
    ]
    return sorted(found, key=lambda one: -one[2])[:most]


def strength(n: int, row: Mapping[str, int]) -> int:
    """A cell's share of its row in the confusion matrix, 0 to 5, for the colour behind it."""
    return max(1, round(5 * n / sum(row.values()))) if n else 0
