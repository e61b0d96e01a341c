"""Questions in the words that people type: understood, or answered with questions that are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.core.prediction import Prediction
from consilience.frontends.chat.question import recognised
from consilience.frontends.chat.suggestions import QUESTIONS, SUGGESTED, suggestions
from tests.frontends.chat.phrasings import AGENTS, HELD_OUT, LABELS, WRITTEN_FIRST, WRITTEN_SECOND, each
from tests.support.bare_diagnosis import bare_diagnosis

UNDERSTOOD_OF_HELD_OUT = 19
"""Of 33, as measured; the rules before understood 3 of them."""


@pytest.mark.parametrize(("text", "kind"), [*each(WRITTEN_FIRST), *each(WRITTEN_SECOND)])
def test_what_was_written_down_is_understood(text: str, kind: str) -> None:
    question = recognised(text, AGENTS, LABELS)
    assert question is not None
    assert (question.kind, question.is_plain) == (kind, len(text.split()) <= 8 or question.is_plain)


def test_of_what_was_held_out_as_much_is_understood_as_was_measured_and_little_is_mistaken() -> None:
    asked = [*each(HELD_OUT)]
    answers = [recognised(text, AGENTS, LABELS) for text, _ in asked]
    right = [q is not None and q.kind == kind for q, (_, kind) in zip(answers, asked, strict=True)]
    mistaken = [text for q, ok, (text, _) in zip(answers, right, asked, strict=True) if q is not None and not ok]
    assert len(asked) == 33
    assert sum(right) >= UNDERSTOOD_OF_HELD_OUT
    assert len(mistaken) <= 2, mistaken  # the others are met with suggestions


@pytest.mark.parametrize(
    "text",
    [
        "tell me a joke",
        "where was this taken",
        "is it raining today",
        "what is the cause",
        "can you send it by email",
        "what is the price of a new camera",
        "let's meet at 5",
        "she said the meeting is at two",
        "how many leaves are there",
        "sorry, wrong channel",
        "it's rust",
        "hello",
        "yes",
    ],
)
def test_what_asks_nothing_of_the_record_is_not_taken_for_a_question(text: str) -> None:
    assert recognised(text, AGENTS, LABELS) is None


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("why not rust?", ("rust",)),
        ("why not frog eye?", ("frog eye leaf spot",)),
        ("why not Frog-Eye leaf_spot?", ("frog eye leaf spot",)),
        ("why not multiple?", ("multiple diseases",)),
        ("why not helthy?", ("healthy",)),
        ("why not sca?", ("scab",)),
        ("why not sc?", ()),  # two letters are the beginning of too much
        ("why not mildew?", ()),
        ("why not rust or scab", ("rust", "scab")),
        ("can I trust this?", ()),  # rust is no part of it
    ],
)
def test_labels_are_named_by_unambiguous_beginnings_and_misspelt(text: str, labels: tuple[str, ...]) -> None:
    question = recognised(text, AGENTS, LABELS)
    assert question is not None
    assert question.labels == labels


def test_a_beginning_of_several_labels_names_none_and_the_longer_name_wins() -> None:
    labels = ("leaf", "leaf rust", "leaf spot")
    assert recognised("why not leaf r?", (), labels) == recognised("why not leaf", (), labels)
    question = recognised("why not leaf spot", (), labels)
    assert question is not None
    assert question.labels == ("leaf spot",)
    ambiguous = recognised("why not lea", (), ("leaf rust", "leaf spot"))
    assert ambiguous is not None
    assert ambiguous.labels == ()


def test_a_label_that_is_a_word_of_the_rules_is_named_where_a_name_stands() -> None:
    labels = ("good", "cracked")
    named = [
        recognised(text, (), labels)
        for text in ("how good are you", "how often are you right about good", "why not good")
    ]
    assert [question and question.labels for question in named] == [(), ("good",), ("good",)]


def test_an_agent_is_told_from_the_word_that_it_is_called_by() -> None:
    for text, kind, agents in (
        ("what does neighbours say", "who", ("neighbours",)),
        ("show me the neighbours", "similar", ("neighbours",)),
        ("and without neighbours", "without", ("neighbours",)),
    ):
        question = recognised(text, AGENTS, LABELS)
        assert question is not None
        assert (question.kind, question.agents) == (kind, agents)


def test_all_that_help_lists_is_understood() -> None:
    asked = [text.replace("LABEL", "rust").replace("AGENT", "qwen") for text in QUESTIONS.split(" · ")]
    kinds = [question and question.kind for question in (recognised(text, AGENTS, LABELS) for text in asked)]
    assert kinds == [
        "why", "where", "others", "sure", "trust", "record", "who", "why not", "similar", "compare", "without", "do",
        "again",
    ]  # fmt: skip


def test_suggestions_fit_the_diagnosis() -> None:
    posterior = {"rust": 0.6, "scab": 0.3, "healthy": 0.1}
    against = Prediction("qwen", "first", posterior, calibrated={"rust": 0.1, "scab": 0.8, "healthy": 0.1}, weight=1.0)
    sure = bare_diagnosis("rust", posterior, ("rust",))
    unsure = bare_diagnosis("rust", posterior, ("rust", "scab"), "refer", (against,))
    assert suggestions(sure) == ("can I trust this?", "how often are you right about rust?", "why not scab?")
    assert suggestions(unsure) == ("what should I do?", "what else could it be?", "who disagrees?")


names = st.text(min_size=1, max_size=12) | st.sampled_from(["why", "not sure", "help", "other", "<b>", "\x1b[2J", "%s"])


@given(st.lists(names, min_size=2, max_size=4, unique=True))
def test_suggestions_are_understood_whatever_labels_are_called(labels: list[str]) -> None:
    share = 1.0 / len(labels)
    diagnosis = bare_diagnosis(labels[0], dict.fromkeys(labels, share), (labels[0],))
    suggested = suggestions(diagnosis)
    assert len(set(suggested)) == SUGGESTED
    for text in suggested:
        assert text.isprintable()
        assert recognised(text, (), labels) is not None


@given(st.text(max_size=300), st.lists(st.text(max_size=20), max_size=4), st.lists(st.text(max_size=20), max_size=4))
def test_any_text_and_names_are_borne(text: str, agents: list[str], labels: list[str]) -> None:
    question = recognised(text, agents, labels)
    assert question is None or (set(question.agents) <= set(agents) and set(question.labels) <= set(labels))
