"""Put an agent of your own on a panel: here one that knows the labels by their colours.

    python examples/own_agent.py photos/ panel/ new.jpg healthy=green rust=orange scab=saddlebrown

Any class with `name`, `can_revise`, `predict` and `revise` is an agent (`consilience.agents.Agent`). `fit` calibrates
its answers on the labelled images and weighs it by how it did there, so it must not have learned from them itself.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.ImageColor

from consilience import Diagnoser, Evidence, Image, Prediction, fit
from consilience.agents import AgentInput


class NearestColour:
    """Gives each label the share of the image's pixels that are near to its colour."""

    name = "nearest-colour"
    can_revise = False  # similar cases would tell it nothing new

    def __init__(self, colours: Mapping[str, str]) -> None:
        self.colours = {label: PIL.ImageColor.getrgb(colour)[:3] for label, colour in colours.items()}

    def predict(self, inputs: AgentInput) -> list[Prediction]:
        """One prediction an image. If it raises, the error is noted, and the other agents decide."""
        return [self._predict(image, inputs.task.names) for image in inputs.images]

    def _predict(self, image: Image | None, labels: Sequence[str]) -> Prediction:
        if image is None:  # a panel of vectors has no pixels
            return Prediction(self.name, abstained=True)
        pixels = np.asarray(image.scaled(64), dtype=float)
        near = [(np.linalg.norm(pixels - self.colours[label], axis=2) < 100).sum() + 1.0 for label in labels]
        return Prediction(self.name, probabilities=dict(zip(labels, near / np.sum(near), strict=True)))

    def revise(self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]) -> list[Prediction]:
        raise NotImplementedError("never asked for: can_revise is False")


def main(photos: str, folder: str, image: str, *colours: str) -> None:
    mine = NearestColour(dict(colour.split("=") for colour in colours))
    # Two heads on the encoder's features beside it. A panel can't hold code: give the agent again where it is opened.
    report = fit(photos, folder, agents=["probe", "neighbours", mine])
    for member in report.panel.members:
        print(f"{member.agent}: accuracy {member.trust.accuracy:.3f}, n = {member.trust.n}")
    with Diagnoser.open(folder, agents=[mine]) as diagnoser:
        diagnosis = diagnoser.diagnose(image)
    for prediction in diagnosis.predictions:
        print(f"{prediction.agent} says {prediction.label}, weight {prediction.weight:.2f}")
    print(f"{diagnosis.label}, {diagnosis.probability:.3f}, {diagnosis.verdict}")


if __name__ == "__main__":
    main(*sys.argv[1:])
