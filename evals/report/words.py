"""The sentences and figures of the report, from `metrics.json` (its form: figures.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consilience.core.prediction import failure_words
from consilience.core.render.phrases import counted, percent, source_name
from consilience.evals.scores import accuracy_interval
from consilience.orchestrator.decision.settling import worth_words
from consilience.orchestrator.in_use.worth import Worth
from consilience.orchestrator.shift.shift_words import batch_sentence
from consilience.orchestrator.shift.two_sample import BatchShift

Metrics = Mapping[str, Any]

NOTHING = "–"
"""Stands for a figure that is not defined."""


def share(value: float | None) -> str:
    """Return a share, [0, 1], as a percentage.

    >>> share(0.5), share(None)
    ('50.0 %', '–')
    """
    return NOTHING if value is None else percent(value)


def decimals(value: float | None, digits: int) -> str:
    """Return a number with so many digits after the point.

    >>> decimals(0.12345, 3), decimals(None, 3)
    ('0.123', '–')
    """
    return NOTHING if value is None else f"{value:.{digits}f}"


def interval(figures: Metrics) -> str:
    """Return a 95 % interval: '91.2 to 94.8 %'."""
    return f"{100 * figures['low']:.1f} to {100 * figures['high']:.1f} %"


def points(columns: Mapping[str, Sequence[float]], *names: str) -> list[tuple[float, ...]]:
    """Return the named columns of a curve, or of bins, as its points."""
    return list(zip(*(columns[name] for name in names), strict=True))


def title(run: Mapping[str, Any], panel: str) -> str:
    """Return the title of the page: the panel, and the images that it was evaluated on."""
    return f"{panel} on {source_name(str(run['source']['path']))}"


def described(run: Mapping[str, Any], metrics: Metrics) -> Iterator[tuple[str, str]]:
    """Yield what the run was: names and values for the foot of the page."""
    yield "Images", str(run["source"]["path"])
    yield "Panel", str(run["panel"]["id"])
    if trust := trust_sentence(run):
        yield "Trust", trust
    for name, value in run["choice"].items():
        if value:
            yield name.replace("_", " "), str(value)
    yield "Written by", str(metrics["written_by"])


def trust_sentence(run: Mapping[str, Any]) -> str:
    """Return that the panel's trust was not measured; empty if it was."""
    if run["panel"].get("trust_from") != "agreement":
        return ""
    return (
        "The panel weighs its agents by how far they agreed where no truth was known. The figures here are measured on "
        "the truth of these images."
    )


def looks(metrics: Metrics) -> list[Metrics]:
    """Return the figures of the fusion, unless it was not judged, and of each agent's look."""
    return [figures for figures in (metrics["fusion"], *metrics["agents"]) if figures is not None]


def judged(metrics: Metrics) -> Metrics | None:
    """Return the figures of the fusion; where it was not judged, of the best agent; None if no image was decided."""
    candidates = (
        figures for figures in looks(metrics) if figures["agent"] is None or figures["who"] == metrics["best_agent"]
    )
    return next((figures for figures in candidates if figures["n"]), None)


def answer(metrics: Metrics) -> Iterator[str]:
    """Yield a few sentences: can the panel be trusted, and where not."""
    settled, figures = metrics["settled"], judged(metrics)
    if shift := shift_sentence(metrics):
        yield shift
    if figures is None:
        yield "No image could be decided."
    elif settled is None:
        yield (
            f"Only the agents were evaluated, not their fusion. The best one, {figures['who']}, is right on "
            f"{percent(figures['accuracy'])} of the images."
        )
    elif not settled["n"]:
        yield "The panel refers every image to a person."
    else:
        yield (
            f"The panel settles {percent(settled['share'])} of the images without a person. Of those, "
            f"{percent(settled['accuracy'])} match the folder's label (95 % interval {interval(settled)})."
        )
    if figures is not None and (sentence := _weakest_label(figures)):
        yield sentence
    yield from (f"{sentence}." for sentence in unanswered(metrics))
    if metrics["errors"]:
        yield f"{metrics['errors']:,} of {counted(metrics['images'])} could not be decided; no figure counts them."
    if leaks := metrics["leaks"] - metrics["left_out"]:
        yield (
            f"The panel has learned from {counted(leaks)} of these, or from others of the same group: the figures look "
            "better than they are. Leave such images out with --drop-leaks."
        )


def unanswered(metrics: Metrics) -> Iterator[str]:
    """Yield which looks did not answer, a sentence each, with the cause."""
    for figures in metrics["agents"]:
        if figures["errors"]:
            asked = figures["n"] + figures["abstained"] + figures["errors"]
            cause = str(figures.get("cause") or "not known").rstrip(".")
            yield failure_words(figures["who"], figures["errors"], asked, cause)


def shift_sentence(metrics: Metrics) -> str:
    """Return whether the images differ from the labelled ones, and in what; empty if they were not compared."""
    if (shift := metrics.get("shift")) is None:
        return ""
    names = ("images", "counted", "held", "p", "mean_rank", "alarm")
    told = ", ".join(difference["words"] for difference in shift["differences"])
    in_what = f" They are: {told}." if told else ""
    return batch_sentence(BatchShift(**{name: shift[name] for name in names})) + in_what


def difference_rows(metrics: Metrics) -> Iterator[tuple[str, str, str, str]]:
    """Yield what differs between the images and the labelled ones: name, words, the median of each."""
    for difference in (metrics.get("shift") or {}).get("differences", ()):
        new, labelled = (
            value if isinstance(value := difference[name], str) else f"{value:.3g}" for name in ("new", "labelled")
        )
        yield difference["what"], difference["words"], new, labelled


def _weakest_label(figures: Metrics) -> str | None:
    """By the upper end of the interval of its recall: one image of a label proves little."""
    labels = {label: recognised for label, recognised in figures["labels"].items() if recognised["n"]}
    if not labels:
        return None

    def highest_recall(label: str) -> float:
        return accuracy_interval(figures["confusion"][label][label], labels[label]["n"])[1]

    weakest = min(labels, key=highest_recall)
    named = figures["confusion"][weakest]
    usual = max((label for label in named if label != weakest), key=named.__getitem__)
    mistakes = f"; most of the others are taken for {usual}" if named[usual] else ""
    return (
        f"The weakest label is {weakest}: {percent(labels[weakest]['recall'])} of {counted(labels[weakest]['n'])} are "
        f"recognised{mistakes}."
    )


def in_use(metrics: Metrics) -> Iterator[str]:
    """Yield what a word is worth where the panel is used, and what its decisions cost."""
    worths = {label: Worth(**worth) for label, worth in (metrics.get("worth") or {}).items()}
    yield from (f"{sentence}." for sentence in worth_words([*worths], [*worths.values()]))
    if (costs := metrics.get("costs")) is not None:
        yield cost_words(costs)


def cost_words(costs: Metrics) -> str:
    """Return what an image costs on average, beside what it would otherwise."""
    return (
        f"An image costs {costs['cost']:.3g} on average, a person asked where the panel refers; "
        f"{costs['always']:.3g} if a person is always asked, {costs['never']:.3g} if never, "
        f"{costs['most_probable']:.3g} if the most probable label is always taken."
    )


def known_and_novel(metrics: Metrics) -> Iterator[str]:
    """Yield how well novelty tells images of no known label; nothing without such images."""
    if (novelty := metrics.get("novelty")) is not None:
        score = novelty["score"]
        by_sign = ", ".join(f"{name} {detection['auroc']:.3f}" for name, detection in novelty["signs"].items())
        yield (
            f"{percent(novelty['novel_called'])} of {counted(novelty['novel'])} of no known label are called novel, "
            f"and {percent(novelty['known_called'])} of the known ones. Area under the ROC curve, where 1 is perfect "
            f"and 0.5 is chance: {score['auroc']:.3f} (by sign: {by_sign}). To find 95 % of the novel images, "
            f"{percent(score['fpr_at_95'])} of the known ones would be called novel, too."
        )


def tiles(metrics: Metrics) -> Iterator[tuple[str, str, str]]:
    """Yield the headline figures: name, value, and what it means."""
    figures, settled = judged(metrics), metrics["settled"]
    if figures is not None:
        yield "Accuracy", share(figures["accuracy"]), interval(figures)
    if settled is not None:
        yield "Settled without a person", share(settled["share"]), counted(settled["n"])
        yield "Accuracy among settled", share(settled["accuracy"]), interval(settled)
    if (sets := metrics.get("prediction_sets")) is not None and sets["n"]:
        yield (
            "Sets with the right label",
            share(sets["coverage"]),
            f"{decimals(sets['mean_size'], 2)} labels in a set on average",
        )
    if figures is not None:
        yield "Calibration error (ECE)", decimals(figures["ece"], 3), "0: as often right as it is sure"
    rate, per_image = metrics["images_per_second"], metrics["cost_usd_per_image"]
    yield "Images", f"{metrics['images']:,}", f"{metrics['errors']:,} could not be decided"
    yield "Cost", f"{metrics['cost_usd']:,.2f} USD", f"{per_image:.4f} USD an image" if per_image else ""
    if rate is not None:
        yield "Images a second", f"{rate:,.1f}", f"{metrics['seconds']:,.0f} s in all"


def comparison(metrics: Metrics) -> Iterator[str]:
    """Yield how much better the fusion is than the best agent, and what second looks changed."""
    if (paired := metrics["difference"]) is not None:
        yield (
            f"Accuracy of the fusion minus that of {metrics['best_agent']}, the best agent: "
            f"{100 * paired['difference']:+.1f} percentage points (95 % interval {100 * paired['low']:+.1f} to "
            f"{100 * paired['high']:+.1f}; McNemar's exact test: p = {paired['p_value']:.2g})."
        )
    again = metrics["second_looks"]
    changes = [*again["agents"].items(), ("the fusion", again["fusion"] if metrics["fusion"] else None)]
    for who, change in changes:
        if change is not None:
            yield (
                f"Second look, {who}: {change['changed']:,} of {counted(change['n'], 'answer')} changed, "
                f"{change['better']:,} from wrong to right, {change['worse']:,} from right to wrong."
            )


def risk(figures: Metrics) -> str:
    """Return three points of a risk-coverage curve in words: at 50, 80 and 100 % of the images."""
    curve = points(figures["risk_coverage"], "coverage", "risk")
    nearest = dict.fromkeys(min(curve, key=lambda point: abs(point[0] - wanted)) for wanted in (0.5, 0.8, 1.0))
    return f"{figures['who']}: " + "; ".join(
        f"of the surest {percent(coverage)}, {percent(wrong)} are wrong" for coverage, wrong in nearest
    )


def mistakes(figures: Metrics, most: int = 6) -> list[tuple[str, str, int, int]]:
    """Return the most frequent mistakes: true label, named label, how often, and images of the true label."""
    pairs = [
        (truth, label, n, sum(row.values()))
        for truth, row in figures["confusion"].items()
        for label, n in row.items()
        if n and label != truth
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:most]


def strength(n: int, row: Mapping[str, int]) -> int:
    """Return a cell's share of its row in the confusion matrix, 0 to 5, for the colour behind it."""
    return max(1, round(5 * n / sum(row.values()))) if n else 0
