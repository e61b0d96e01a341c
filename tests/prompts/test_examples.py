"""Prompts with a task's labels, and examples for the rest."""

from __future__ import annotations

import pytest

from consilience.core.task import Label, Task
from consilience.prompts import examples, label_lines, load_prompt, prompt_names

TASK = Task(domain="apple leaf", labels=(Label(name="rust", descriptions=("orange spots",)), Label(name="scab")))


def test_labels_stand_on_a_line_each_with_what_describes_them() -> None:
    assert label_lines(load_prompt("look"), TASK) == ['- "rust": "orange spots"', '- "scab"']


@pytest.mark.parametrize("name", prompt_names())
def test_every_prompt_is_rendered_whole(name: str) -> None:
    prompt = load_prompt(name)
    rendered = examples(prompt, TASK)
    assert rendered.keys() == prompt.texts.keys()
    assert not any(f"{{{variable}}}" in text for text in rendered.values() for variable in prompt.variables)


def test_what_the_task_knows_stands_in_the_texts() -> None:
    question = examples(load_prompt("look"), TASK)["question"]
    assert 'Domain: "apple leaf"' in question
    assert '- "rust": "orange spots"\n- "scab"\n<unsure>\nAnswer with one JSON object' in question
    assert examples(load_prompt("repair"), TASK)["question"].startswith("Your answer could not be used: <problem>.")
    assert examples(load_prompt("zero-shot"), TASK)["in-domain"] == "a photo of rust, apple leaf."
