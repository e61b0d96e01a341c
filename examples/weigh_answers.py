"""Weigh what three agents answered: write a table of answers, fit a panel on it, and diagnose other images by it.

    python examples/weigh_answers.py folder/

No image is needed, and no model. Here the answers are drawn: Ann knows 7 of 10 images and guesses the others, Bob knows
5; a network gives probabilities. In your table they are what people, models or checkpoints said.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

import consilience

LABELS = ("healthy", "rust", "scab")
COLUMNS = ("image", "agent", "truth", "label", *(f"p_{label}" for label in LABELS))


def write_answers(path: Path, images: int, seed: int) -> Path:
    """Write a row an image and agent; the truth is known of each."""
    draw = random.Random(seed)  # noqa: S311  nothing is secret
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for number in range(images):
            row = {"image": f"{path.stem}-{number}.jpg", "truth": draw.choice(LABELS)}
            for agent, skill in (("Ann", 0.7), ("Bob", 0.5)):
                label = row["truth"] if draw.random() < skill else draw.choice(LABELS)
                table.writerow({**row, "agent": agent, "label": label})
            shares = [draw.random() + 0.5 * (label == row["truth"]) for label in LABELS]
            named = {f"p_{label}": share / sum(shares) for label, share in zip(LABELS, shares, strict=True)}
            table.writerow({**row, "agent": "network", **named})
    return path


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    report = consilience.fit_answers(write_answers(folder / "answers.csv", 200, seed=1), folder / "panel")
    for member in report.panel.members:
        print(f"{member.agent}: right on {member.trust.accuracy:.3f} of {member.trust.n} images")

    more = write_answers(folder / "more.csv", 200, seed=2)
    with consilience.Diagnoser.open(folder / "panel") as diagnoser:
        for diagnosis in list(diagnoser.diagnose_answers(more))[:3]:
            if isinstance(diagnosis, consilience.Diagnosis):
                print(f"{diagnosis.source}: {diagnosis.label}, {diagnosis.probability:.3f}, {diagnosis.verdict}")
    evaluation = consilience.evaluate(more, folder / "panel", folder / "evaluation")
    if evaluation.metrics.fusion is not None:
        print(f"together: right on {evaluation.metrics.fusion.accuracy:.3f} of {evaluation.metrics.n} other images")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
