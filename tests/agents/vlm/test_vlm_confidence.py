"""From replies to probabilities, against values known by hand and against all token paths counted out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.agents.vlm.confidence import logprob, masses, sampled, verbalised
from consilience.agents.vlm.endpoint.chat_completion import Position
from consilience.agents.vlm.label_answer import LabelAnswer
from consilience.core.errors import AgentError
from consilience.core.prediction import check_distribution
from consilience.core.task import Task
from tests.support.scripted_server import logprobs

TASK = Task.from_labels(["healthy", "rust", "scab"])


def positions(*steps: tuple[str, Mapping[str, float]]) -> list[Position]:
    """(chosen token, probability by token) at each position."""
    listed = [(token, [(token_, math.log(p)) for token_, p in branches.items()]) for token, branches in steps]
    return [Position.model_validate(position) for position in to_tuples(logprobs(*listed)["content"])]


def to_tuples(value: object) -> list[dict[str, object]]:
    """JSON arrays as the tuples that strict models want from Python."""
    if isinstance(value, list):
        return tuple(to_tuples(item) for item in value)  # type: ignore[return-value]
    return {key: to_tuples(item) for key, item in value.items()} if isinstance(value, dict) else value  # type: ignore


@given(st.floats(0, 1), st.sampled_from(TASK.names))
def test_a_stated_confidence_keeps_its_label_in_front(confidence: float, label: str) -> None:
    shares = verbalised(LabelAnswer(label, confidence), TASK)
    assert shares is not None
    check_distribution(shares, "test")
    assert max(shares, key=shares.__getitem__) == label
    if confidence > 0.34:
        assert shares[label] == confidence


@given(st.lists(st.sampled_from([*TASK.names, None]), min_size=1, max_size=30))
def test_sampled_shares_are_a_distribution_led_by_the_most_frequent(labels: list[str | None]) -> None:
    shares = sampled(labels, TASK)
    most = max(labels.count(name) for name in TASK.names)
    if shares is None:
        assert labels.count(None) > most
        return
    check_distribution(shares, "test")
    assert min(shares.values()) > 0.0
    assert labels.count(max(shares, key=shares.__getitem__)) == most


def test_probabilities_of_first_tokens_are_summed_over_the_paths_of_each_label() -> None:
    first = {"rust": 0.4, "ru": 0.15, "r": 0.05, "healthy": 0.1, "h": 0.1, "s": 0.2}
    assert logprob(positions(("rust", first)), TASK) == pytest.approx({"healthy": 0.2, "rust": 0.6, "scab": 0.2})


def test_labels_that_share_a_beginning_are_told_apart_along_the_reply() -> None:
    words = ["apple rust", "apple scab", "healthy"]
    steps = positions(("apple", {"apple": 0.8, "healthy": 0.2}), (" scab", {" scab": 0.7, " r": 0.2, " rust": 0.1}))
    assert masses(steps, words) == pytest.approx({"apple rust": 0.24, "apple scab": 0.56, "healthy": 0.2})


def test_a_branch_of_several_labels_that_the_reply_did_not_take_is_divided_evenly() -> None:
    words = ["apple rust", "apple scab", "healthy"]
    steps = positions(("healthy", {"apple": 0.4, "healthy": 0.6}))
    assert masses(steps, words) == pytest.approx({"apple rust": 0.2, "apple scab": 0.2, "healthy": 0.6})


def test_what_is_not_listed_is_divided_over_what_is_possible() -> None:
    words = ["apple rust", "apple scab", "healthy"]
    steps = positions(("apple", {"apple": 0.7}), (" scab", {" scab": 0.5}))
    assert masses(steps, words) == pytest.approx({"apple rust": 0.275, "apple scab": 0.625, "healthy": 0.1})


def test_a_label_that_begins_another_ends_with_the_end_token() -> None:
    words = ["scab", "scab late"]
    steps = positions(("scab", {"scab": 1.0}), ("<|im_end|>", {"<|im_end|>": 0.75, " late": 0.25}))
    assert masses(steps, words) == pytest.approx({"scab": 0.75, "scab late": 0.25})
    assert masses(steps[:1], words) == pytest.approx({"scab": 1.0, "scab late": 0.0})


def test_a_server_that_does_not_constrain_is_read_as_far_as_it_spells_labels() -> None:
    steps = positions((" Rust", {" Rust": 0.5, "The": 0.25, " scab": 0.2, "rusty": 0.05}), (".", {".": 1.0}))
    assert logprob(steps, TASK) == pytest.approx({"healthy": 0.0, "rust": 5 / 7, "scab": 2 / 7})


def test_two_tokens_that_look_alike_both_count() -> None:
    [step] = positions(("rust", {"rust": 0.5, "scab": 0.25}))
    twin = step.model_copy(update={"top_logprobs": (*step.top_logprobs, step.top_logprobs[1])})
    assert logprob([twin], TASK) == pytest.approx({"healthy": 0.0, "rust": 0.5, "scab": 0.5})


def test_the_token_that_was_chosen_counts_even_if_it_is_not_listed() -> None:
    [step] = positions(("rust", {"rust": 0.25, "scab": 0.75}))
    unlisted = step.model_copy(update={"top_logprobs": step.top_logprobs[1:]})
    assert logprob([unlisted], TASK) == pytest.approx({"healthy": 0.0, "rust": 0.25, "scab": 0.75})


def test_a_character_in_several_tokens() -> None:
    task = Task.from_labels(["åben", "ärm"])
    listed = {"token": "�", "bytes": (0xC3,), "logprob": 0.0}
    second = [{"token": "�", "bytes": (last,), "logprob": math.log(p)} for last, p in ((0xA5, 0.25), (0xA4, 0.75))]
    steps = [listed | {"top_logprobs": (listed,)}, second[0] | {"top_logprobs": tuple(second)}]
    assert logprob([Position.model_validate(position) for position in steps], task) == pytest.approx(
        {"åben": 0.25, "ärm": 0.75}
    )


def test_unsure_is_spread_or_leads() -> None:
    spread = logprob(positions(("rust", {"rust": 0.6, "unsure": 0.3, "scab": 0.1})), TASK)
    assert spread == pytest.approx({"healthy": 0.1, "rust": 0.7, "scab": 0.2})
    assert logprob(positions(("unsure", {"rust": 0.4, "unsure": 0.6})), TASK) is None


def test_tokens_that_spell_no_label_are_an_error() -> None:
    with pytest.raises(AgentError, match="give no label"):
        logprob(positions(("The", {"The": 1.0})), TASK)


def model(words: list[str], seed: int) -> dict[str, dict[str, float]]:
    """Return a constrained model: for each text, the probabilities of the tokens that keep to some word."""
    rng, table = np.random.default_rng(seed), {}
    for prefix in sorted({word[:i] for word in words for i in range(len(word) + 1)}):
        rests = [word.removeprefix(prefix) for word in words if word.startswith(prefix)]
        tokens = sorted({rest[:i] or "<end>" for rest in rests for i in range(min(1, len(rest)), len(rest) + 1)})
        weights = [rng.random() ** 3 + 1e-6 for _ in tokens]
        table[prefix] = {token: weight / sum(weights) for token, weight in zip(tokens, weights, strict=True)}
    return table


def all_paths(table: dict[str, dict[str, float]], prefix: str = "") -> dict[str, float]:
    """Return the probability of each word, summed over every way to spell it."""
    total: dict[str, float] = {}
    for token, p in table[prefix].items():
        ends = {prefix: 1.0} if token == "<end>" else all_paths(table, prefix + token)  # noqa: S105
        for word, q in ends.items():
            total[word] = total.get(word, 0.0) + p * q
    return total


@given(st.sampled_from([*itertools.combinations(["ash", "birch", "cedar", "dogwood"], 3)]), st.integers(0, 10**6))
def test_labels_with_different_first_letters_get_exactly_the_mass_of_all_their_token_paths(
    words: tuple[str, ...], seed: int
) -> None:
    table = model([*words], seed)
    prefix, steps = "", []
    while prefix not in words:
        token = max(table[prefix], key=table[prefix].__getitem__)
        steps.append((token, table[prefix]))
        prefix += token
    assert masses(positions(*steps), words) == pytest.approx(all_paths(table))


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=2, max_size=5, unique=True), st.integers(0, 10**6))
def test_whatever_the_labels_no_mass_is_lost(words: list[str], seed: int) -> None:
    table, prefix, steps = model(words, seed), "", []
    while not prefix.endswith("<end>"):
        token = max(table[prefix], key=table[prefix].__getitem__)
        steps.append((token, table[prefix]))
        prefix += token
    by_word = masses(positions(*steps), words)
    assert math.fsum(by_word.values()) == pytest.approx(1.0)
    assert (
        by_word[prefix.removesuffix("<end>")]
        >= math.prod(table[position][token] for position, token in path(steps)) - 1e-9
    )


def path(steps: list[tuple[str, dict[str, float]]]) -> list[tuple[str, str]]:
    """(text so far, token) along a reply."""
    tokens = [token for token, _ in steps]
    return [("".join(tokens[:i]), token) for i, token in enumerate(tokens)]
