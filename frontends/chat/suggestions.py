"""What one may ask: all of it, and what fits a diagnosis."""

from __future__ import annotations

from collections.abc import Iterator

from consilience.core.diagnosis import Diagnosis
from consilience.frontends.chat.question import recognised
from consilience.frontends.chat.reply import Reply
from consilience.frontends.chat.rule_answers import by_posterior

SUGGESTED = 3
"""Questions that are suggested to somebody whose own was not understood."""

QUESTIONS = (
    "why? · where did it look? · what else could it be? · how sure are you? · can I trust this? · how often are you "
    "right about LABEL? · who disagrees? · why not LABEL? · show me similar ones · compare with the last one · what if "
    "you don't trust AGENT? · what should I do? · look again"
)

HELP = f"Give me an image: I tell you what it shows, or that a person should look at it. Then ask: {QUESTIONS}."


def not_understood(diagnosis: Diagnosis, id: str) -> Reply:
    """Return the answer to a question that no rule fits: what can be asked about this diagnosis."""
    return Reply(f"I can't answer that. Try: {' · '.join(suggestions(diagnosis))}", diagnosis=id)


def suggestions(diagnosis: Diagnosis) -> tuple[str, ...]:
    """Return SUGGESTED questions that fit a diagnosis, and that the rules understand."""
    agents, labels = [prediction.agent for prediction in diagnosis.predictions], tuple(diagnosis.posterior)
    understood = (text for text, label in _fitting(diagnosis) if _names(text, label, agents, labels))
    return tuple(dict.fromkeys(understood))[:SUGGESTED]


def _fitting(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    """Yield questions, those that fit best first, each with the label that it names, or ''."""
    label, others = diagnosis.label, by_posterior(diagnosis)
    runner_up = next(name for name in (*others, label) if name != label or len(others) == 1)
    if not diagnosis.settled:
        yield "what should I do?", ""
        if diagnosis.is_novel and diagnosis.evidence.neighbours:
            yield "show me similar ones", ""
        elif len(diagnosis.prediction_set) > 1:
            yield "what else could it be?", ""
    if any(p.calibrated is not None and p.counted_label != label for p in diagnosis.predictions):
        yield "who disagrees?", ""
    if diagnosis.settled:
        yield "can I trust this?", ""
        yield f"how often are you right about {label}?", label
    yield f"why not {runner_up}?", runner_up
    yield "why?", ""
    yield "how sure are you?", ""
    yield "can I trust this?", ""


def _names(text: str, label: str, agents: list[str], labels: tuple[str, ...]) -> bool:
    """Return whether a question is understood, with its label: names may be long, hostile, or words of the rules."""
    question = recognised(text, agents, labels)
    return (
        text.isprintable() and question is not None and question.is_plain and question.labels == (label,) * bool(label)
    )
