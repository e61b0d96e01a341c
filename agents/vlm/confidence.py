"""Turns a model's replies into probabilities over the labels: from stated confidence, samples or log probabilities.

Each is calibrated afterwards. An answer of 'unsure' is no evidence: its share is spread evenly over the labels, and the
agent abstains (None) where 'unsure' leads.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from consilience.agents.vlm.endpoint.chat_completion import CompletionToken, Position
from consilience.agents.vlm.label_answer import LabelAnswer, choices
from consilience.core.errors import AgentError
from consilience.core.task import Task

_ENDING = re.compile(r"[\s\"'`*.]*(<.*>)?")
"""What may follow a label: nothing that says more, and the token that ends a reply."""


def verbalised(answer: LabelAnswer, task: Task) -> dict[str, float] | None:
    """Return the stated confidence for the label, and an even share of the rest for each other; None if unsure.

    A confidence of less than an even share would make another label the answer: it is raised to just above it.
    """
    if answer.label is None:
        return None
    n = len(task.names)
    share = max(answer.confidence or 0.0, 1.001 / n)
    return {name: share if name == answer.label else (1.0 - share) / (n - 1) for name in task.names}


def sampled(labels: Sequence[str | None], task: Task) -> dict[str, float] | None:
    """Return the share of each label among sampled answers, smoothed with one more that is unsure.

    None of `labels` is an answer of 'unsure'; the result is None where these lead.
    """
    counts = Counter(labels)
    if all(counts[None] > counts[name] for name in task.names):
        return None
    even = (1 + counts[None]) / len(task.names)
    return {name: (counts[name] + even) / (len(labels) + 1) for name in task.names}


def logprob(positions: Sequence[Position], task: Task) -> dict[str, float] | None:
    """Return the probability of each label, from the log probabilities of the tokens of a reply that is only a label.

    `masses` says how they are summed. None where 'unsure' leads.

    Raises:
        AgentError: the log probabilities cannot be used, or give no label any probability.
    """
    words = choices(task)
    by_label = masses(positions, words)
    total = math.fsum(by_label.values())
    if total < 1e-9:
        raise AgentError("the server's log probabilities give no label any probability")
    return _without_unsure([mass / total for mass in by_label.values()], task)


def scored(scores: Sequence[float], task: Task) -> dict[str, float] | None:
    """Return the probability of each label, from the log probability of each of `choices(task)` as the whole reply.

    None where 'unsure' leads.

    Raises:
        AgentError: all are -inf, or one is not a number.
    """
    most = max(scores)
    if not (math.isfinite(most) and all(score <= most for score in scores)):
        raise AgentError("the model's log probabilities are not finite; use another dtype, such as bfloat16 or float32")
    shares = [math.exp(score - most) for score in scores]
    total = math.fsum(shares)
    return _without_unsure([share / total for share in shares], task)


def _without_unsure(shares: Sequence[float], task: Task) -> dict[str, float] | None:
    """Return the shares of `choices(task)` as shares of the labels; None where 'unsure' leads."""
    labels, unsure = shares[: len(task.names)], math.fsum(shares[len(task.names) :])
    if unsure > max(labels):
        return None
    return {name: share + unsure / len(task.names) for name, share in zip(task.names, labels, strict=True)}


def masses(positions: Sequence[Position], words: Sequence[str]) -> dict[str, float]:
    """Return the probability mass of each word, summed over the token paths that reach it.

    The reply is one path through a tree of tokens, and the server lists the likeliest branches at each of its
    positions. A branch has the probability of the path up to there times its own, and belongs to the words that
    begin with the text so far: under a constrained choice it can end in no other. Where that is one word, the mass is
    exact, whichever tokens spell the rest. Where several words share the branch and the reply went another way, how
    it divides between them is not known and it is divided evenly: an approximation, whose error is at most the mass of
    such branches. The path itself is followed until one word is left. What the server does not list (1 minus
    the sum of a position) is divided evenly over the words that are still possible; branches that spell no word (a
    server that does not constrain) are dropped, so the sum may be under 1. Case and leading blanks are ignored.

    Raises:
        AgentError: no positions, one without alternatives, or probabilities of a position that sum to over 1.
    """
    if not positions:
        raise AgentError("the server sent no log probabilities; it must support 'logprobs', or use another confidence")
    mass = dict.fromkeys(words, 0.0)
    reached, path = 1.0, b""
    for position in positions:
        listed = 0.0
        for token in _branches(position):
            listed += token.probability
            _divide(mass, path + token.text, reached * token.probability)
        listed += position.probability
        if listed > 1.001:
            raise AgentError(f"the server's probabilities of one token sum to {listed:.3f}, more than 1")
        _divide(mass, path, reached * max(0.0, 1.0 - listed))
        reached *= position.probability
        path += position.text
        if len(_possible(path, words)) < 2:
            break
    _divide(mass, path, reached, ended=True)
    return mass


def _branches(position: Position) -> Iterator[CompletionToken]:
    """Yield the alternatives to the token that was chosen, which may itself be listed among them."""
    if not position.top_logprobs:
        raise AgentError("the server sent a token without alternatives; it must support 'top_logprobs'")
    own = True
    for token in position.top_logprobs:
        if own and token.text == position.text and abs(token.logprob - position.logprob) < 1e-4:
            own = False  # two tokens can look alike and both count: only one of them is the chosen one
        else:
            yield token


def _divide(mass: dict[str, float], path: bytes, amount: float, ended: bool = False) -> None:
    """Add a path's probability to the words that it can still become, evenly."""
    words = _possible(path, [*mass], ended)
    for word in words:
        mass[word] += amount / len(words)


def _possible(path: bytes, words: Sequence[str], ended: bool = False) -> list[str]:
    """Return the words that begin with the text so far; if none does, or it has ended, the longest word that it is."""
    text = path.decode("utf-8", "ignore").lstrip().casefold()
    longer = [word for word in words if word.casefold().startswith(text)]
    if longer and not ended:
        return longer
    folded = {word: word.casefold() for word in words}
    whole = [word for word, form in folded.items() if text.startswith(form) and _ENDING.fullmatch(text, len(form))]
    return [max(whole, key=len)] if whole else longer
