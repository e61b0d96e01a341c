"""What a folder teaches, and the file in which providers take it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from consilience.agents.finetune.finetune_file import check, line_of, write
from consilience.agents.finetune.training_example import CONFIDENCE, training_example
from consilience.agents.finetune.training_set import training_set_of
from consilience.agents.vlm.label_answer import answer_schema, parse_answer, parse_label
from consilience.core.errors import DatasetError
from consilience.core.image_limits import ImageLimits
from tests.support.vlm_cases import TASK, image


def test_an_answer_is_one_that_the_agent_reads() -> None:
    import re

    for label in TASK.names:
        example = training_example(TASK, image(40), label, 100, label_only=False)
        answer = parse_answer(example.answer, TASK)
        assert (answer.label, answer.confidence) == (label, CONFIDENCE)
        schema = answer_schema(TASK)["properties"]
        assert list(json.loads(example.answer)) == list(schema)
        assert re.fullmatch(schema["rationale"]["pattern"], answer.rationale)
        assert parse_label(training_example(TASK, image(40), label, 100, label_only=True).answer, TASK) == label
    assert parse_answer(training_example(TASK, image(40), "rust", 100, False).answer, TASK).rationale == "orange spots"
    with pytest.raises(DatasetError, match="no label 'mildew'; it has healthy, rust, scab"):
        training_example(TASK, image(40), "mildew", 100, label_only=False)


def folder_of(root: Path, each: int) -> Path:
    for label in TASK.names:
        (root / label).mkdir(parents=True)
        for number in range(each):
            pixels = np.random.default_rng([TASK.names.index(label), number]).integers(0, 256, (30, 40, 3))
            PIL.Image.fromarray(pixels.astype(np.uint8)).save(root / label / f"{number}.png")
    return root


def read(folder: Path, share: float = 0.2) -> Any:
    return training_set_of(
        folder, TASK, side=64, label_only=False, share=share, seed=0, limits=ImageLimits(), progress=lambda *_: None
    )


def test_what_is_held_out_is_not_trained_on_and_stands_for_every_label(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 10)
    (folder / "rust" / "copy.png").write_bytes((folder / "rust" / "0.png").read_bytes())
    (folder / "scab" / "broken.png").write_bytes(b"no image")
    training_set = read(folder)
    training, held = ([example.image for example in part] for part in (training_set.training, training_set.held_out))
    assert len({*training, *held}) == len(training) + len(held) == 30  # the copy is taken once
    labels = [example.label for example in training_set.held_out]
    assert {label: labels.count(label) for label in TASK.names} == {"healthy": 2, "rust": 2, "scab": 2}
    assert [Path(failure.source).name for failure in training_set.failed] == ["broken.png"]
    assert [example.image for example in read(folder).held_out] == held


def test_an_image_under_two_labels_and_too_few_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 2)
    with pytest.raises(DatasetError, match="has 2 usable images of 2 things, too few to hold out 90%"):
        read(folder, 0.9)
    (folder / "scab" / "1.png").write_bytes((folder / "rust" / "1.png").read_bytes())
    with pytest.raises(DatasetError, match=r"1\.png' is labelled 'scab' here and 'rust' elsewhere"):
        read(folder, 0)


def test_the_file_is_what_providers_take(tmp_path: Path) -> None:
    training_set = read(folder_of(tmp_path / "images", 4), share=0)
    write(tmp_path / "out.jsonl", training_set.training)
    assert check(tmp_path / "out.jsonl") == 12
    line = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    system, user, assistant = line["messages"]
    assert (system["role"], user["role"], assistant["role"]) == ("system", "user", "assistant")
    picture, question = user["content"]
    raw = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
    assert PIL.Image.open(io.BytesIO(raw)).size == (40, 30)
    assert '"rust"' in question["text"]
    assert json.loads(assistant["content"])["label"] == "healthy"


def grey_png() -> str:
    file = io.BytesIO()
    PIL.Image.new("L", (4, 4)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def spoiled(**change: Any) -> dict[str, Any]:
    """Return a good example, as JSON, in which one part was replaced."""
    good: dict[str, Any] = json.loads(line_of(training_example(TASK, image(40), "rust", 64, label_only=False)))
    if "url" in change:
        good["messages"][1]["content"][0]["image_url"]["url"] = change["url"]
    if "role" in change:
        good["messages"][-1]["role"] = change["role"]
    if "pictures" in change:
        good["messages"][1]["content"] = good["messages"][1]["content"][:1] * change["pictures"]
    if "moved" in change:
        good["messages"][0]["content"] = good["messages"][1]["content"]
    more: dict[str, Any] = change.get("more", {})
    return good | more


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"role": "user"}, "the assistant has the last word"),
        ({"url": "https://example.org/leaf.jpg"}, "an image is no data URL"),
        ({"url": "data:image/jpeg;base64,@@"}, "an image is no base64"),
        ({"url": "data:image/jpeg;base64,AAAA"}, "cannot identify image"),
        ({"url": grey_png()}, "an image is in the mode L; RGB and RGBA are taken"),
        ({"url": "data:image/png;base64," + "A" * 14_000_000}, r"an image has 10\.5 MB, at most 10 are taken"),
        ({"pictures": 11}, "it shows 11 images; 1 to 10 are taken"),
        ({"pictures": 0}, "it shows 0 images"),
        ({"moved": True}, "an image stands in a message of the system"),
        ({"more": {"weight": 1}}, "holds 'messages' and nothing else"),
    ],
)
def test_what_would_be_refused_is_found_before(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    good = line_of(training_example(TASK, image(40), "rust", 64, label_only=False))
    file = tmp_path / "out.jsonl"
    file.write_text("\n".join([good, json.dumps(spoiled(**change))]))
    with pytest.raises(DatasetError, match=f"line 2 of .* would be refused: .*{problem}"):
        check(file)


def test_too_few_examples_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    write(file, [training_example(TASK, image(shade), "rust", 64, label_only=True) for shade in range(9)])
    with pytest.raises(DatasetError, match="has 9 examples; 10 to 50,000 are taken"):
        check(file)
