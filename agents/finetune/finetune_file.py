"""Writes and checks the JSONL file that API providers take for tuning a model on images, in OpenAI's form.

Limits: OpenAI, 'Vision fine-tuning' and 'Supervised fine-tuning' (developers.openai.com), as read in 2026.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL.Image

from consilience.agents.finetune.training_example import TrainingExample
from consilience.agents.vlm.conversation import on_the_wire
from consilience.core.errors import DatasetError
from consilience.core.storage.json_text import parsed_json

MIN_EXAMPLES, MAX_EXAMPLES = 10, 50_000
"""Fewest and most examples in a file."""

IMAGES, IMAGE_BYTES, FILE_BYTES = 10, 10 * 10**6, 512 * 10**6
"""The most images in an example, bytes of an image, and bytes of a file."""

FORMATS, MODES = ("JPEG", "PNG", "WEBP"), ("RGB", "RGBA")
URL = "data:image/"


def line_of(example: TrainingExample) -> str:
    """Return the line of the file for one training example: JSON, without its end of line."""
    messages = on_the_wire(example.messages, "auto")
    messages.append({"role": "assistant", "content": example.answer})
    return json.dumps({"messages": messages}, ensure_ascii=False)


def check(file: Path, fewest: int = MIN_EXAMPLES) -> int:
    """Check a file for all that a provider would refuse it for; return the number of its examples.

    Args:
        file: as `write` wrote it.
        fewest: the fewest examples that it may have.

    Raises:
        DatasetError: names the line and what is wrong with it.
    """
    if (size := file.stat().st_size) > FILE_BYTES:
        raise DatasetError(f"'{file}' has {size / 1e6:,.0f} MB, at most {FILE_BYTES / 1e6:,.0f} are taken; export less")
    number = 0
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                _check_example(parsed_json(line))
            except (ValueError, KeyError, TypeError, OSError) as cause:  # OSError: what Pillow cannot read
                raise DatasetError(f"line {number} of '{file}' would be refused: {cause}") from cause
    if not fewest <= number <= MAX_EXAMPLES:
        raise DatasetError(f"'{file}' has {number} examples; {fewest} to {MAX_EXAMPLES:,} are taken")
    return number


def _check_example(data: dict[str, Any]) -> None:
    """Raise ValueError, KeyError, TypeError or OSError where an example would be refused."""
    if set(data) != {"messages"}:
        raise ValueError("an example holds 'messages' and nothing else")
    messages = data["messages"]
    roles = [message["role"] for message in messages]
    if roles[-1:] != ["assistant"] or not set(roles) <= {"system", "user", "assistant"} or "user" not in roles:
        raise ValueError(f"the roles are {', '.join(roles)}; a user speaks, and the assistant has the last word")
    pictures = 0
    for message in messages:
        if isinstance(message["content"], str):
            if not message["content"]:
                raise ValueError(f"a message of the {message['role']} is empty")
            continue
        for part in message["content"]:
            if part["type"] == "image_url":
                pictures += 1
                if message["role"] != "user":
                    raise ValueError(f"an image stands in a message of the {message['role']}")
                _check_image(part["image_url"]["url"])
            elif part["type"] != "text" or not isinstance(part["text"], str):
                raise ValueError(f"a part is of the type '{part['type']}'")
    if not 1 <= pictures <= IMAGES:
        raise ValueError(f"it shows {pictures} images; 1 to {IMAGES} are taken")


def _check_image(url: str) -> None:
    """Raise ValueError or OSError where a data URL holds no image that would be taken."""
    kind, encoding, data = url.partition(";base64,")
    if not encoding or not kind.startswith(URL):
        raise ValueError("an image is no data URL")
    try:
        raw = base64.b64decode(data, validate=True)
    except binascii.Error as cause:
        raise ValueError(f"an image is no base64 ({cause})") from cause
    if len(raw) > IMAGE_BYTES:
        raise ValueError(f"an image has {len(raw) / 1e6:.1f} MB, at most {IMAGE_BYTES / 1e6:.0f} are taken")
    with PIL.Image.open(io.BytesIO(raw), formats=FORMATS) as image:
        if image.mode not in MODES:
            raise ValueError(f"an image is in the mode {image.mode}; {' and '.join(MODES)} are taken")
        if kind != f"{URL}{str(image.format).lower()}":
            raise ValueError(f"an image is {image.format}, but its URL says '{kind}'")


def write(file: Path, examples: Sequence[TrainingExample]) -> None:
    """Write the examples, one a line, over what the file held; `check` says whether a provider takes it."""
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(f"{line_of(example)}\n" for example in examples)
