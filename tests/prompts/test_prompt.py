"""Prompts: strict templates, and files that override them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consilience.errors import SettingsError
from consilience.prompts import Prompt, load_prompt, prompt_names, zero_shot_texts
from consilience.task import Label, Task

GREETING = Prompt(
    name="greeting",
    version=3,
    variables={"name": "whom", "day": "when"},
    texts={"hello": "Hi {name}, {{ok}}", "bye": "Bye"},
)


def test_every_prompt_can_be_loaded_and_has_a_version() -> None:
    assert set(prompt_names()) >= {"look", "second-look", "repair", "zero-shot"}
    for name in prompt_names():
        prompt = load_prompt(name)
        assert (prompt.name, prompt.version) == (name, 1)
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


def test_an_override_replaces_the_texts_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "repair.yaml").write_text("name: repair\nversion: ours-2\ntexts: {question: 'Again: {problem}'}\n")
    ours = load_prompt("repair", tmp_path)
    assert (ours.version, ours.render("question", problem="x")) == ("ours-2", "Again: x")
    assert load_prompt("look", tmp_path) == load_prompt("look")


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("lok.yaml", "", r"lok\.yaml' overrides no prompt; there are: look, repair"),
        ("look.yaml", "name: look\ntexts: {system: Hi}\n", "version: Field required"),
        ("look.yaml", "name: look\nversion: 2\n", "texts: Field required"),
        ("look.yaml", "name: look\nversion: 2\ntexts: {sytem: Hi}\n", "has a text 'sytem', which is none of system,"),
        ("look.yaml", "name: look\nversion: 2\ntexts: {system: 'Hi {colour}'}\n", "inserts 'colour'"),
        ("look.yaml", "name: look\nversion: 2\ntexts: [Hi]\n", "texts: Input should be"),
        ("look.yaml", "name: look\nversion: 2\ncolour: red\ntexts: {}\n", "colour: Extra inputs"),
        ("look.yaml", "name: look\nversion: 2\nvariables: {}\ntexts: {}\n", "sets 'variables'"),
        ("look.yaml", "name: repair\nversion: 2\ntexts: {}\n", "is called 'repair' inside"),
        ("look.yaml", "- look\n", "must hold a mapping"),
    ],
)
def test_an_override_that_is_wrong_is_named(tmp_path: Path, file: str, content: str, problem: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(SettingsError, match=problem):
        load_prompt("look", tmp_path)


def test_unknown_prompts_and_folders(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no prompt 'lok'; there are: look"):
        load_prompt("lok")
    with pytest.raises(SettingsError, match="there is no folder"):
        load_prompt("look", tmp_path / "nowhere")


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
