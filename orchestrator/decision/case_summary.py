"""The record of a diagnosis as a reasoner reads it: figures, and the words of others as quoted data.

It holds no pixels and no names of files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consilience.core.diagnosis_record import Conclusion
from consilience.core.prediction import look_name
from consilience.core.render.phrases import percent, ranked
from consilience.core.trust import Trust
from consilience.prompts import Prompt, quoted

REASONER = "reasoner"
"""What a language model that reads records is called among the members; no agent may be called so."""

RATIONALE_CHARACTERS = 240
"""Characters of an agent's rationale, and of the reasons, that are read: four agents and ten similar images then take
about a thousand tokens."""

POSTERIOR_LABELS = 6
"""Labels of the posterior that are listed, at most."""


@dataclass(frozen=True)
class CaseSummary:
    """What a reasoner reads of one image.

    Attributes:
        image: its identity. Nobody reads it: replies are kept under it.
        conclusion: as `Weigher.conclude` returns it.
        evidence: as `Evidence.to_dict`.
        trusts: of every look that can be weighed.
        can_revise: the agents that can be asked once more.
    """

    image: str
    conclusion: Conclusion
    evidence: Mapping[str, Any]
    trusts: Sequence[Trust]
    can_revise: Sequence[str] = ()

    @property
    def label(self) -> str:
        """Return the label of the conclusion."""
        return self.conclusion.label

    def text(self, prompt: Prompt) -> str:
        """Return the record in the words of the prompt 'reasoner'; what others wrote stands in double quotes."""
        posterior, _ = ranked(self.conclusion.posterior, POSTERIOR_LABELS)
        reasons = "; ".join(self.conclusion.reasons)
        return prompt.render(
            "record",
            looks="\n".join(self._looks(prompt)),
            cases="\n".join(self._cases(prompt)) or prompt.render("no-cases"),
            novelty="an unknown share" if self.conclusion.novelty is None else percent(self.conclusion.novelty),
            posterior=", ".join(
                prompt.render("probable", label=quoted(label), share=percent(share)) for label, share in posterior
            ),
            state=prompt.render("unsettled" if reasons else "settled", reasons=quoted(reasons, RATIONALE_CHARACTERS)),
        )

    def _looks(self, prompt: Prompt) -> list[str]:
        predictions = self.conclusion.predictions
        total = sum(p.weight or 0.0 for p in predictions) or 1.0
        trusts = {(trust.agent, trust.stage): trust for trust in self.trusts}
        again = {p.agent for p in predictions if p.stage == "second" and p.calibrated is not None}
        lines = []
        for p in predictions:
            who = quoted(look_name(p.agent, p.stage))
            words = p.rationale and prompt.render("own-words", rationale=quoted(p.rationale, RATIONALE_CHARACTERS))
            if p.label is None:
                lines.append(prompt.render("failed" if p.error is not None else "abstained", who=who, words=words))
                continue
            if p.calibrated is not None:
                standing = prompt.render(
                    "weighed",
                    calibrated=percent(p.calibrated[p.label]),
                    weight=percent((p.weight or 0.0) / total),
                    earned=_earned(prompt, trusts[p.agent, p.stage]),
                )
            else:
                standing = prompt.render("replaced" if p.stage == "first" and p.agent in again else "uncounted")
            label, confidence = quoted(p.label), percent(p.confidence or 0.0)
            lines.append(
                prompt.render("look", who=who, label=label, confidence=confidence, standing=standing, words=words)
            )
        return lines

    def _cases(self, prompt: Prompt) -> list[str]:
        similarities: dict[str, list[str]] = {}
        for neighbour in self.evidence["neighbours"]:
            similarities.setdefault(neighbour["label"], []).append(f"{neighbour['similarity']:.2f}")
        shares = self.evidence["distribution"]
        return [
            prompt.render(
                "case", label=quoted(label), share=percent(shares.get(label, 0.0)), similarities=" ".join(values)
            )
            for label, values in similarities.items()
        ]


def _earned(prompt: Prompt, trust: Trust) -> str:
    figures = {"n": str(trust.n), "ece": f"{trust.ece:.3f}", "ocr": f"{trust.ocr:.3f}", "ccc": f"{trust.ccc:.2f}"}
    if trust.accuracy is None:
        return prompt.render("trust-in-brief", **figures)
    if trust.estimated_on:
        return prompt.render("trust-estimated", accuracy=percent(trust.accuracy))
    return prompt.render("trust", accuracy=percent(trust.accuracy), **figures)
