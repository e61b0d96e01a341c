"""Turn a labelled folder into a panel, and diagnose new images with it.

    pip install 'consilience[clip]'        # from a checkout: pip install '.[clip]'
    python examples/fit_and_diagnose.py photos/ panel/ new1.jpg new2.jpg

`photos/` has one subfolder a label, such as `photos/healthy/` and `photos/scab/`, with 20 images or more in each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import consilience


def main(photos: Path, folder: Path, *images: Path) -> None:
    # Embeds the images, fits the agents, and measures on images that each was not fitted on how far it can be trusted.
    report = consilience.fit(photos, folder)
    for warning in report.warnings:
        print("Note:", warning)
    for member in report.panel.members:
        print(f"{member.agent}: accuracy {member.trust.accuracy:.3f}, ECE {member.trust.ece:.3f}, n = {member.trust.n}")

    # A panel is opened once and answers for any number of images; those that cannot be read don't stop the others.
    with consilience.Diagnoser.open(folder) as diagnoser:
        for result in diagnoser.diagnose_many(images):
            if isinstance(result, consilience.FailedImage):
                print(f"\n{result.source}: {result.error}")
                continue
            print(f"\n{result.source}: {result.label}, {result.probability:.3f}, {result.verdict}")
            for reason in result.reasons:  # why a person must look; none if the verdict is "confident"
                print("  because", reason)
            for neighbour in result.evidence.neighbours[:3]:
                print(f"  similar: {neighbour.source} ({neighbour.label}, {neighbour.similarity:.2f})")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
