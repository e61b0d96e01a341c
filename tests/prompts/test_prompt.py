"""Prompts: strict templates, and files that override them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consilience.core.errors import SettingsError, TaskError
from consilience.core.task import Label, Task
from consilience.prompts import Prompt, check_prompts, load_prompt, prompt_names, zero_shot_texts

GREETING = Prompt(
    name="greeting",
    version=3,
    variables={"name": "whom", "day": "when"},
    texts={"hello": "Hi {name}, {{ok}}", "bye": "Bye"},
)


def test_every_prompt_can_be_loaded_and_has_a_version() -> None:
    assert set(prompt_names()) >= {"follow-up", "look", "reasoner", "second-look", "repair", "zero-shot"}
    for name in prompt_names():
        prompt = load_prompt(name)
        assert prompt.name == name
        assert int(prompt.version) >= 1
        everything = dict.fromkeys(prompt.variables, "x")
        assert all(prompt.render(text, **everything) for text in prompt.texts)


def test_a_text_is_rendered() -> None:
    assert GREETING.render("hello", name="Eve", day="today") == "Hi Eve, {ok}"


@given(st.text())
def test_a_value_means_nothing_but_itself(value: str) -> None:
    assert GREETING.render("hello", name=value) == f"Hi {value}, {{ok}}"


@pytest.mark.parametrize("value", ["{day}", "{0}", "{name.__class__}", "}}{{", "%s", "$name"])
def test_braces_in_a_value_are_inert(value: str) -> None:
    assert GREETING.render("hello", name=value) == f"Hi {value}, {{ok}}"


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="'hello' of the prompt 'greeting' lacks its variable 'name'"):
        GREETING.render("hello", day="today")


def test_an_unknown_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="'greeting' has no variable 'colour'"):
        GREETING.render("hello", name="Eve", colour="red")


def test_an_unknown_text_is_named() -> None:
    with pytest.raises(SettingsError, match="has no text 'welcome'; it has hello, bye"):
        GREETING.render("welcome")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{colour}", "inserts 'colour', which is no variable"),
        ("{}", "may insert variables as"),
        ("{0}", "may insert variables as"),
        ("{name.__class__}", "may insert variables as"),
        ("{name[0]}", "may insert variables as"),
        ("{name!r}", "may insert variables as"),
        ("{name:>9}", "may insert variables as"),
        ('{"label": 1}', "may insert variables as"),
        ("{name", "is no template"),
        ("}", "is no template"),
    ],
)
def test_a_text_that_does_more_than_insert_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Prompt(name="a", version=1, variables={"name": "whom"}, texts={"t": text})


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Prompt.model_validate({"name": "a", "version": 1, "variables": {}, "texts": {"t": ""}, "text": ""})


def task_with(prompts: object) -> Task:
    return Task.model_validate({"labels": [{"name": "rust"}, {"name": "scab"}], "prompts": prompts})


def test_a_task_replaces_the_texts_that_it_has() -> None:
    task = task_with({"repair": {"version": "ours-2", "texts": {"question": "Again: {problem}"}}})
    ours = load_prompt("repair", task)
    assert (ours.version, ours.render("question", problem="x")) == ("ours-2", "Again: x")
    assert load_prompt("look", task) == load_prompt("look")
    check_prompts(task)


def test_a_task_file_keeps_its_words(tmp_path: Path) -> None:
    task = task_with({"look": {"version": 2, "texts": {"system": "You know leaves: {domain}\n"}}})
    (tmp_path / "task.yaml").write_text(task.to_yaml())
    assert Task.from_file(tmp_path / "task.yaml") == task


@pytest.mark.parametrize(
    ("prompts", "problem"),
    [
        ({"lok": {"version": 2, "texts": {"system": "Hi"}}}, "there is no prompt 'lok'; there are: caption, "),
        ({"look": {"version": 2, "texts": {"sytem": "Hi"}}}, "has a text 'sytem', which is none of system,"),
        ({"look": {"version": 2, "texts": {"system": "Hi {colour}"}}}, "'look' cannot be used: .*inserts 'colour'"),
        ({"look": {"version": 1, "texts": {"system": "Hi"}}}, "needs a version of its own: 1 is the built-in one"),
    ],
)
def test_words_that_cannot_be_used_are_named(prompts: object, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        check_prompts(task_with(prompts))


@pytest.mark.parametrize(
    ("prompts", "problem"),
    [
        ({"look": {"texts": {"system": "Hi"}}}, "version"),
        ({"look": {"version": 2}}, "texts"),
        ({"look": {"version": 2, "texts": {}}}, "texts"),
        ({"look": {"version": 2, "texts": ["Hi"]}}, "texts"),
        ({"look": {"version": 2, "texts": {"system": "Hi"}, "colour": "red"}}, "colour"),
        (["look"], "prompts"),
    ],
)
def test_a_task_file_with_wrong_words_is_refused(tmp_path: Path, prompts: object, problem: str) -> None:
    (tmp_path / "task.yaml").write_text(json.dumps({"labels": ["rust", "scab"], "prompts": prompts}))
    with pytest.raises(TaskError, match=problem):
        Task.from_file(tmp_path / "task.yaml")


def test_unknown_prompts() -> None:
    with pytest.raises(SettingsError, match="there is no prompt 'lok'; there are: caption, follow-up, look"):
        load_prompt("lok")


def test_texts_for_a_text_tower() -> None:
    task = Task(
        domain="leaf",
        labels=(Label(name="black_rot", synonyms=("frogeye",)), Label(name="ok", descriptions=("green",))),
    )
    assert zero_shot_texts(task) == [
        [
            "a photo of black rot.",
            "a photo of frogeye.",
            "a photo of black rot, leaf.",
            "a photo of frogeye, leaf.",
            "leaf: black rot",
            "leaf: frogeye",
        ],
        ["a photo of ok.", "a photo of ok, leaf.", "leaf: ok", "green"],
    ]
