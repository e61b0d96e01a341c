"""The messages that a model gets about an image: texts and pictures, and the hash by which a reply is found again."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import PIL.Image

from consilience.agents.vlm.label_answer import UNSURE, choices
from consilience.core.evidence import Evidence, Neighbour
from consilience.core.images import Image, load_image
from consilience.core.prediction import Prediction
from consilience.core.render.phrases import percent
from consilience.core.task import Task
from consilience.prompts import Prompt, clean, label_lines, quoted


@dataclass(frozen=True, slots=True)
class MessagePicture:
    """An image in a message, read and scaled when it is sent.

    Attributes:
        identity: the image's identity, by its pixels.
        side: its longer side is at most this many pixels.
        image: returns the image. Raises ImageError if it is damaged.
    """

    identity: str
    side: int
    image: Callable[[], Image] = field(repr=False, compare=False)

    def jpeg(self) -> bytes:
        """Return the scaled image as JPEG."""
        return self.image().thumbnail(self.side)

    def scaled(self) -> PIL.Image.Image:
        """Return the scaled image."""
        return self.image().scaled(self.side)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. One with the role assistant is what the model answered before."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | MessagePicture, ...]


def first_messages(prompt: Prompt, task: Task, image: Image, side: int, label_only: bool) -> list[Message]:
    """Return the messages of a first look: the system's text, then the image and the question.

    Args:
        prompt: the prompt `look`.
        task: the question.
        image: what is asked about.
        side: the image is sent with its longer side at most this many pixels.
        label_only: whether to ask for the label alone rather than for JSON.
    """
    labels = label_lines(prompt, task)
    question = prompt.render(
        "question",
        domain=quoted(task.domain),
        labels="\n".join(labels),
        unsure=prompt.render("unsure") if UNSURE in choices(task)[len(labels) :] else "",
        form=prompt.render("choice" if label_only else "json"),
    )
    picture = MessagePicture(image.identity, side, lambda: image)
    return [Message("system", (prompt.render("system"),)), Message("user", (picture, question))]


def caption_messages(prompt: Prompt, task: Task, image: Image, side: int) -> list[Message]:
    """Return the messages that ask for a description: the system's text, then the image and the request."""
    picture = MessagePicture(image.identity, side, lambda: image)
    question = prompt.render("question", domain=quoted(task.domain))
    return [Message("system", (prompt.render("system"),)), Message("user", (picture, question))]


def second_messages(
    prompt: Prompt, first: Prediction, evidence: Evidence, shown: int, side: int, label_only: bool
) -> list[Message]:
    """Return the messages of a second look, to be appended to those of the first.

    They are the agent's own first answer, then the most similar cases as pictures with labels, and the question. Of
    other agents they hold nothing but the evidence's testimony, which is empty outside a debate. Since they follow
    those of the first look, a server with a prefix cache reads the image once.

    Args:
        prompt: the prompt `second-look`.
        first: the agent's first prediction.
        evidence: the similar cases.
        shown: cases shown, at most.
        side: their pictures' longer side is at most this many pixels.
        label_only: whether to ask for the label alone rather than for JSON.
    """
    parts: list[str | MessagePicture] = []
    for number, neighbour in enumerate(evidence.neighbours[:shown], start=1):
        picture = _case_picture(neighbour, side)
        fields = {
            "number": str(number),
            "label": quoted(neighbour.label),
            "similarity": f"{neighbour.similarity:.2f}",
        }
        parts.append(prompt.render("case" if picture else "case-without-picture", **fields))
        parts.extend([picture] if picture else [])
    if evidence.testimony:
        lines = [_testimony(prompt, prediction) for prediction in evidence.testimony]
        parts.append(prompt.render("testimony", said="\n".join(lines)))
    shares = [
        prompt.render("share", label=quoted(label), share=percent(share))
        for label, share in evidence.distribution.items()
        if share > 0.0
    ]
    question = prompt.render(
        "question",
        shares="\n".join(shares) or prompt.render("nothing-found"),
        form=prompt.render("choice" if label_only else "json"),
    )
    return [
        Message("assistant", (_own_words(first, label_only) or prompt.render("no-answer"),)),
        Message("user", (*parts, question)),
    ]


def _testimony(prompt: Prompt, prediction: Prediction) -> str:
    """Return one line with what another agent answered, and its reason if it gave one."""
    agent, label, confidence = (
        quoted(prediction.agent),
        quoted(prediction.label or ""),
        f"{prediction.confidence or 0.0:.2f}",
    )
    words = prompt.render(
        "abstains" if prediction.abstained else "says", agent=agent, label=label, confidence=confidence
    )
    return (
        f"{words} {prompt.render('reason', rationale=quoted(prediction.rationale))}" if prediction.rationale else words
    )


def repair_messages(prompt: Prompt, reply: str, problem: str) -> list[Message]:
    """Return the messages that ask again: the reply that could not be used, and what is wrong with it."""
    return [
        Message("assistant", (clean(reply, 2000),)),
        Message("user", (prompt.render("question", problem=problem),)),
    ]


def _own_words(first: Prediction, label_only: bool) -> str:
    """Return the agent's first answer in the form that it is asked for; empty if it failed."""
    if first.error is not None:
        return ""
    label = first.label or UNSURE
    if label_only:
        return clean(label)
    answer: dict[str, Any] = {"rationale": clean(first.rationale), "label": clean(label)}
    if first.confidence is not None:
        answer["confidence"] = round(first.confidence, 3)
    return json.dumps(answer, ensure_ascii=False)


def _case_picture(neighbour: Neighbour, side: int) -> MessagePicture | None:
    """Return the picture of a similar case; None where the memory holds none."""
    stored = neighbour.thumbnail()
    if stored is None:
        return None
    return MessagePicture(neighbour.id, side, lambda: load_image(stored, name=f"thumbnail {neighbour.id}"))


def on_the_wire(messages: Sequence[Message], detail: str | None) -> list[dict[str, Any]]:
    """Return the messages in the form of the chat protocol, with the pictures as JPEG data URLs.

    Args:
        messages: what is sent.
        detail: how closely pictures are looked at; None: that is not said.

    Raises:
        ImageError: a kept picture is damaged.
    """
    look = {} if detail is None else {"detail": detail}

    def content_part(part: str | MessagePicture) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        url = "data:image/jpeg;base64," + base64.b64encode(part.jpeg()).decode()
        return {"type": "image_url", "image_url": {"url": url, **look}}

    sent = []
    for message in messages:
        only = message.parts[0] if len(message.parts) == 1 else None
        content = only if isinstance(only, str) else [content_part(part) for part in message.parts]
        sent.append({"role": message.role, "content": content})
    return sent


def fingerprint(messages: Sequence[Message], **circumstances: Any) -> str:
    """Return the SHA-256, in hex, of all that decides an answer; pictures count by identity and size."""
    texts = [
        [message.role, *(part if isinstance(part, str) else [part.identity, part.side] for part in message.parts)]
        for message in messages
    ]
    text = json.dumps([texts, circumstances], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
