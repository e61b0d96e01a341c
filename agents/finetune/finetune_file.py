"""The JSONL that API providers take for tuning a model on images, in OpenAI's form, and what it must keep to.

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

MIN_EXAMPLES, MAX_EXAMPLES = 10, 50_000
"""Examples with images in a file."""

IMAGES, IMAGE_BYTES, FILE_BYTES = 10, 10 * 10**6, 512 * 10**6
"""At most, in an example; of one image; of a file."""

FORMATS, MODES = ("JPEG", "PNG", "WEBP"), ("RGB", "RGBA")
URL = "data:image/"


def example(lesson: TrainingExample) -> str:
    """Return a line of the file."""
    messages = on_the_wire(lesson.messages, "auto")
    messages.append({"role": "assistant", "content": lesson.answer})
    return json.dumps({"messages": messages}, ensure_ascii=False)


def check(file: Path, fewest: int = MIN_EXAMPLES) -> int:
    """Read a file again and check all that a provider would refuse it for; the number of its examples.

    Raises:
        DatasetError: names the line and what is wrong with it.
    """
    if (size := file.stat().st_size) > FILE_BYTES:
        raise DatasetError(f"'{file}' has {size / 1e6:,.0f} MB, at most {FILE_BYTES / 1e6:,.0f} are taken; export less")
    number = 0
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                _check_example(json.loads(line))
            except (ValueError, KeyError, TypeError, OSError) as cause:  # OSError: what Pillow cannot read
                raise DatasetError(f"line {number} of '{file}' would be refused: {cause}") from cause
    if not fewest <= number <= MAX_EXAMPLES:
        raise DatasetError(f"'{file}' has {number} examples; {fewest} to {MAX_EXAMPLES:,} are taken")
    return number


def _check_example(data: dict[str, Any]) -> None:
    """Raises ValueError, KeyError or TypeError."""
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


def write(file: Path, lessons: Sequence[TrainingExample]) -> None:
    """Write the examples; the caller checks them."""
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(f"{example(lesson)}\n" for lesson in lessons)
