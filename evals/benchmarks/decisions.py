"""What decisions are worth where labels are rare, occur in other shares than among the labelled images, or cost.

    python -m consilience.evals.benchmarks.decisions rare            coverage with rare labels, drawn
    python -m consilience.evals.benchmarks.decisions rare DATA       of a panel's posteriors: a folder or an .npz
    python -m consilience.evals.benchmarks.decisions frequencies     a balanced folder, 5 % of one label in use
    python -m consilience.evals.benchmarks.decisions costs           one mistake 20 times as dear as the other

What is drawn: an image of label y has a standard normal vector, its coordinate y greater by SEPARATION, so that the
true posterior is known. `rare DATA` fits a panel on half of the images, and draws labelled and new images from the
other half, so that labels occur in the shares of a mix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import click
import numpy as np

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import ConsilienceError
from consilience.core.settings.settings import load_settings
from consilience.evals.benchmarks.coverage import all_records
from consilience.evals.benchmarks.protocols import fitted_on
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.decision.conformal import LabelSets
from consilience.orchestrator.ensemble.fusion import with_prior
from consilience.orchestrator.ensemble.trust_metrics import expected_calibration_error
from consilience.orchestrator.in_use.costs import Costs
from consilience.orchestrator.in_use.frequencies import estimate

SEPARATION = 1.8
"""Standard deviations between labels: the most probable of four is right in 86 % of the images."""

MIXES: Mapping[str, tuple[float, ...]] = {
    "balanced": (0.25, 0.25, 0.25, 0.25),
    "one of 3 %": (0.40, 0.30, 0.27, 0.03),
    "two of 3 %": (0.60, 0.34, 0.03, 0.03),
    "ten of 1 %": (0.50, 0.40, *[0.01] * 10),
    "ten of 5 %": (0.50, *[0.05] * 10),
}
"""Shares of labels, by what they are called."""

Images = tuple[np.ndarray, np.ndarray]
"""Posteriors (n, c) and true labels, int (n,)."""


def drawn(rng: np.random.Generator, n: int, mix: np.ndarray, separation: float = SEPARATION) -> Images:
    """Return images whose labels occur in the shares of a mix, float (c,), with their true posteriors."""
    labels = rng.choice(len(mix), n, p=mix)
    vectors = rng.normal(size=(n, len(mix)))
    vectors[np.arange(n), labels] += separation
    logits = separation * vectors + np.log(mix)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True), labels


def drawn_twice(mix: np.ndarray, n: int, seed: int) -> tuple[Images, Images]:
    """Return n labelled images and 2,000 new ones, drawn alike."""
    return drawn(np.random.default_rng([seed, 0]), n, mix), drawn(np.random.default_rng([seed, 1]), 2000, mix)


def pooled_fallback(posterior: np.ndarray, labels: np.ndarray, coverage: float) -> LabelSets:
    """Return what was done before: a label with too few images takes the threshold of all images together."""
    sets = CalibrationSet.of(posterior, labels).sets(coverage)
    of_truth = posterior[np.arange(len(labels)), labels]
    pooled = LabelSets.calibrated(of_truth, np.zeros(len(labels), np.intp), 1, coverage).least[0]
    own = [
        LabelSets.calibrated(of_truth[labels == label], np.zeros((labels == label).sum(), np.intp), 1, coverage).least[
            0
        ]
        for label in range(posterior.shape[1])
    ]
    return LabelSets(np.where(np.asarray(sets.is_promised), own, pooled), sets.groups, sets.is_promised)


def as_now(posterior: np.ndarray, labels: np.ndarray, coverage: float) -> LabelSets:
    """Return what is done now."""
    return CalibrationSet.of(posterior, labels).sets(coverage)


RULES: Mapping[str, Callable[[np.ndarray, np.ndarray, float], LabelSets]] = {
    "before (rare labels by all images)": pooled_fallback,
    "now (no label by more than all)": as_now,
}


def coverage_of(
    draw: Callable[[int], tuple[Images, Images]], draws: int, coverage: float, rule: str
) -> dict[str, float | None]:
    """Return the mean coverage of new images over draws of labelled and new ones.

    Returns:
        all: of all images; promised: of the label with the least, among those with a promise of their own; others: of
        the labels without, each counting one; size: labels in a set; settled: share of the images. None where there is
        no such label.
    """
    every, sizes, settled = list[float](), list[float](), list[float]()
    by_label = list[tuple[np.ndarray, np.ndarray]]()
    for number in range(draws):
        (known, truth), (posterior, labels) = draw(number)
        sets = RULES[rule](known, truth, coverage)
        left = sets.of(posterior)
        held = left[np.arange(len(labels)), labels]
        counts = np.bincount(labels, minlength=left.shape[1])
        with np.errstate(invalid="ignore"):
            by_label.append((np.bincount(labels, held, left.shape[1]) / counts, np.asarray(sets.is_promised)))
        every.append(float(held.mean()))
        sizes.append(float(left.sum(axis=1).mean()))
        settled.append(float(CalibrationSet.of(posterior, labels).settled_by(sets).mean()))
    shares, promised = (np.array(column) for column in zip(*by_label, strict=True))
    own = [shares[promised[:, label], label] for label in range(shares.shape[1])]
    own = [values[np.isfinite(values)] for values in own]
    others = shares[~promised & np.isfinite(shares)]
    return {
        "all": float(np.mean(every)),
        "promised": min((float(values.mean()) for values in own if len(values) > draws / 2), default=None),
        "others": float(others.mean()) if len(others) else None,
        "size": float(np.mean(sizes)),
        "settled": float(np.mean(settled)),
    }


def panel_posteriors(source: Path, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the posteriors (n, c) of a panel fitted on half of the images, for the other half, and their labels."""
    settings = load_settings(seed=seed)
    records = all_records(source, settings)
    names = sorted(set(records.labels))
    rng, places = np.random.default_rng(seed), np.array([names.index(label) for label in records.labels])
    fitted = np.concatenate([rng.permutation(rows)[: len(rows) // 2] for rows in _rows_of(places, len(names))])
    held = np.setdiff1d(np.arange(len(places)), fitted)
    with fitted_on(records, np.sort(fitted).tolist(), settings) as diagnoser:
        results = diagnoser.diagnose_vectors(records.vectors[held], [records.ids[row] for row in held])
        pairs = [(result, row) for result, row in zip(results, held, strict=True) if isinstance(result, Diagnosis)]
    posterior = np.array([[result.posterior[name] for name in names] for result, _ in pairs])
    return posterior, places[[row for _, row in pairs]]


def resampled(posterior: np.ndarray, labels: np.ndarray, mix: np.ndarray, seed: int) -> tuple[Images, Images]:
    """Return labelled and new images, two thirds and one, drawn so that labels occur in the shares of a mix."""
    rng, counts = np.random.default_rng(seed), np.bincount(labels, minlength=len(mix))
    total = int(np.min(counts / mix))
    rows = [
        rng.permutation(rows)[: max(round(total * share), 3)]
        for rows, share in zip(_rows_of(labels, len(mix)), mix, strict=False)
    ]
    taken = rng.permutation(np.concatenate(rows))
    ratio = mix / (counts / counts.sum())
    shifted = with_prior(ratio, posterior)
    known, new = taken[: 2 * len(taken) // 3], taken[2 * len(taken) // 3 :]
    return (shifted[known], labels[known]), (shifted[new], labels[new])


def _rows_of(labels: np.ndarray, n_labels: int) -> list[np.ndarray]:
    return [np.flatnonzero(labels == label) for label in range(n_labels)]


@click.group()
def main() -> None:
    """Measure decisions where labels are rare, occur in other shares, or mistakes cost."""


@main.command()
@click.argument("source", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--images", type=click.IntRange(min=20), default=1000, show_default=True, help="Labelled images drawn.")
@click.option("--draws", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--coverage", type=click.FloatRange(0, 1, max_open=True), default=0.95, show_default=True)
def rare(source: Path | None, images: int, draws: int, coverage: float) -> None:
    """Coverage of labels that few images show."""
    cases: dict[str, Callable[[int], tuple[Images, Images]]] = {}
    if source is None:
        for name, shares in MIXES.items():
            cases[name] = partial(drawn_twice, np.array(shares), images)
    else:
        try:
            posterior, labels = panel_posteriors(source, 0)
        except ConsilienceError as error:
            raise click.ClickException(str(error)) from error
        own = np.bincount(labels) / len(labels)
        for name, factors in {"as they are": (), "last rare": (0.1,), "last two rare": (0.1, 0.1)}.items():
            scaled = own * np.r_[np.ones(len(own) - len(factors)), factors]
            cases[name] = partial(resampled, posterior, labels, scaled / scaled.sum())
    for name, draw in cases.items():
        for rule in RULES:
            figures = coverage_of(draw, draws, coverage, rule)
            shown = {key: "–" if value is None else f"{value:.3f}" for key, value in figures.items()}
            click.echo(
                f"{name}: {rule}: coverage {shown['all']} of all images, {shown['promised']} of the worst label with a "
                f"promise, {shown['others']} of labels without; {shown['size']} labels in a set, "
                f"{shown['settled']} settled"
            )


@main.command()
@click.option("--draws", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--labels", "n_labels", type=click.IntRange(min=2), default=2, show_default=True)
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=0.05, show_default=True)
def frequencies(draws: int, n_labels: int, share: float) -> None:
    """Learn from a balanced folder of 1,000 images; in use the last label (defective) has another share."""
    balanced, mix = np.full(n_labels, 1 / n_labels), np.r_[np.full(n_labels - 1, (1 - share) / (n_labels - 1)), share]
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in ("none", "given", "estimated")}
    used = 0
    for number in range(draws):
        rng = np.random.default_rng(number)
        known = CalibrationSet.of(*drawn(rng, 1000, balanced))
        posterior, labels = drawn_like(rng, 20000, mix, balanced)
        guess = estimate([*map(str, range(n_labels))], posterior[:1000], known.posterior, known.labels, known.groups)
        used += guess.is_used
        for name, shares in {"none": None, "given": mix, "estimated": guess.shares if guess.is_used else None}.items():
            rows[name].append(_in_use(known.in_use(shares, None), posterior, labels))
    for name, values in rows.items():
        accuracy, ece, ece_of_last, claimed, defective, promised, coverage = np.nanmean(values, axis=0)
        click.echo(
            f"{name}: accuracy {accuracy:.3f}, ECE {ece:.4f} ({ece_of_last:.4f} of the probability of defective); of "
            f"those settled as defective {defective:.3f} are (claimed {promised:.3f}); of all settled {claimed:.3f} "
            f"are right; coverage {coverage:.3f}"
        )
    click.echo(f"the estimate was used in {used} of {draws} draws")


def drawn_like(rng: np.random.Generator, n: int, mix: np.ndarray, prior: np.ndarray) -> Images:
    """Return images in the shares of a mix, with the posteriors of who takes the prior for their shares, float (c,)."""
    posterior, labels = drawn(rng, n, mix)
    return with_prior(prior / mix, posterior), labels


def _in_use(known: CalibrationSet, posterior: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """Return accuracy, ECE, that of the last label's probability, and more.

    The accuracy of the settled, of those settled as the last label, what is claimed of these, and the coverage.
    """
    new = CalibrationSet.of(with_prior(known.ratio, posterior), labels)
    sets, last = known.sets(0.95), posterior.shape[1] - 1
    settled = new.settled_by(sets)
    held = sets.of(new.posterior)[np.arange(len(labels)), labels]
    as_last = settled & (new.named == last)
    claimed = known.worths(known.settled_by(sets))[last].right
    return (
        float(new.correct.mean()),
        expected_calibration_error(new.probability, new.correct),
        expected_calibration_error(new.posterior[:, last], labels == last),
        float(new.correct[settled].mean()) if settled.any() else np.nan,
        float(new.correct[as_last].mean()) if as_last.any() else np.nan,
        np.nan if claimed is None else claimed,
        float(held.mean()),
    )


@main.command()
@click.option("--draws", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--ratio", type=click.FloatRange(min=0), default=20.0, show_default=True)
@click.option("--person", type=click.FloatRange(min=0), default=0.5, show_default=True, help="What asking one costs.")
def costs(draws: int, ratio: float, person: float) -> None:
    """Two labels, 1,000 new images; to miss the second costs RATIO, to name it wrongly 1."""
    priced = Costs(np.array([[0.0, 1.0], [ratio, 0.0]]), person)
    rows = []
    for number in range(draws):
        posterior, labels = drawn(np.random.default_rng(number), 1000, np.array([0.5, 0.5]), 1.5)
        named, settled = priced.best(posterior), priced.is_settled(posterior)
        figures = priced.figures(labels, named, posterior.argmax(axis=1), settled)
        if figures is not None:
            rows.append((figures.most_probable, figures.never, figures.cost, figures.always, settled.mean()))
    most_probable, never, cost, always, share = np.mean(rows, axis=0)
    click.echo(
        f"1,000 images cost {1000 * most_probable:.0f} by the most probable label (before), {1000 * never:.0f} by the "
        f"label of least expected cost, {1000 * cost:.0f} if a person is asked where that is cheaper ({share:.2f} are "
        f"settled), {1000 * always:.0f} if always"
    )


if __name__ == "__main__":
    main()
