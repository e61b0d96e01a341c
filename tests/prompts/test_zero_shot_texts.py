"""What a text tower reads of a task."""

from __future__ import annotations

from consilience.core.task import Label, Task
from consilience.prompts import zero_shot_texts


def test_every_name_stands_in_every_template_and_descriptions_follow() -> None:
    task = Task(
        domain="apple leaf",
        labels=(
            Label(name="black-rot", synonyms=("frogeye",), descriptions=("a leaf with purple rings",)),
            Label(name="healthy_leaf"),
        ),
    )
    rot, healthy = zero_shot_texts(task)
    assert rot == [
        "a photo of black rot.",
        "a photo of frogeye.",
        "a photo of black rot, apple leaf.",
        "a photo of frogeye, apple leaf.",
        "apple leaf: black rot",
        "apple leaf: frogeye",
        "a leaf with purple rings",
    ]
    assert healthy == ["a photo of healthy leaf.", "a photo of healthy leaf, apple leaf.", "apple leaf: healthy leaf"]


def test_a_label_is_text_and_no_template() -> None:
    texts, _ = zero_shot_texts(Task.from_labels(["{domain}", "other"], domain="{label}"))
    assert texts[:2] == ["a photo of {domain}.", "a photo of {domain}, {label}."]
