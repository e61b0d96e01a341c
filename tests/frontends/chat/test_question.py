"""Questions as people ask them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.frontends.chat.question import recognised

AGENTS = ["gaussian", "qwen", "qwen-big", "zero-shot"]


@pytest.mark.parametrize(
    ("text", "kind", "agents"),
    [
        ("why?", "why", ()),
        ("Explain, please.", "why", ()),
        ("Who disagreed?", "who", ()),
        ("which agents voted against it", "who", ()),
        ("show similar cases", "similar", ()),
        ("Show me the evidence", "similar", ()),
        ("how sure are you?", "sure", ()),
        ("What if you don’t trust qwen?", "without", ("qwen",)),
        ("what if you do not trust Qwen-Big and zero shot", "without", ("qwen-big", "zero-shot")),
        ("ignore gaussian", "without", ("gaussian",)),
        ("without anybody?", "without", ()),
        ("Where did it look?", "where", ()),
        ("where do the agents see it", "where", ()),
        ("show a heat map", "where", ()),
        ("which part of the image speaks for it?", "where", ()),
        ("look again", "again", ()),
        ("Could you take a second look", "again", ()),
        ("help", "help", ()),
        ("???", "help", ()),
    ],
)
def test_they_are_understood(text: str, kind: str, agents: tuple[str, ...]) -> None:
    question = recognised(text, AGENTS)
    assert question is not None
    assert (question.kind, question.agents, question.is_plain) == (kind, agents, True)


@pytest.mark.parametrize("text", ["lovely weather", "is it contagious?", "where can I buy it?"])
def test_what_is_no_such_question_is_not(text: str) -> None:
    assert recognised(text, AGENTS) is None


def test_a_long_question_is_more_than_its_rule() -> None:
    question = recognised("why did gaussian say scab when the leaf has orange spots that only rust makes?", AGENTS)
    assert question is not None
    assert (question.kind, question.is_plain) == ("why", False)


@given(st.text(max_size=200), st.lists(st.text(max_size=20), max_size=4))
def test_any_text_and_names_are_borne(text: str, agents: list[str]) -> None:
    question = recognised(text, agents)
    assert question is None or set(question.agents) <= set(agents)
